"""Write the numbers that ``tests/optim/test_torch_numbers.py`` compares with: PyTorch's own, in float64, as hex floats.

    python benchmarks/golden/make_torch_optimisers.py        # needs torch, not chainrule

Three things: ten steps of each optimiser on a small function, the losses with their gradients, and ten steps of a small
net by each optimiser. Nothing is drawn at random here but by NumPy from a fixed seed.
"""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812 - PyTorch's own custom

TARGET = Path(__file__).parents[2] / "tests" / "optim" / "torch_optimisers.json"
STEPS = 10

# Names and options are chainrule's; `torch_optimizer` says what PyTorch calls them.
OPTIMISERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.05, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.02, "momentum": 0.9}),
    ("SGD", {"lr": 0.02, "momentum": 0.5, "weight_decay": 0.3}),
    ("SGD", {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.01, "momentum": 0.7, "nesterov": True, "weight_decay": 0.2}),
    ("Adam", {"lr": 0.1}),
    ("Adam", {"lr": 0.03, "beta1": 0.8, "beta2": 0.95, "eps": 1e-3}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.05, "beta1": 0.0}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.01}),
    ("AdamW", {"lr": 0.03, "weight_decay": 0.5, "beta1": 0.7, "beta2": 0.9, "eps": 1e-4}),
]
NETS = [("softmax_cross_entropy", "relu"), ("sigmoid_cross_entropy", "tanh"), ("squared_error", "sigmoid")]


def torch_optimizer(kind: str, options: dict[str, Any], groups: Any) -> torch.optim.Optimizer:
    settings = dict(options)
    if kind != "SGD":
        settings["betas"] = (settings.pop("beta1", 0.9), settings.pop("beta2", 0.999))
    return getattr(torch.optim, kind)(groups, **settings)


def on_a_function(rng: np.random.Generator) -> dict[str, Any]:
    """f(x) = sum( a x^2 / 2 + c x^4 / 4 ), whose gradient a x + c x^3 is written out, not derived."""
    a, c, start = rng.uniform(0.5, 3, 7), rng.uniform(0, 1, 7), rng.normal(size=7)
    runs = []
    for kind, options in OPTIMISERS:
        x = torch.tensor(start, requires_grad=True)
        optimizer, path = torch_optimizer(kind, options, [x]), []
        for _ in range(STEPS):
            x.grad = (torch.tensor(a) * x + torch.tensor(c) * x**3).detach()
            optimizer.step()
            path.append(x.detach().tolist())
        runs.append({"kind": kind, "options": options, "path": path})
    return {"a": a.tolist(), "c": c.tolist(), "start": start.tolist(), "runs": runs}


def loss_of(name: str, z: torch.Tensor, t: torch.Tensor, w: torch.Tensor | None) -> torch.Tensor:
    """The mean over rows (by weight) and, if there are several numbers per row, over those too."""
    kernel = {
        "softmax_cross_entropy": F.cross_entropy,
        "sigmoid_cross_entropy": F.binary_cross_entropy_with_logits,
        "squared_error": F.mse_loss,
    }[name]
    if w is None:
        return kernel(z, t)
    rows = kernel(z, t, reduction="none")
    return ((rows if rows.ndim == 1 else rows.mean(dim=1)) * w).sum() / w.sum()


def targets(name: str, rng: np.random.Generator, n: int, k: int) -> np.ndarray:
    if name == "softmax_cross_entropy":
        return rng.integers(0, k, n)
    return rng.uniform(size=(n, k)) if name == "sigmoid_cross_entropy" else rng.normal(size=(n, k))


def of_losses(rng: np.random.Generator) -> list[dict[str, Any]]:
    cases = []
    for name in ("softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error"):
        for size, weighted in [(1.0, False), (1.0, True), (30.0, False), (30.0, True)]:
            n, k = 6, 4
            logits, t = size * rng.normal(size=(n, k)), targets(name, rng, n, k)
            w = rng.uniform(0, 2, n) if weighted else None
            z = torch.tensor(logits, requires_grad=True)
            loss = loss_of(name, z, torch.tensor(t), None if w is None else torch.tensor(w))
            loss.backward()
            cases.append(
                {
                    "name": name,
                    "logits": logits.tolist(),
                    "targets": t.tolist(),
                    "weights": None if w is None else w.tolist(),
                    "loss": loss.item(),
                    "gradient": z.grad.tolist(),
                }
            )
    return cases


def of_nets(rng: np.random.Generator) -> dict[str, Any]:
    """Five epochs of two batches, 4 rows and 3 rows, in order; weights decay and biases do not."""
    widths, n, size = (4, 5, 6, 3), 7, 4
    X, start = rng.normal(size=(n, widths[0])), {}
    for i, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
        start |= {f"dense{i}.W": rng.normal(size=(n_in, n_out)), f"dense{i}.b": rng.normal(size=n_out)}
    runs = []
    for (name, activation), (kind, options) in zip(itertools.cycle(NETS), OPTIMISERS, strict=False):
        y = targets(name, rng, n, widths[-1])
        p = {key: torch.tensor(value, requires_grad=True) for key, value in start.items()}
        weights, biases = ([v for key, v in p.items() if key.endswith(end)] for end in (".W", ".b"))
        optimizer = torch_optimizer(kind, options, [{"params": weights}, {"params": biases, "weight_decay": 0.0}])
        losses = []
        for step in range(STEPS):
            rows = slice(0, size) if step % 2 == 0 else slice(size, n)
            h = torch.tensor(X[rows])
            for i in range(3):
                h = h @ p[f"dense{i}.W"] + p[f"dense{i}.b"]
                h = getattr(torch, activation)(h) if i < 2 else h
            loss = loss_of(name, h, torch.tensor(y[rows]), None)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        runs.append(
            {
                "loss": name,
                "activation": activation,
                "kind": kind,
                "options": options,
                "y": y.tolist(),
                "losses": losses,
                "end": {key: v.detach().tolist() for key, v in p.items()},
            }
        )
    started = {key: v.tolist() for key, v in start.items()}
    return {"widths": list(widths), "batch_size": size, "X": X.tolist(), "start": started, "runs": runs}


def hexadecimal(value: Any) -> Any:
    """Every float as the text of its bits; options stay as they are read by people."""
    if isinstance(value, float):
        return value.hex()
    if isinstance(value, list):
        return [hexadecimal(v) for v in value]
    if isinstance(value, dict):
        return {key: v if key == "options" else hexadecimal(v) for key, v in value.items()}
    return value


def main() -> None:
    rng = np.random.default_rng(2026)
    numbers = {
        "torch": torch.__version__,
        "function": on_a_function(rng),
        "losses": of_losses(rng),
        "nets": of_nets(rng),
    }
    TARGET.write_text(json.dumps(hexadecimal(numbers), separators=(",", ":")) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
