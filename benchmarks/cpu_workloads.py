"""The workloads of ``compare_cpu.py`` and ``parallel_fits.py``, and the arrays on which all entries train."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
from peers import Case

import chainrule as cr

EXAMPLE = Path(__file__).parents[1] / "examples" / "fashion_mnist.py"
CE, MSE = "softmax_cross_entropy", "squared_error"

WORKLOADS = {
    "T": Case((100, 200, 10), 32, MSE, 400),
    "S": Case((64, 100, 10), 200, CE, 300),
    "W": Case((32, 256, 256, 256, 1), 256, MSE, 60),
    "M": Case((784, 512, 512, 10), 128, CE, 40),
    "L": Case((784, 2048, 2048, 10), 1024, CE, 5),
}
FASHION = Case((784, 256, 128, 10), 128, CE, 60_000 // 128)


def lay_out(case: Case, folder: Path, fashion: Path | None) -> None:
    """Initial weights, rows and, for Fashion-MNIST, test rows: one .npy each, which all workers read."""
    for name, value in cr.MLP(case.widths, loss=case.loss).parameters().items():
        layer, _, parameter = name.partition(".")
        np.save(folder / f"{parameter}{layer.removeprefix('dense')}.npy", value)
    if fashion is None:
        rng, n = np.random.default_rng(0), case.batch * case.steps
        X = rng.standard_normal((n, case.widths[0]), np.float32)
        y = rng.integers(0, 10, n) if case.classifies else rng.standard_normal((n, case.widths[-1]), np.float32)
        arrays = {"X": X, "y": y}
    else:
        arrays = read_fashion(fashion)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def read_fashion(folder: Path) -> dict[str, np.ndarray]:
    """Train and test rows in float32, standardised by the training rows, limited to three standard deviations."""
    spec = importlib.util.spec_from_file_location("fashion_mnist", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    arrays: dict[str, np.ndarray] = {}
    for suffix, stem in (("", "train"), ("_test", "t10k")):
        images = example.read_idx(folder / f"{stem}-images-idx3-ubyte.gz")
        arrays[f"X{suffix}"] = images.reshape(len(images), -1)
        arrays[f"y{suffix}"] = example.read_idx(folder / f"{stem}-labels-idx1-ubyte.gz").astype(np.int64)
    fitted = cr.Standardization.fit(arrays["X"], limit=3.0)
    for name in ("X", "X_test"):
        z = (arrays[name] - fitted.mean) / fitted.scale
        arrays[name] = (z / np.sqrt(1 + (z / fitted.limit) ** 2)).astype(np.float32)
    return arrays
