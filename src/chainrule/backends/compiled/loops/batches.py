"""Loops of what goes into a batch: rows by their number, copies, standardisation, counters.

An assignment converts to the dtype of what it assigns to; numba compiles a loop for each pair of dtypes.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.backends.compiled.jit import loop, part
from chainrule.backends.contract.backend import BATCH, STEP
from chainrule.backends.contract.batches import HALVED_ABOVE


@loop(writes="out", rows="out", first="first", picks="source order")
def gather(source: Any, order: Any, position: Any, stride: int, first: int, out: Any) -> None:
    """out[i] = source[order[position stride + first + i]].   source, out (n, width)."""
    n, width = out.shape
    start = position[0] * stride + first
    for i in range(n):
        row = order[start + i]
        for j in range(width):
            out[i, j] = source[row, j]


@loop(writes="out", rows="out", first="first", picks="source order")
def gather_numbers(source: Any, order: Any, position: Any, stride: int, first: int, out: Any) -> None:
    """One number per row."""
    start = position[0] * stride + first
    for i in range(len(out)):
        out[i] = source[order[start + i]]


@loop(writes="position")
def advance(position: Any) -> None:
    position[0] += 1


@loop(writes="state")
def tick(state: Any, updates: int) -> None:
    state[STEP] += updates
    state[BATCH] += 1


@loop(writes="out", rows="out")
def fill(out: Any, value: Any) -> None:
    """``value`` (1,)."""
    number = value[0]
    for i in range(out.size):
        out[i] = number


@loop(writes="out", rows="x out")
def copy(x: Any, out: Any) -> None:
    for i in range(out.size):
        out[i] = x[i]


@loop(writes="out", rows="x out")
def copy_rows(x: Any, out: Any) -> None:
    n, m = out.shape
    for i in range(n):
        for j in range(m):
            out[i, j] = x[i, j]


@loop(writes="out", rows="x out")
def scale_and_shift(x: Any, scale: Any, shift: Any, out: Any) -> None:
    n, m = x.shape
    for i in range(n):
        for j in range(m):
            out[i, j] = x[i, j] * scale[j] + shift[j]


# ---- standardisation, in double precision --------------------------------------------------------------------------


@part
def standard(x: Any, mean: Any, scale: Any) -> Any:
    """(x - mean) / scale; halves of huge numbers, so that no difference overflows."""
    half = 0.5 if abs(mean) > HALVED_ABOVE else 1.0
    return (np.float64(x) * half - mean * half) / (scale * half)


@loop(writes="out", rows="x out")
def standardize(x: Any, mean: Any, scale: Any, out: Any) -> None:
    n, m = x.shape
    for i in range(n):
        for j in range(m):
            out[i, j] = standard(x[i, j], mean[j], scale[j])


@loop(writes="out", rows="x out")
def standardize_within(x: Any, mean: Any, scale: Any, out: Any, limits: Any) -> None:
    """limits : the limit; where z is cut off, far beyond it, so that no square overflows"""
    n, m = x.shape
    limit, most = limits[0], limits[1]
    for i in range(n):
        for j in range(m):
            z = standard(x[i, j], mean[j], scale[j])
            z = -most if z < -most else z
            z = most if z > most else z
            bend = z / limit
            out[i, j] = z / math.sqrt(bend * bend + 1)
