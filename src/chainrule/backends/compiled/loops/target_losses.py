"""Loops of losses whose targets are numbers. exp and log are NumPy's, in between."""

from __future__ import annotations

from typing import Any

from chainrule.backends.compiled.jit import loop
from chainrule.backends.compiled.loops.sums import pairwise_sum


@loop(writes="sums", rows="x sums")
def sums_of_groups(x: Any, count: int, sums: Any) -> None:
    """Of ``count`` columns each, which stand side by side; sums (n, groups)."""
    n, groups = sums.shape
    zero = x.dtype.type(0)
    for i in range(n):
        for j in range(groups):
            sums[i, j] = zero + pairwise_sum(x[i, j * count : (j + 1) * count])


@loop(writes="loss gradient", rows="loss gradient")
def huber(loss: Any, delta: Any, gradient: Any) -> None:
    """d = z - t comes in ``loss``, which becomes c (d - c / 2), c = clip(d, -delta, delta)."""
    n, k = loss.shape
    minus_half, high = loss.dtype.type(-0.5), delta[0]
    low = -high
    for i in range(n):
        for j in range(k):
            d = loss[i, j]
            c = low if d < low else (high if d > high else d)  # a nan stays
            gradient[i, j] = c
            loss[i, j] = (d + c * minus_half) * c


@loop(writes="loss gradient", rows="z loss gradient")
def gamma(z: Any, loss: Any, gradient: Any) -> None:
    """t exp(-z) comes in ``loss``, which becomes z + t exp(-z)."""
    n, k = z.shape
    one = z.dtype.type(1)
    for i in range(n):
        for j in range(k):
            ratio = loss[i, j]
            loss[i, j] = z[i, j] + ratio
            gradient[i, j] = one - ratio


# ---- of 0 and 1 ----------------------------------------------------------------------------------------------------


@loop(writes="out", rows="z out")
def less_twice_positive_part(z: Any, out: Any) -> None:
    """z - 2 max(z, 0)."""
    n, k = z.shape
    zero, minus_two = z.dtype.type(0), z.dtype.type(-2)
    for i in range(n):
        for j in range(k):
            out[i, j] = (zero if z[i, j] < zero else z[i, j]) * minus_two + z[i, j]


@loop(writes="loss", rows="z t loss")
def sigmoid_losses(z: Any, t: Any, loss: Any) -> None:
    """log(1 + exp(z - 2 max(z, 0))) comes in ``loss``, which becomes it + max(z, 0) - z t."""
    n, k = z.shape
    zero = z.dtype.type(0)
    for i in range(n):
        for j in range(k):
            loss[i, j] = (loss[i, j] + (zero if z[i, j] < zero else z[i, j])) - z[i, j] * t[i, j]


@loop(writes="e", rows="e t")
def sigmoid_less_targets(e: Any, t: Any) -> None:
    """exp(-z) comes in ``e``, which becomes 1 / (1 + e) - t."""
    n, k = e.shape
    one = e.dtype.type(1)
    for i in range(n):
        for j in range(k):
            e[i, j] = one / (e[i, j] + one) - t[i, j]


# ---- quantiles -----------------------------------------------------------------------------------------------------


@loop(writes="out", rows="z out")
def minus_absolute(z: Any, out: Any) -> None:
    """-|z|."""
    n, k = z.shape
    for i in range(n):
        for j in range(k):
            out[i, j] = -abs(z[i, j])


@loop(writes="q", rows="z log1p q")
def increasing(z: Any, log1p: Any, count: int, q: Any) -> None:
    """q_1 = z_1, q_j = q_(j-1) + max(z_j, 0) + log1p_j within each ``count`` columns; q may be z or log1p."""
    n, m = z.shape
    zero = z.dtype.type(0)
    for i in range(n):
        for first in range(0, m, count):
            level = z[i, first]
            q[i, first] = level
            for j in range(first + 1, first + count):
                level += (z[i, j] if z[i, j] > zero else zero) + log1p[i, j]
                q[i, j] = level


@loop(writes="q slope", rows="q t slope")
def pinball(q: Any, t: Any, levels: Any, slope: Any) -> None:
    """(q - t) g in the place of q, and g = [t < q] - level in ``slope``."""
    n, k = t.shape
    count = levels.size
    zero, one = q.dtype.type(0), q.dtype.type(1)
    for i in range(n):
        for target in range(k):
            first = target * count
            for j in range(count):
                error = q[i, first + j] - t[i, target]
                g = (one if error > zero else zero) - levels[j]
                slope[i, first + j] = g
                q[i, first + j] = error * g


@loop(writes="gradient", rows="e slope gradient")
def quantile_gradient(e: Any, slope: Any, count: int, gradient: Any) -> None:
    """1 / (1 + e) times the sum of the slopes from here on, e = exp(-z); the first of each ``count`` without 1 / ..."""
    n, m = e.shape
    one, zero = e.dtype.type(1), e.dtype.type(0)
    for i in range(n):
        for first in range(0, m, count):
            from_here_on = zero
            for j in range(first + count - 1, first, -1):
                from_here_on += slope[i, j]
                gradient[i, j] = one / (one + e[i, j]) * from_here_on
            gradient[i, first] = from_here_on + slope[i, first]


# ---- mean and logarithm of the variance ----------------------------------------------------------------------------


@loop(writes="out", rows="z out")
def minus_log_variances(z: Any, out: Any) -> None:
    n, k = out.shape
    for i in range(n):
        for j in range(k):
            out[i, j] = -z[i, k + j]


@loop(writes="loss gradient", rows="z t loss gradient")
def gaussian(z: Any, t: Any, loss: Any, gradient: Any) -> None:
    """exp(-s) comes in ``loss``, which becomes s + (m - t)^2 exp(-s), twice the loss; ``gradient`` may be z."""
    n, k = t.shape
    one, two = z.dtype.type(1), z.dtype.type(2)
    for i in range(n):
        for j in range(k):
            error = z[i, j] - t[i, j]
            pull = error * loss[i, j]
            square = error * pull
            loss[i, j] = z[i, k + j] + square
            gradient[i, j] = pull
            gradient[i, k + j] = (one - square) / two
