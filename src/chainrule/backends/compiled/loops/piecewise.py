"""Loops of piecewise-linear encodings."""

from __future__ import annotations

from typing import Any

from chainrule.backends.compiled.jit import loop


@loop
def encode(x: Any, columns: Any, start: Any, width: Any, low: Any, high: Any, y: Any) -> None:
    """Row by row in a loop for each operation, which a compiler makes vector instructions of: three times as fast."""
    n, m = y.shape
    for i in range(n):
        values, row = x[i], y[i]
        for o in range(m):
            row[o] = values[columns[o]]
        for o in range(m):
            row[o] = (row[o] - start[o]) / width[o]
        for o in range(m):
            z = row[o]
            row[o] = low[o] if z < low[o] else z  # a nan stays
        for o in range(m):
            z = row[o]
            row[o] = high[o] if z > high[o] else z


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
