"""Loops of piecewise-linear encodings."""

from __future__ import annotations

from typing import Any

from chainrule.backends.compiled.jit import loop


@loop
def encode(x: Any, start: Any, width: Any, low: Any, high: Any, first: Any, y: Any) -> None:
    n, k = x.shape
    for i in range(n):
        for j in range(k):
            value = x[i, j]
            y[i, j] = value
            for o in range(first[j], first[j + 1]):
                z = (value - start[o]) / width[o]
                z = low[o] if z < low[o] else z  # a nan stays
                y[i, o] = high[o] if z > high[o] else z


@loop
def encode_backward(dy: Any, y: Any, width: Any, low: Any, high: Any, first: Any, dx: Any) -> None:
    n, k = dx.shape
    zero = dx.dtype.type(0)
    for i in range(n):
        for j in range(k):
            total = dy[i, j]
            for o in range(first[j], first[j + 1]):
                inside = low[o] < y[i, o] < high[o]
                total += dy[i, o] / width[o] if inside else zero
            dx[i, j] = total
