"""Batches on a host, which may read the order of the rows for free."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.backend import BATCH, STEP
from chainrule.backends.reference.array_operations import ArrayOperations

LARGE = 1 << 20  # elements checked at a time if nothing is written


def gather(
    self: ArrayOperations, sources: Sequence[Array], order: Array, position: Array, *, stride: int, out: Sequence[Array]
) -> None:
    start = int(position[0]) * stride
    if order.ndim == 1:
        rows = order[start : start + len(out[0])]
        for source, batch in zip(sources, out, strict=True):
            if source.dtype == batch.dtype:  # as `_take`, without a call more in the step of a small net
                source.take(rows, axis=0, out=batch, mode="clip")
            else:
                _take(self, source, rows, batch)
    else:
        for j, of_member in enumerate(order[:, start : start + out[0].shape[1]]):
            for source, batch in zip(sources, out, strict=True):
                _take(self, source[j] if source.ndim == batch.ndim else source, of_member, batch[j])
    position[0] += 1


def _take(self: ArrayOperations, source: Array, rows: Array, out: Array) -> None:
    """out = source[rows], in the dtype of ``out``."""
    if source.dtype == out.dtype:
        # mode="clip" is the one that writes straight into `out`; the rows are in range by contract.
        source.take(rows, axis=0, out=out, mode="clip")
    else:
        taken = self._scratch(out.shape, source.dtype, use="gather")
        source.take(rows, axis=0, out=taken, mode="clip")
        out[...] = taken


def first_nonfinite(self: ArrayOperations, x: Array) -> int | None:
    if not x.size or (x.size <= LARGE and np.isfinite(x).all()):
        return None
    width = int(x.size) // len(x)
    step = max(1, LARGE // width)
    for start in range(0, len(x), step):  # the answers for all of a large table would be a quarter of it
        finite = np.isfinite(x[start : start + step])
        if not finite.all():
            return start * width + int(finite.argmin())
    return None


def tick(self: ArrayOperations, state: Array, *, updates: int = 1) -> None:
    state[STEP] += updates
    state[BATCH] += 1
