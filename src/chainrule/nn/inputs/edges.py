"""The edges of a piecewise-linear encoding: quantiles of the training rows, column by column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from chainrule.backends import backend
from chainrule.errors import DataError, ShapeError
from chainrule.nn.inputs.quantiles import sample_of_rows, weighted_quantiles
from chainrule.nn.inputs.standardization import Standardization
from chainrule.options import whole_number

SAMPLE: Final = 100_000  # rows that edges are taken from: a quantile of them is within half a percent of all rows'
FEWEST: Final = 3  # edges: two would make one fraction, which x itself is already
COLUMNS: Final = 16  # whose sample is in memory at a time
SMALLEST: Final = 1e-30  # distance of two edges: what is divided by it stays finite in float32


def quantile_edges(
    X: np.ndarray,
    *,
    bins: int,
    columns: Sequence[int] | None = None,
    standardization: Standardization | None = None,
    sample_weight: np.ndarray | None = None,
) -> list[Sequence[float]]:
    """For each column of X its edges, from 3 up, or (); see :meth:`PiecewiseLinear.fit`."""
    whole_number("bins", bins, low=2)
    if X.ndim != 2 or not X.size or X.dtype.kind not in "biuf":
        raise DataError(f"X: expected rows of numbers, got {X.dtype} {X.shape}")
    rows, weights = _weighted_sample(X, sample_weight)
    levels = np.linspace(0, 1, bins + 1)
    found: list[Sequence[float]] = [()] * X.shape[1]
    wanted = list(range(X.shape[1]) if columns is None else columns)
    for start in range(0, len(wanted), COLUMNS):
        some = wanted[start : start + COLUMNS]
        sample = X[:, some] if rows is None else X[rows[:, None], some]
        for j, column in zip(some, sample.astype(np.float64).T, strict=True):
            quantiles = _quantiles(column, levels, weights, j)
            found[j] = _apart(quantiles if standardization is None else to_standardized(quantiles, standardization, j))
    return found


def to_standardized(x: np.ndarray, standardization: Standardization, column: int) -> np.ndarray:
    """z of numbers ``x`` (n,) of a column, float64, with the limit: as ``Backend.standardize``."""
    s, part, z = standardization, slice(column, column + 1), np.empty((len(x), 1))
    wide = x.astype(np.float64)[:, None]
    backend("cpu").standardize(wide, s.mean[part], s.scale[part], limit=s.limit, out=z)
    return z[:, 0]


def from_standardized(z: np.ndarray, standardization: Standardization, column: int) -> np.ndarray:
    """The inverse of :func:`to_standardized`, float64; for a z at the limit or beyond it is infinite."""
    with np.errstate(divide="ignore"):
        straight = z / np.sqrt(np.maximum(1 - (z / standardization.limit) ** 2, 0))
    x: np.ndarray = straight * standardization.scale[column] + standardization.mean[column]
    return x


def _weighted_sample(X: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray | None, np.ndarray | None]:
    """Which rows of X decide, None for all, and their weights."""
    rows = sample_of_rows(len(X), SAMPLE)
    if weights is None:
        return rows, None
    weights = np.asarray(weights, np.float64)
    if weights.shape != (len(X),):
        raise ShapeError(f"expected sample_weight of shape ({len(X)},), got {weights.shape}")
    of_sample = weights if rows is None else weights[rows]
    if not (np.isfinite(weights) & (weights >= 0)).all() or not of_sample.any():
        raise DataError("sample_weight: expected finite numbers from 0 up, not all 0")
    return rows, of_sample


def _quantiles(column: np.ndarray, levels: np.ndarray, weights: np.ndarray | None, number: int) -> np.ndarray:
    if not np.isfinite(column).all():
        raise DataError(f"X: expected finite numbers, got others in column {number}")
    if weights is None:
        found: np.ndarray = np.quantile(column, levels, method="inverted_cdf")
        return found
    return weighted_quantiles(column[weights > 0], levels, weights[weights > 0], averaged=False)


def _apart(quantiles: np.ndarray) -> list[float]:
    """Those that float32 tells apart; none if they would be fewer than 3."""
    edges = np.unique(quantiles.astype(np.float32))
    edges = edges[np.diff(edges.astype(np.float64), prepend=-np.inf) >= SMALLEST]
    # The shortest decimals that are these numbers: a model file holds them as text.
    return [float(str(edge)) for edge in edges] if len(edges) >= FEWEST else []
