"""Loops from the outputs of members to those of an ensemble. exp and log are NumPy's, in between."""

from __future__ import annotations

from typing import Any

from chainrule.backends.compiled.jit import loop
from chainrule.backends.compiled.loops.sums import pairwise_sum
from chainrule.backends.reference.ensembles import SMALL_GAP


@loop(writes="total", rows="x total")
def begin_sum(x: Any, total: Any) -> None:
    """0 + x, which is no -0."""
    n, c = x.shape
    zero = x.dtype.type(0)
    for i in range(n):
        for j in range(c):
            total[i, j] = zero + x[i, j]


@loop(writes="total")
def sum_of_numbers(x: Any, total: Any) -> None:
    """Of x (k,), one number of each member; total (1, 1)."""
    total[0, 0] = x.dtype.type(0) + pairwise_sum(x)


@loop(writes="x", rows="x")
def divide(x: Any, divisor: Any) -> None:
    """``divisor`` (1,)."""
    n, c = x.shape
    for i in range(n):
        for j in range(c):
            x[i, j] /= divisor[0]


@loop(writes="x", rows="x")
def clip(x: Any, low: Any, high: Any) -> None:
    """``low``, ``high`` (1,)."""
    n, c = x.shape
    for i in range(n):
        for j in range(c):
            value = low[0] if x[i, j] < low[0] else x[i, j]  # a nan stays
            x[i, j] = high[0] if value > high[0] else value


@loop(writes="x", rows="x of_rows")
def subtract_from_rows(x: Any, of_rows: Any) -> None:
    n, c = x.shape
    for i in range(n):
        for j in range(c):
            x[i, j] -= of_rows[i]


# ---- log1p is log(1 + exp(-|z|)) -----------------------------------------------------------------------------------


@loop(writes="yes", rows="z log1p yes")
def log_sigmoid(z: Any, log1p: Any, yes: Any) -> None:
    n, c = z.shape
    zero = z.dtype.type(0)
    for i in range(n):
        for j in range(c):
            yes[i, j] = (zero if z[i, j] > zero else z[i, j]) - log1p[i, j]


@loop(writes="no", rows="z log1p no")
def log_of_the_rest(z: Any, log1p: Any, no: Any) -> None:
    """log(1 - sigmoid(z))."""
    n, c = z.shape
    zero = z.dtype.type(0)
    for i in range(n):
        for j in range(c):
            no[i, j] = -((zero if z[i, j] < zero else z[i, j]) + log1p[i, j])


@loop(writes="gap", rows="z log1p gap")
def gaps(z: Any, log1p: Any, gap: Any) -> None:
    """log(1 + exp(z))."""
    n, c = z.shape
    zero = z.dtype.type(0)
    for i in range(n):
        for j in range(c):
            gap[i, j] = (zero if z[i, j] < zero else z[i, j]) + log1p[i, j]


@loop(writes="out", rows="mean highest small large out")
def quantile_logits(mean: Any, highest: Any, small: Any, large: Any, count: int, out: Any) -> None:
    """The first of each ``count`` columns from ``mean``, the others from ``small`` if no gap is large."""
    n, c = out.shape
    for i in range(n):
        for j in range(c):
            if j % count == 0:
                out[i, j] = mean[i, j]
            else:
                out[i, j] = small[i, j] if highest[i, j] < SMALL_GAP else large[i, j]


@loop(writes="out", rows="log_largest log_mean out")
def log_of_mean_square(log_largest: Any, log_mean: Any, least: Any, out: Any) -> None:
    """max(2 log_largest + log_mean, least); ``least`` (1,)."""
    n, c = out.shape
    two = out.dtype.type(2)
    for i in range(n):
        for j in range(c):
            value = two * log_largest[i, j] + log_mean[i, j]
            out[i, j] = least[0] if value < least[0] else value  # a nan stays
