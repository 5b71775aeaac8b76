"""How the rows of an epoch are cut into batches, and what memory a batch takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from chainrule.backends.contract.backend import Backend
from chainrule.nn.row_format import RowFormat

# A batch of so many bytes is worth a second buffer on a device that fetches the next one beside the step: to write and
# read them takes some microseconds at the speed of its memory, as long as the optimiser of a small net, beside which a
# batch is fetched into one buffer too.
SECOND_BUFFER_FROM: Final = 4 << 20
SECOND_BUFFER_SHARE: Final = 1 / 32  # of the free memory, at most


@dataclass(frozen=True)
class BatchPlan:
    """An epoch in batches of ``size`` rows: ``full`` of them, then one of ``ragged`` rows if any are left."""

    size: int
    full: int
    ragged: int

    @property
    def count(self) -> int:
        """Batches per epoch."""
        return self.full + bool(self.ragged)


def plan_batches(n: int, size: int, *, drop_last: bool = False) -> BatchPlan:
    """An epoch of ``n`` rows in batches of at most ``size``; ``drop_last`` leaves out the ragged batch."""
    size = min(size, n)
    full, ragged = divmod(n, size)
    return BatchPlan(size, full, 0 if drop_last else ragged)


def batch_formats(
    backend: Backend, kept: Sequence[RowFormat], *, pending: bool, dtype: np.dtype, exact: bool = False
) -> list[RowFormat]:
    """What a batch holds of each row: features as the first layer reads them, unless they are ``pending``."""
    x, *others = kept
    return [x if pending else RowFormat(x.shape, dtype if exact else backend.storage(dtype)), *others]


def bytes_of_batch_row(
    backend: Backend, kept: Sequence[RowFormat], *, pending: bool, dtype: np.dtype, exact: bool = False
) -> int:
    """Bytes of a row in the memory of a batch: as it is gathered and, if that is ``pending``, as it is read."""
    x, *others = batch_formats(backend, kept, pending=pending, dtype=dtype, exact=exact)
    read = batch_formats(backend, kept, pending=False, dtype=dtype, exact=exact)[0].nbytes if pending else 0
    return x.nbytes + sum(f.nbytes for f in others) + read


def batch_buffers(backend: Backend, batch_bytes: int, free: int | None) -> int:
    """How many buffers of so many bytes batches take in turn: while a step uses one, the next batch is fetched.

    ``free`` are the bytes that are free on the device, or None if they need not be counted.
    """
    has_room = free is None or batch_bytes <= SECOND_BUFFER_SHARE * free
    return 2 if backend.runs_side_by_side and batch_bytes >= SECOND_BUFFER_FROM and has_room else 1
