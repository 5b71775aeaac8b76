"""Quantiles of columns, by weight; of a sample of the rows if they are very many."""

from __future__ import annotations

from typing import Final

import numpy as np

from chainrule.backends import backend
from chainrule.random import Purpose, stream

EXACT: Final = (np.float32, np.float64)  # in which quantiles of such values are computed

TIED: Final = 1e-12  # weights of the same ratios may have sums that differ by rounding


def weighted_quantiles(
    values: np.ndarray, levels: np.ndarray, weights: np.ndarray, *, averaged: bool = True
) -> np.ndarray:
    """(len(levels),) the values with that part of the weight up to them.

    If that holds for all between two values, it is their mean, or the lower one unless ``averaged``.
    values (n,), levels in [0, 1], weights (n,) from 0 up, not all 0. With level 1/2 it is the median.
    """
    order = np.argsort(values, kind="stable")
    below = np.cumsum(weights[order])
    bounds = below[-1] * np.multiply.outer([1 - TIED, 1 + TIED], levels)
    lower, upper = values[order[np.searchsorted(below, bounds).clip(max=len(order) - 1)]].astype(np.float64)
    found: np.ndarray = np.where(lower == upper, lower, lower / 2 + upper / 2) if averaged else lower
    return found


def five_numbers(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """The least of ``values`` (n,), the lower quartile, the median, the upper quartile, the largest.

    A quartile is the value with that part of the rows, or of their weight, up to it, or the mean of two: so that a row
    of weight 2 counts as two rows.
    """
    levels = np.array([0, 0.25, 0.5, 0.75, 1])
    if values.dtype not in EXACT:  # the distance of two may be none of them: 100 - -100 is no int8
        values = values.astype(np.float64)
    if weights is not None and (weights != weights[0]).any():
        return weighted_quantiles(values, levels, weights)
    found: np.ndarray = np.quantile(values, levels, method="averaged_inverted_cdf")
    return found


def sample_of_rows(n: int, most: int) -> np.ndarray | None:
    """``most`` of ``n`` rows at random, always the same, ascending; None if there are not more."""
    if n <= most:
        return None
    order = np.empty(n, np.int64)
    backend("cpu").permutation(*stream(0, Purpose.SAMPLE), out=order)
    return np.sort(order[:most])
