"""Write the numbers that ``tests/nn/layers/test_embedding.py`` compares with: PyTorch's own, in float64, as hex floats.

    python benchmarks/golden/make_torch_embedding.py        # needs torch, not chainrule

A net with two embedded columns between two numbers, some epochs of Adam with weight decay on all parameters. Only NumPy
draws at random.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from make_torch_optimisers import hexadecimal

TARGET = Path(__file__).parents[2] / "tests" / "nn" / "layers" / "torch_embedding.json"
EPOCHS, N, BATCH, CODES, COUNTS, WIDTHS, HIDDEN, N_OUT = 4, 10, 5, (1, 3), (6, 4), (3, 2), 5, 2


def main() -> None:
    rng = np.random.default_rng(2028)
    X, y = rng.normal(size=(N, 4)), rng.normal(size=(N, N_OUT))
    for column, count in zip(CODES, COUNTS, strict=True):
        X[:, column] = rng.integers(0, count, N)
    tables = [torch.nn.Embedding(*size, dtype=torch.float64) for size in zip(COUNTS, WIDTHS, strict=True)]
    dense = [torch.nn.Linear(2 + sum(WIDTHS), HIDDEN, dtype=torch.float64),
             torch.nn.Linear(HIDDEN, N_OUT, dtype=torch.float64)]  # fmt: skip
    modules = torch.nn.ModuleList([*tables, *dense])
    with torch.no_grad():
        for parameter in modules.parameters():
            parameter.copy_(torch.tensor(rng.normal(size=parameter.shape)))

    def arrays() -> dict[str, list]:
        found = {f"embedding0.E{t}": table.weight.tolist() for t, table in enumerate(tables)}
        for i, layer in enumerate(dense):
            found |= {f"dense{i}.W": layer.weight.mT.tolist(), f"dense{i}.b": layer.bias.tolist()}
        return found

    start, losses = arrays(), []
    optimizer = torch.optim.Adam(modules.parameters(), lr=0.01, weight_decay=0.1)
    for _ in range(EPOCHS):
        for first in range(0, N, BATCH):
            x, target = torch.tensor(X[first : first + BATCH]), torch.tensor(y[first : first + BATCH])
            vectors = [table(x[:, column].long()) for table, column in zip(tables, CODES, strict=True)]
            h = torch.cat([x[:, [0, 2]], *vectors], dim=1)
            # chainrule's loss is half the square, summed over outputs.
            loss = ((dense[1](torch.tanh(dense[0](h))) - target) ** 2).sum(dim=1).mean() / 2
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    found = {"X": X.tolist(), "y": y.tolist(), "start": start, "losses": losses, "end": arrays()}
    TARGET.write_text(json.dumps(hexadecimal(found)) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
