"""Batches: shuffled on the device, gathered into one buffer, none left out."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from chainrule.backends.base import Array, Backend
from chainrule.errors import DataError
from chainrule.nn.passes import new_state
from chainrule.nn.rows import Features, InputReader, Rows
from chainrule.random import Purpose, stream


class Batches:
    """The rows of an epoch in batches of ``size``: ``full`` of them, then one of ``ragged`` rows where some are left.

    Parameters
    ----------
    dtype : of the net that reads them
    shuffle : a new order every epoch, from the seed and the epoch's number
    drop_last : leave out the ragged batch
    """

    def __init__(
        self, backend: Backend, rows: Rows, size: int, *, dtype: np.dtype, shuffle: bool, seed: int,
        drop_last: bool = False,
    ) -> None:  # fmt: skip
        self.backend, self.rows = backend, rows
        self.size = min(size, len(rows))
        self.full, ragged = divmod(len(rows), self.size)
        self.ragged = 0 if drop_last else ragged
        self.count = self.full + bool(self.ragged)
        self._shuffle, self._seed = shuffle, seed
        self._order = backend.empty((len(rows),), np.int64)
        backend.assign(np.arange(len(rows)), out=self._order)
        x_dtype = rows.x.dtype if rows.pending else backend.storage(dtype)
        dtypes = [x_dtype, *(a.dtype for a in rows.arrays[1:])]
        self._buffer = [backend.empty((self.size, *a.shape[1:]), d) for a, d in zip(rows.arrays, dtypes, strict=True)]
        self._read = InputReader(backend, Features(self._buffer[0], rows.pending), self.size, dtype)

    def begin_epoch(self, epoch: int) -> None:
        """Deal the rows anew; ``epoch`` counts from 0."""
        if self._shuffle:
            self.backend.permutation(*stream(self._seed, Purpose.SHUFFLE, step=epoch), out=self._order)

    def reader(self, n: int) -> Callable[[Array], tuple[Array, Array, Array | None]]:
        """``read(state)``: x, targets and weights (or None) of batch ``state[BATCH]``, which has ``n`` rows.

        Always the same memory, so a step may be recorded.
        """
        buffer = [array[:n] for array in self._buffer]
        raw, targets, weights = (*buffer, None)[:3]
        be, sources, order, stride, prepare = self.backend, self.rows.arrays, self._order, self.size, self._read

        def read(state: Array) -> tuple[Array, Array, Array | None]:
            be.gather(sources, order, state, stride=stride, out=buffer)
            return prepare(raw), targets, weights

        return read


def split_rows(backend: Backend, rows: Rows, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Training and validation rows: a random ``fraction`` of the rows, at least one, is held out."""
    n = len(rows)
    if n < 2:
        raise DataError("one row came, too few to hold any out for validation")
    held_out = min(math.ceil(fraction * n), n - 1)
    order = backend.empty((n,), np.int64)
    backend.permutation(*stream(seed, Purpose.SPLIT), out=order)
    parts = _take(backend, rows, order[held_out:]), _take(backend, rows, order[:held_out])
    for part, name in zip(parts, ("training", "validation"), strict=True):
        if part.weights is not None and not backend.download(part.weights).any():
            raise DataError(f"all {name} rows of the split have weight 0", hint="another seed, or a validation set")
    return parts


def _take(backend: Backend, rows: Rows, order: Array) -> Rows:
    taken = [backend.empty((len(order), *a.shape[1:]), a.dtype) for a in rows.arrays]
    backend.gather(rows.arrays, order, new_state(backend), stride=len(order), out=taken)
    return Rows(taken[0], taken[1], taken[2] if len(taken) == 3 else None, rows.pending)
