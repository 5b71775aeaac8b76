"""Loops from logits to predictions."""

from __future__ import annotations

import math
from typing import Any

from chainrule.backends.compiled.jit import loop
from chainrule.backends.compiled.loops.sums import pairwise_sum


@loop(writes="e", rows="e")
def divide_by_sum(e: Any) -> None:
    n, k = e.shape
    for i in range(n):
        total = pairwise_sum(e[i])
        for j in range(k):
            e[i, j] /= total


@loop(writes="out", rows="x out")
def argmax(x: Any, out: Any) -> None:
    """The first of the largest, or the first nan."""
    n, k = x.shape
    for i in range(n):
        best = 0
        for j in range(1, k):
            if not (x[i, j] <= x[i, best] or math.isnan(x[i, best])):
                best = j
        out[i] = best


@loop(writes="out", rows="x out")
def positive(x: Any, out: Any) -> None:
    n, k = x.shape
    for i in range(n):
        for j in range(k):
            out[i, j] = x[i, j] > 0


@loop(writes="out", rows="z out")
def columns_from(z: Any, start: int, out: Any) -> None:
    """As many columns of z as ``out`` has, from ``start`` on."""
    n, k = out.shape
    for i in range(n):
        for j in range(k):
            out[i, j] = z[i, start + j]


@loop(writes="out", rows="left right out")
def mean_and(left: Any, right: Any, out: Any) -> None:
    """The first k columns of ``left``, which may be ``out``, then all k of ``right``."""
    n, k = right.shape
    for i in range(n):
        for j in range(k):
            out[i, j] = left[i, j]
            out[i, k + j] = right[i, j]
