"""Write what ``tests/nn/layers/test_table_layers.py`` compares with: PyTorch's own numbers, in float64, as hex floats.

    python benchmarks/golden/make_torch_table_layers.py        # needs torch, not chainrule

One net with an encoding behind a dense layer, a scaling layer and a concatenating block: its losses over some epochs of
two batches, its parameters in the end, and what it then says of rows. Only NumPy draws at random.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own custom
from make_torch_optimisers import hexadecimal

TARGET = Path(__file__).parents[2] / "tests" / "nn" / "layers" / "torch_table_layers.json"
EPOCHS, N, BATCH, N_IN, N_OUT = 6, 10, 6, 4, 3
EDGES = [[-0.75, -0.25, 0.5], [], [-0.5, -0.125, 0.25, 0.625]]  # of three units of the first layer


def encoded(x: torch.Tensor) -> torch.Tensor:
    """x and its fractions."""
    columns = [x]
    for j, edges in enumerate(EDGES):
        for t in range(1, len(edges)):
            low, high = (-1.0 if t == 1 else 0.0), (2.0 if t == len(edges) - 1 else 1.0)
            columns.append(((x[:, j : j + 1] - edges[t - 1]) / (edges[t] - edges[t - 1])).clamp(low, high))
    return torch.cat(columns, dim=1)


class Net(torch.nn.Module):
    """Names are chainrule's."""

    def __init__(self) -> None:
        super().__init__()
        self.dense0 = torch.nn.Linear(N_IN, 3, dtype=torch.float64)
        self.scale0 = torch.nn.Parameter(torch.empty(8, dtype=torch.float64))
        self.dense1 = torch.nn.Linear(8, 6, dtype=torch.float64)
        self.dense2 = torch.nn.Linear(6, 5, dtype=torch.float64)
        self.dense3 = torch.nn.Linear(13, N_OUT, dtype=torch.float64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = encoded(torch.tanh(self.dense0(x))) * self.scale0
        inner = torch.tanh(self.dense2(F.selu(self.dense1(x))))
        return self.dense3(torch.cat([x, inner], dim=1))

    def arrays(self) -> dict[str, list]:
        """What chainrule keeps, under its names and in its order of axes."""
        found = {}
        for key, value in self.state_dict().items():
            layer, _, name = key.partition(".")
            found[{"weight": f"{layer}.W", "bias": f"{layer}.b", "": f"{layer}.s"}[name]] = (
                value.mT if value.ndim == 2 else value
            ).tolist()
        return found


def main() -> None:
    rng = np.random.default_rng(2028)
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
    probabilities = torch.softmax(net(torch.tensor(rows)), dim=1).tolist()
    numbers = {
        "torch": torch.__version__, "X": X.tolist(), "y": y.tolist(), "batch_size": BATCH, "edges": EDGES,
        "start": start, "losses": losses, "end": net.arrays(), "rows": rows.tolist(), "probabilities": probabilities,
    }  # fmt: skip
    TARGET.write_text(json.dumps(hexadecimal(numbers), separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
