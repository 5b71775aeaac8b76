"""Loops of embedding: rows of tables by code, and their gradients."""

from __future__ import annotations

from typing import Any

from chainrule.backends.compiled.jit import loop


@loop(writes="y", rows="x y")
def copy_numbers(x: Any, start: int, stop: int, at: int, y: Any) -> None:
    """Columns ``start`` to before ``stop`` of x, to y from column ``at`` on."""
    for i in range(len(x)):
        values, part = x[i, start:stop], y[i, at : at + stop - start]
        for j in range(values.size):
            part[j] = values[j]


@loop(writes="codes y", rows="x codes y")
def look_up(x: Any, column: int, table: Any, t: int, at: int, codes: Any, y: Any) -> None:
    """The vectors of table t, (rows, width), to y from column ``at`` on; a code beyond the last row takes that."""
    rows, width = table.shape
    for i in range(len(x)):
        codes[i, t] = int(x[i, column])
        row = min(max(codes[i, t], 0), rows - 1)
        vector, part = table[row], y[i, at : at + width]
        for j in range(width):
            part[j] = vector[j]


@loop(writes="y", rows="codes y")
def put_mean(codes: Any, t: int, rows: int, mean: Any, at: int, y: Any) -> None:
    """To the vectors whose code is ``rows``, one more than table t has."""
    for i in range(len(codes)):
        if codes[i, t] == rows:
            part = y[i, at : at + mean.size]
            for j in range(mean.size):
                part[j] = mean[j]


@loop(writes="touched gradient", rows="touched gradient", first="first", picks="gradient")
def add_by_code(dy: Any, codes: Any, t: int, at: int, first: int, touched: Any, gradient: Any) -> None:
    """The gradient of table t, its rows from ``first`` on: what belongs to one of them is added row by row of dy.

    ``touched``, a number for each of these rows: where it is 0 the row is 0, before and afterwards.
    """
    rows, width = gradient.shape
    for row in range(rows):
        if touched[row] != 0:
            touched[row] = 0
            for j in range(width):
                gradient[row, j] = 0
    for i in range(len(dy)):
        row = codes[i, t] - first
        if 0 <= row < rows:
            touched[row] = 1
            part, total = dy[i, at : at + width], gradient[row]
            for j in range(width):
                total[j] += part[j]
