"""Loops of columns: side by side, cut out, and each times a factor.

A row is cut before a loop goes along it: of an index that is a sum a compiler does not know that it is not negative,
which would count from the end, and uses no vector instructions.
"""

from __future__ import annotations

from typing import Any

from chainrule.backends.compiled.jit import loop


@loop(writes="out", rows="left right out")
def join(left: Any, right: Any, out: Any) -> None:
    n, k = left.shape
    for i in range(n):
        for j in range(k):
            out[i, j] = left[i, j]
        rest = out[i, k:]
        for j in range(right.shape[1]):
            rest[j] = right[i, j]


@loop(writes="out", rows="source out")
def take(source: Any, start: int, out: Any) -> None:
    n, k = out.shape
    for i in range(n):
        row = source[i, start : start + k]
        for j in range(k):
            out[i, j] = row[j]


@loop(writes="out", rows="source out")
def add(source: Any, start: int, out: Any) -> None:
    n, k = out.shape
    for i in range(n):
        row = source[i, start : start + k]
        for j in range(k):
            out[i, j] += row[j]


@loop(writes="out", rows="x out")
def scale(x: Any, factors: Any, out: Any) -> None:
    n, k = x.shape
    for i in range(n):
        for j in range(k):
            out[i, j] = x[i, j] * factors[j]


@loop(writes="dscale", rows="dscale", first="first")
def scale_gradient(dy: Any, x: Any, first: int, dscale: Any) -> None:
    """Of the columns from ``first`` on; there is more than one in x."""
    n, width = len(x), dscale.size
    dscale[:] = 0
    for i in range(n):
        of_dy, of_x = dy[i, first : first + width], x[i, first : first + width]  # see column_sums
        for j in range(width):
            dscale[j] += of_dy[j] * of_x[j]
