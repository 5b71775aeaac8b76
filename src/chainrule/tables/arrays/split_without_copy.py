"""A large matrix without one of its columns, or split into two sets of rows, within its own memory.

Both move rows towards the beginning, part by part, over rows that are no longer needed. The matrix that was passed in
must not be used afterwards.
"""

from __future__ import annotations

import numpy as np

PART = 1 << 20  # numbers moved at a time


def without_column(matrix: np.ndarray, column: int) -> np.ndarray:
    """(n, d - 1): the other columns of a ``matrix`` (n, d) in C order."""
    n, d = matrix.shape
    flat, step = matrix.reshape(-1), max(1, PART // d)
    for start in range(0, n, step):
        part = np.delete(matrix[start : start + step], column, axis=1)
        flat[start * (d - 1) :][: part.size] = part.reshape(-1)
    return flat[: n * (d - 1)].reshape(n, d - 1)


def split_without_copy(matrix: np.ndarray, kept: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows ``kept`` of a ``matrix`` (n, d), in its memory, and a copy of the rows ``others``; positions ascend."""
    copied, step = matrix[others], max(1, PART // matrix.shape[1])
    for start in range(0, len(kept), step):
        rows = kept[start : start + step]
        matrix[start : start + len(rows)] = matrix[rows]
    return matrix[: len(kept)], copied
