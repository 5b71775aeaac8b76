"""Loops of losses whose targets are numbers. exp and log are NumPy's, in between."""

from __future__ import annotations

from typing import Any

from chainrule.backends.compiled.jit import loop
from chainrule.backends.compiled.loops.sums import pairwise_sum


@loop(writes="")
def squared_differences(p: Any, t: Any, difference: Any, square: Any, losses: Any) -> None:
    n, k = p.shape
    for i in range(n):
        for j in range(k):
            d = p[i, j] - t[i, j]
            difference[i, j] = d
            square[j] = d * d
        losses[i] = pairwise_sum(square)


@loop(writes="")
def absolute_differences(p: Any, t: Any, sign: Any, row: Any, losses: Any) -> None:
    n, k = p.shape
    zero, one = p.dtype.type(0), p.dtype.type(1)
    for i in range(n):
        for j in range(k):
            d = p[i, j] - t[i, j]
            s = one if d > zero else (-one if d < zero else d - d)  # a nan stays
            sign[i, j] = s
            row[j] = d * s
        losses[i] = pairwise_sum(row)


@loop(writes="")
def huber(p: Any, t: Any, delta: Any, gradient: Any, row: Any, losses: Any) -> None:
    n, k = p.shape
    minus_half = p.dtype.type(-0.5)
    for i in range(n):
        for j in range(k):
            d = p[i, j] - t[i, j]
            c = -delta if d < -delta else (delta if d > delta else d)
            gradient[i, j] = c
            row[j] = (d + c * minus_half) * c
        losses[i] = pairwise_sum(row)


@loop(writes="")
def poisson(z: Any, t: Any, mean: Any, gradient: Any, row: Any, losses: Any) -> None:
    """``mean`` is exp(z)."""
    n, k = z.shape
    for i in range(n):
        for j in range(k):
            m = mean[i, j]
            row[j] = m - z[i, j] * t[i, j]
            gradient[i, j] = m - t[i, j]
        losses[i] = pairwise_sum(row)


@loop(writes="")
def gamma(z: Any, t: Any, inverse: Any, gradient: Any, row: Any, losses: Any) -> None:
    """``inverse`` is exp(-z)."""
    n, k = z.shape
    one = z.dtype.type(1)
    for i in range(n):
        for j in range(k):
            ratio = inverse[i, j] * t[i, j]
            row[j] = z[i, j] + ratio
            gradient[i, j] = one - ratio
        losses[i] = pairwise_sum(row)


@loop(writes="")
def less_twice_positive_part(z: Any, out: Any) -> None:
    n, k = z.shape
    zero, minus_two = z.dtype.type(0), z.dtype.type(-2)
    for i in range(n):
        for j in range(k):
            value = z[i, j]
            out[i, j] = (zero if value < zero else value) * minus_two + value


@loop(writes="")
def sigmoid_losses(z: Any, t: Any, log1p: Any, row: Any, losses: Any) -> None:
    n, k = z.shape
    zero = z.dtype.type(0)
    for i in range(n):
        for j in range(k):
            value = z[i, j]
            row[j] = (log1p[i, j] + (zero if value < zero else value)) - value * t[i, j]
        losses[i] = pairwise_sum(row)


@loop(writes="")
def sigmoid_less_targets(e: Any, t: Any) -> None:
    """e comes in as exp(-z) and goes out as 1 / (1 + e) - t."""
    n, k = e.shape
    one = e.dtype.type(1)
    for i in range(n):
        for j in range(k):
            e[i, j] = one / (e[i, j] + one) - t[i, j]
