"""What the tests of kernels draw: odd shapes, sizes around the CPU's chunks, weights of rows, exact products."""

from __future__ import annotations

import numpy as np

from chainrule.backends.numpy.memory import CHUNK

SHAPES = [(1, 1), (1, 7), (5, 1), (3, 2), (17, 33), (130, 10)]
SIZES = [1, 7, 1000, 2 * CHUNK + 5]  # of flat arrays: the CPU takes them in chunks

WEIGHTINGS = ["unweighted", "sample_weight", "sample_weight, some 0", "sample_weight, all 0"]


def weights_of(weighting: str, rng: np.random.Generator, n: int, dtype: str) -> np.ndarray | None:
    w = rng.uniform(0.1, 3, n).astype(dtype)
    some = (w * rng.integers(0, 2, n)).astype(dtype)
    return dict(zip(WEIGHTINGS, (None, w, some, 0 * w), strict=True))[weighting]


def exact_product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.asarray(a.astype(np.longdouble) @ b.astype(np.longdouble), np.float64)
