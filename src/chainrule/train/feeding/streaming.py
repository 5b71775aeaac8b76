"""Streaming: rows that do not fit on the device are sent in blocks, each while the one before is trained on."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, Final

import numpy as np

from chainrule.backends.contract.backend import Array, Backend
from chainrule.backends.contract.transfers import Transfer
from chainrule.nn.inputs.rows import FeatureStorage, Rows
from chainrule.nn.network import Network
from chainrule.nn.row_format import with_members
from chainrule.random import Purpose, stream
from chainrule.train.feeding.batch_plan import batch_buffers, bytes_of_batch_row, plan_batches
from chainrule.train.feeding.batches import Batches, ResidentBatches
from chainrule.train.feeding.host_rows import HostRows, RowNumbers

# The rows may take this share of the free memory; the rest is for gradients, moments, activations, the order of the
# epoch and the workspaces of products. Rows that just fit would leave no room for a net worth training on them.
ROWS_SHARE: Final = 0.6
# Bytes of rows per block. A copy reaches the full speed of the bus at a few MiB and the host's work for a block is some
# 100 us, so more gains nothing; two blocks on the host and three on the device are small beside rows that do not fit.
# A batch that is larger is a block by itself: its copy still runs beside the step of the one before.
BLOCK_BYTES: Final = 64 << 20
BLOCK_SHARE: Final = 1 / 16  # and at most this share of the free memory
ORDER_BYTES: Final = 16  # per row: its place in the ring, and the permutation of the epoch


def rows_need_streaming(net: Network, X: Any, y: Any, *, split: bool) -> bool:
    """Whether these rows would take more than ROWS_SHARE of the free memory; never on a device that shares the host's.

    Counted are the rows as given and as kept, because a conversion needs both at once, and so does a split.
    """
    free = net.backend.free_memory()
    if free is None or not isinstance(X, np.ndarray) or X.ndim != 2 or X.dtype.kind not in "biuf":
        return False
    storage = FeatureStorage(net.backend, X.dtype, net.dtype, net.preparation.features, tuple(net.codes()))
    kept, raw = X.size * storage.dtype.itemsize, X.nbytes if storage.converts else 0
    targets = getattr(y, "size", len(X)) * net.dtype.itemsize
    return kept + max(raw, kept if split else 0) + targets > ROWS_SHARE * free


class StreamedBatches(Batches):
    """Batches of rows that stay on the host.

    On the device is a *ring* of two blocks, each of ``block`` batches: position p of the epoch lies in row
    ``p % (2 * block * size)``. That is the ``order`` of which batches are gathered, and it never changes, so
    a step is the same as for rows that lie on the device, and may be recorded. What changes is the host's order: the
    permutation of the epoch, by which rows are gathered into one of two page-locked buffers.

    While the steps of block j run, block j + 1 is on its way into the other half of the ring, and the host gathers
    block j + 2 into the buffer that block j has left::

        host       gather 2       gather 3       gather 4
        bus        send 1         send 2         send 3
        device     steps of 0     steps of 1     steps of 2

    Parameters
    ----------
    size, shuffle, drop_last : as for ResidentBatches: the batches of an epoch are the same, bit for bit
    free : bytes that are free on the device, or None if they need not be counted
    """

    def __init__(
        self,
        backend: Backend,
        rows: HostRows,
        size: int,
        *,
        dtype: np.dtype,
        shuffle: bool,
        seed: int,
        drop_last: bool = False,
        free: int | None = None,
        members: int = 1,
        member: int = 0,
        position: Array = None,
        buffers: int = 1,
    ) -> None:
        n, plan = len(rows), plan_batches(len(rows), size, drop_last=drop_last)
        self._rows, self._shuffle, self._seed, self._member = rows, shuffle, seed, member
        self.block = min(plan.count, max(1, _block_rows(rows, free, members) // plan.size))  # batches
        self._block_rows = self.block * plan.size
        ring = [backend.empty(with_members((2 * self._block_rows, *f.shape), members), f.dtype) for f in rows.formats]
        order = backend.empty(with_members((n,), members), np.int64)
        backend.assign(np.broadcast_to(np.arange(n) % (2 * self._block_rows), order.shape), out=order)
        sources = rows.as_rows(ring, rows.storage.pending)
        in_memory: dict[str, Any] = {"formats": rows.formats, "position": position, "buffers": buffers}
        super().__init__(backend, sources, order, plan, dtype=dtype, members=members, **in_memory)
        self._used = min(n, self.count * self.size)  # rows per epoch
        self._buffers = [
            [[backend.host_buffer((self._block_rows, *f.shape), f.dtype) for f in rows.sent] for _ in range(members)]
            for _ in "01"
        ]
        x = rows.sent[0]
        converts = rows.storage.converts
        staging = with_members((self._block_rows, *x.shape), members)
        self._staging = backend.empty(staging, x.dtype) if converts else None
        self._dealt = backend.empty((n,), np.int64) if shuffle else None
        self._orders: list[np.ndarray] | None = None  # of the epoch, of each member; None: in the order of the rows
        self.is_unchecked = rows.may_be_nonfinite  # until all rows have been checked once

    def deal(self, epoch: int) -> None:
        if self._dealt is not None:
            self._orders = []
            for j in range(self.members):
                numbers = stream(self._seed, Purpose.SHUFFLE, step=epoch, member=self._member + j)
                self.backend.permutation(*numbers, out=self._dealt)
                self._orders.append(self.backend.download(self._dealt))

    def blocks(self, first: int = 0) -> Generator[range, None, None]:
        # What makes two halves enough, on either side:
        #   the ring      `send` copies after all work asked for so far. When block j + 1 is sent, that ends with the
        #                 steps of block j - 1, which had the same half; those of block j run beside the copy.
        #   the buffers   block j + 2 is gathered into the buffer of block j, after a wait until that copy is done.
        #   the staging   one is enough: block j has been converted out of it, in the order of work, before block
        #                 j + 1 is sent into it.
        if first == self.count:
            return
        start, count = first // self.block, -(-self.count // self.block)
        coming: list[list[Transfer]] = []
        try:
            self._gather(start)
            coming.append(self._send(start))
            if start + 1 < count:
                self._gather(start + 1)
            for block in range(start, count):
                self._receive(block, coming[0])
                if block + 1 < count:
                    coming.append(self._send(block + 1))
                yield range(max(block * self.block, first), min((block + 1) * self.block, self.count))
                _wait(coming.pop(0))
                if block + 2 < count:
                    self._gather(block + 2)
            if self.is_unchecked and not first:  # also those of a ragged batch that is dropped: other epochs have them
                self._rows.refuse_nonfinite(self._numbers(self._used, len(self._rows), 0))
                self.is_unchecked = False
        finally:  # memory that a copy still writes to must not be given to another array
            for transfers in coming:
                _wait(transfers)

    def load(self, number: int) -> None:
        self._seek(number)
        block = number // self.block
        self._gather(block)
        transfers = self._send(block)
        self._receive(block, transfers)
        _wait(transfers)

    def numbers(self) -> np.ndarray:
        every = np.arange(len(self._rows))
        numbers = [every[self._numbers(0, self._used, j)] for j in range(self.members)]
        return numbers[0] if self.members == 1 else np.stack(numbers)

    # ---- one block ------------------------------------------------------------------------------

    def _positions(self, block: int) -> tuple[int, int]:
        start = block * self._block_rows
        return start, min(start + self._block_rows, self._used)

    def _numbers(self, start: int, stop: int, member: int) -> RowNumbers:
        return slice(start, stop) if self._orders is None else self._orders[member][start:stop]

    def _gather(self, block: int) -> None:
        start, stop = self._positions(block)
        for j, whole in enumerate(self._buffers[block % 2]):
            buffers, numbers = [buffer[: stop - start] for buffer in whole], self._numbers(start, stop, j)
            self._rows.gather(numbers, buffers, member=j)
            if self.is_unchecked:
                self._rows.refuse_nonfinite(numbers, buffers[0])

    def _send(self, block: int) -> list[Transfer]:
        start, stop = self._positions(block)
        n, half = stop - start, block % 2 * self._block_rows
        transfers: list[Transfer] = []
        for j, buffers in enumerate(self._buffers[block % 2]):
            targets = [self._of_member(array, j)[half : half + n] for array in self._sources]
            if self._staging is not None:
                targets[0] = self._of_member(self._staging, j)[:n]
            transfers += [self.backend.send(buffer[:n], out=out) for buffer, out in zip(buffers, targets, strict=True)]
        return transfers

    def _receive(self, block: int, transfers: list[Transfer]) -> None:
        for transfer in transfers:
            transfer.join()
        if self._staging is None:
            return
        start, stop = self._positions(block)
        n, half = stop - start, block % 2 * self._block_rows
        for j in range(self.members):
            x = self._of_member(self._sources[0], j)[half : half + n]
            self._rows.storage.convert(self._of_member(self._staging, j)[:n], out=x)

    def _of_member(self, array: Array, j: int) -> Array:
        return array if self.members == 1 else array[j]


def batches_of(
    backend: Backend,
    rows: Rows | HostRows,
    size: int,
    *,
    dtype: np.dtype,
    shuffle: bool,
    seed: int,
    drop_last: bool,
    free: int | None,
    members: int = 1,
    member: int = 0,
    position: Array = None,
) -> Batches:
    """The batches of rows on the device, or of rows that stay on the host; the same batches, bit for bit."""
    which: dict[str, Any] = {"shuffle": shuffle, "seed": seed, "drop_last": drop_last}
    which |= {"members": members, "member": member, "position": position}
    of_row = bytes_of_batch_row(backend, rows.formats, pending=bool(rows.pending), dtype=dtype, exact=rows.exact)
    which["buffers"] = batch_buffers(backend, members * min(size, len(rows)) * of_row, free)
    if isinstance(rows, HostRows):
        return StreamedBatches(backend, rows, size, dtype=dtype, free=free, **which)
    return ResidentBatches(backend, rows, size, dtype=dtype, **which)


def _wait(transfers: list[Transfer]) -> None:
    for transfer in transfers:
        transfer.wait()


def _block_rows(rows: HostRows, free: int | None, members: int) -> int:
    """How many rows of each member a block has."""
    largest = members * sum(max(a.nbytes, b.nbytes) for a, b in zip(rows.formats, rows.sent, strict=True))
    return (BLOCK_BYTES if free is None else min(BLOCK_BYTES, int(BLOCK_SHARE * free))) // largest


def streaming_bytes(rows: HostRows, size: int, free: int | None, members: int = 1) -> int:
    """The most bytes that a StreamedBatches lays out beside its batch: ring, staging and orders."""
    block = min(len(rows) + size, max(size, _block_rows(rows, free, members)))
    staging = rows.sent[0].nbytes if rows.storage.converts else 0
    return members * (block * (2 * sum(f.nbytes for f in rows.formats) + staging) + ORDER_BYTES * len(rows))
