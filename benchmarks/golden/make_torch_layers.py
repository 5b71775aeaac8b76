"""Write the numbers that ``tests/nn/layers/test_layers.py`` compares with: PyTorch's own, in float64, as hex floats.

    python benchmarks/golden/make_torch_layers.py        # needs torch, not chainrule

One net with batch and layer normalisation and a residual block: its losses over some epochs of two batches, its
parameters in the end, and what it then says of rows, normalised by running statistics. Only NumPy draws at random.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own custom
from make_torch_optimisers import hexadecimal

TARGET = Path(__file__).parents[2] / "tests" / "nn" / "layers" / "torch_layers.json"
EPOCHS, N, BATCH, N_IN, WIDTH, N_OUT = 6, 10, 6, 4, 7, 3


class Net(torch.nn.Module):
    """Names are chainrule's."""

    def __init__(self) -> None:
        super().__init__()
        self.dense0 = torch.nn.Linear(N_IN, WIDTH, dtype=torch.float64)
        self.batch_norm0 = torch.nn.BatchNorm1d(WIDTH, momentum=0.2, dtype=torch.float64)
        self.dense1 = torch.nn.Linear(WIDTH, WIDTH, dtype=torch.float64)
        self.layer_norm0 = torch.nn.LayerNorm(WIDTH, eps=1e-3, dtype=torch.float64)
        self.dense2 = torch.nn.Linear(WIDTH, N_OUT, dtype=torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.batch_norm0(self.dense0(x)))
        x = x + torch.tanh(self.layer_norm0(self.dense1(x)))
        return self.dense2(x)

    def arrays(self) -> dict[str, list]:
        """What chainrule keeps, under its names and in its order of axes."""
        names = {"weight": "gain", "bias": "bias", "running_mean": "running_mean", "running_var": "running_var"}
        found = {}
        for key, value in self.state_dict().items():
            layer, name = key.split(".")
            if layer.startswith("dense"):
                found[f"{layer}.W" if name == "weight" else f"{layer}.b"] = (
                    value.mT if value.ndim == 2 else value
                ).tolist()
            elif name in names:
                found[f"{layer}.{names[name]}"] = value.tolist()
        return found


def main() -> None:
    rng = np.random.default_rng(2027)
    X, y, rows = rng.normal(size=(N, N_IN)), rng.integers(0, N_OUT, N), rng.normal(size=(5, N_IN))
    net = Net()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.tensor(rng.normal(size=parameter.shape)))
    start = net.arrays()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(EPOCHS):
        for batch in (slice(0, BATCH), slice(BATCH, N)):
            loss = F.cross_entropy(net(torch.tensor(X[batch])), torch.tensor(y[batch]))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    net.eval()
    probabilities = torch.softmax(net(torch.tensor(rows)), dim=1).tolist()
    numbers = {
        "torch": torch.__version__, "X": X.tolist(), "y": y.tolist(), "batch_size": BATCH, "start": start,
        "losses": losses, "end": net.arrays(), "rows": rows.tolist(), "probabilities": probabilities,
    }  # fmt: skip
    TARGET.write_text(json.dumps(hexadecimal(numbers), separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
