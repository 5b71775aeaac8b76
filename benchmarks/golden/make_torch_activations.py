"""Write the numbers that ``tests/nn/layers/test_activations.py`` compares with: PyTorch's, in float64, as hex.

    python benchmarks/golden/make_torch_activations.py        # needs torch, not chainrule

Each activation with its derivative at some numbers, and the loss and gradients of a small net with it in two layers.
"""

from __future__ import annotations

import itertools
import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own custom

TARGET = Path(__file__).parents[2] / "tests" / "nn" / "layers" / "torch_activations.json"
WIDTHS, ROWS = (4, 6, 5, 3), 7
FAR = [0.0, 1e-9, -1e-9, 0.5, -0.5, 8.0, -8.0, 30.0, -30.0, 600.0, -600.0]

ACTIVATIONS: dict[str, Any] = {
    "identity": lambda z: z * 1,
    "relu": F.relu,
    "leaky_relu": F.leaky_relu,
    "elu": F.elu,
    "selu": F.selu,
    "softplus": partial(F.softplus, threshold=1e9),  # the default cuts it off at 20, which is off by 2e-9
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "gelu": F.gelu,
    "gelu_tanh": partial(F.gelu, approximate="tanh"),
    "silu": F.silu,
    "mish": F.mish,
}


def hexadecimal(values: torch.Tensor | np.ndarray) -> Any:
    def text(value: Any) -> Any:
        return [text(v) for v in value] if isinstance(value, list) else float(value).hex()

    return text(values.tolist())


def main() -> None:
    rng = np.random.default_rng(2027)
    numbers = np.concatenate([3 * rng.normal(size=30), FAR])
    X, labels, start = rng.normal(size=(ROWS, WIDTHS[0])), rng.integers(0, WIDTHS[-1], ROWS), {}
    for i, (n_in, n_out) in enumerate(itertools.pairwise(WIDTHS)):
        start |= {f"dense{i}.W": rng.normal(size=(n_in, n_out)), f"dense{i}.b": rng.normal(size=n_out)}

    found = {}
    for name, act in ACTIVATIONS.items():
        z = torch.tensor(numbers, requires_grad=True)
        y = act(z)
        y.sum().backward()
        p = {key: torch.tensor(value, requires_grad=True) for key, value in start.items()}
        h = act(torch.tensor(X) @ p["dense0.W"] + p["dense0.b"])
        h = act(h @ p["dense1.W"] + p["dense1.b"])
        loss = F.cross_entropy(h @ p["dense2.W"] + p["dense2.b"], torch.tensor(labels))
        loss.backward()
        found[name] = {
            "y": hexadecimal(y), "derivative": hexadecimal(z.grad), "loss": loss.item().hex(),
            "gradients": {key: hexadecimal(value.grad) for key, value in p.items()},
        }  # fmt: skip
    golden = {
        "torch": torch.__version__, "z": hexadecimal(numbers), "widths": list(WIDTHS), "X": hexadecimal(X),
        "labels": labels.tolist(), "start": {key: hexadecimal(value) for key, value in start.items()},
        "activations": found,
    }  # fmt: skip
    TARGET.write_text(json.dumps(golden, separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
