"""What goes into a batch: copies, conversions, rows by their number, the step's counters."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence

from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.backend import BATCH, STEP
from chainrule.backends.contract.batches import FAR, HALVED_ABOVE
from chainrule.backends.reference.array_operations import ArrayOperations

LARGEST = sys.float_info.max


def fill(self: ArrayOperations, value: float, *, out: Array) -> None:
    out.fill(value)


def copy(self: ArrayOperations, source: Array, *, out: Array) -> None:
    out[...] = source


def copy_columns(self: ArrayOperations, source: Array, columns: Sequence[int], *, out: Array) -> None:
    for j in columns:
        out[:, j] = source[:, j]


def standardize(
    self: ArrayOperations, x: Array, mean: Array, scale: Array, *, limit: float = math.inf, out: Array
) -> None:
    xp = self.xp
    half = xp.where(xp.abs(mean) > HALVED_ABOVE, 0.5, 1.0).astype(mean.dtype)
    z = x * half
    z -= mean * half
    z /= scale * half
    if math.isfinite(limit):
        if z.dtype.kind == "f":
            most = min(FAR * limit, LARGEST)
            xp.clip(z, -most, most, out=z)
        bend = z / limit
        bend *= bend
        bend += 1
        z /= xp.sqrt(bend)
    out[...] = z


def scale_and_shift(self: ArrayOperations, x: Array, scale: Array, shift: Array, *, out: Array) -> None:
    out[...] = x * scale + shift


def first_nonfinite(self: ArrayOperations, x: Array) -> int | None:
    bad = ~self.xp.isfinite(x).reshape(-1)
    first = int(self.download(bad.argmax()))
    return first if bool(self.download(bad[first])) else None


def gather(
    self: ArrayOperations, sources: Sequence[Array], order: Array, position: Array, *, stride: int, out: Sequence[Array]
) -> None:
    has_members = order.ndim == 2
    places = position * stride + self._rows(out[0].shape[has_members])
    for j in range(len(order) if has_members else 1):
        rows = order[j][places] if has_members else order[places]
        for source, batch in zip(sources, out, strict=True):
            if has_members:
                batch[j] = (source[j] if source.ndim == batch.ndim else source)[rows]
            else:
                batch[...] = source[rows]
    position += 1


def tick(self: ArrayOperations, state: Array, *, updates: int = 1) -> None:
    state[STEP : STEP + 1] += updates
    state[BATCH : BATCH + 1] += 1
