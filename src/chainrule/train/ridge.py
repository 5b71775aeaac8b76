"""Ridge regression from sums over rows: the straight line that a net for tables can begin with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Self

import numpy as np

PENALTIES: Final = np.logspace(-2, 4, 13)  # that are tried


@dataclass(frozen=True)
class Moments:
    """What a ridge regression needs of n rows x (d,), y (c,) of weights w, in float64.

    Sums over rows add up, so those without a block are all less the block's: :meth:`plus`.

    Parameters
    ----------
    weight : sum_i(w_i)
    x, y : (d,) and (c,), sum_i(w_i x_i), sum_i(w_i y_i)
    xx, xy : (d, d) and (d, c), sum_i(w_i x_i x_i.T), sum_i(w_i x_i y_i.T)
    yy : (c,), sum_i(w_i y_i^2)
    """

    weight: float
    x: np.ndarray
    y: np.ndarray
    xx: np.ndarray
    xy: np.ndarray
    yy: np.ndarray

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, weights: np.ndarray | None = None) -> Self:
        """Of rows x (n, d), y (n, c) and weights (n,), or all ones."""
        x, y = x.astype(np.float64, copy=False), y.astype(np.float64, copy=False)
        w = np.ones(len(x)) if weights is None else weights.astype(np.float64, copy=False)
        weighted = x * w[:, None]
        return cls(float(w.sum()), w @ x, w @ y, weighted.T @ x, weighted.T @ y, w @ y**2)

    def plus(self, other: Moments, sign: float = 1.0) -> Moments:
        """Of the rows of both; with ``sign`` -1 of these without the others."""
        return Moments(
            self.weight + sign * other.weight,
            self.x + sign * other.x,
            self.y + sign * other.y,
            self.xx + sign * other.xx,
            self.xy + sign * other.xy,
            self.yy + sign * other.yy,
        )

    def of_weight(self, weight: float) -> Moments:
        """Of the same rows, with weights of this sum."""
        c = weight / self.weight if self.weight > 0 else 0.0
        return Moments(c * self.weight, c * self.x, c * self.y, c * self.xx, c * self.xy, c * self.yy)


def ridge(sums: Moments) -> tuple[np.ndarray, np.ndarray]:
    """W (d, c) and b (c,) with the least sum_i(w_i (y_i - x_i W - b)^2) + alpha |W|^2.

    alpha, for each column of y its own, is the one of :data:`PENALTIES` with the least generalised cross-validation
    error, n RSS / (n - 1 - sum_j(s_j / (s_j + alpha)))^2, s the eigenvalues of the centred xx; the intercept is free.

    Source: Golub, Heath, Wahba 1979, equation 1.4.
    """
    n = sums.weight
    if not n > 0:
        return np.zeros(sums.xy.shape), np.zeros(len(sums.y))
    mean_x, mean_y = sums.x / n, sums.y / n
    values, vectors = np.linalg.eigh(sums.xx - np.outer(sums.x, mean_x))
    values = np.maximum(values, 0.0)
    rotated = vectors.T @ (sums.xy - np.outer(sums.x, mean_y))
    total = np.maximum(sums.yy - sums.y * mean_y, 0.0)
    W = np.empty(sums.xy.shape)
    for j in range(len(sums.y)):
        errors = [_error(values, rotated[:, j], float(total[j]), n, alpha) for alpha in PENALTIES]
        W[:, j] = vectors @ (rotated[:, j] / (values + PENALTIES[int(np.argmin(errors))]))
    return W, mean_y - mean_x @ W


def _error(values: np.ndarray, rotated: np.ndarray, total: float, n: float, alpha: float) -> float:
    """The generalised cross-validation error; infinite if no degree of freedom is left."""
    kept = values / (values + alpha)
    free = n - 1 - float(kept.sum())
    explained = float((rotated**2 * (values + 2 * alpha) / (values + alpha) ** 2).sum())
    return n * max(total - explained, 0.0) / free**2 if free > 0 else np.inf
