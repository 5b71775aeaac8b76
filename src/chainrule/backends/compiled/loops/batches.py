"""Loops of what goes into a batch: rows by their number, copies, counters."""

from __future__ import annotations

from typing import Any

from chainrule.backends.compiled.jit import loop


@loop(writes="out", rows="out", first="first")
def gather(source: Any, order: Any, position: Any, stride: int, first: int, out: Any) -> None:
    """out[i] = source[order[position stride + first + i]].   source, out (n, width)."""
    n, width = out.shape
    start = position[0] * stride + first
    for i in range(n):
        row = order[start + i]
        for j in range(width):
            out[i, j] = source[row, j]


@loop(writes="out", rows="out", first="first")
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
    state[0] += updates
    state[1] += 1
