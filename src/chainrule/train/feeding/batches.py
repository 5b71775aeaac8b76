"""Batches: shuffled on the device, gathered into one buffer or two, none left out."""

from __future__ import annotations

import abc
import math
from collections.abc import Callable, Generator, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.backends.contract.backend import Array, Backend
from chainrule.errors import DataError
from chainrule.nn.inputs.rows import Features, InputReader, Rows
from chainrule.nn.losses.names import Loss
from chainrule.nn.row_format import RowFormat, first_rows, with_members
from chainrule.random import Purpose, stream
from chainrule.tables.splitting.stratified import keep_each_class
from chainrule.train.feeding.batch_plan import BatchPlan, batch_formats, plan_batches


class _BatchMemory(NamedTuple):
    """The memory of one batch."""

    arrays: list[Array]  # as gathered, one for each source
    read: InputReader


class Batches(abc.ABC):
    """The rows of an epoch, batch by batch, gathered into memory that is laid out once.

    Parameters
    ----------
    sources : arrays on the device from which a batch is gathered
    order : (n,) int64 on the device; position p of the epoch is row ``order[p]`` of ``sources``
    plan : the epoch in batches
    dtype : of the net that reads them
    members : nets that are trained at once, each on rows of its own: ``order`` is (k, n), and a batch (k, size, ...)
    formats : of a row of each source, by default those of ``sources``, whose arrays then have no axis for members
    position : (1,) int64, memory for the number of the next batch; None for some of their own, at the first batch
    buffers : that batches are gathered into in turn
    """

    is_unchecked = False  # whether rows are still to be checked, and may be refused, in the course of an epoch

    def __init__(
        self,
        backend: Backend,
        sources: Rows,
        order: Array,
        plan: BatchPlan,
        *,
        dtype: np.dtype,
        members: int = 1,
        formats: Sequence[RowFormat] | None = None,
        position: Array = None,
        buffers: int = 1,
    ) -> None:
        self.backend, self.members, self.buffers = backend, members, buffers
        self.size, self.full, self.ragged, self.count = plan.size, plan.full, plan.ragged, plan.count
        self._sources, self._order = sources.arrays, order
        self._by_class = sources.by_class
        self._position = first_position(backend) if position is None else position
        pending, exact = sources.pending is not None, sources.exact
        kept = sources.formats if formats is None else formats
        formats = batch_formats(backend, kept, pending=pending, dtype=dtype, exact=exact)
        self._memory = [self._new_memory(formats, sources, dtype) for _ in range(buffers)]

    def _new_memory(self, formats: Sequence[RowFormat], sources: Rows, dtype: np.dtype) -> _BatchMemory:
        be, k = self.backend, self.members
        arrays = [be.empty(with_members((self.size, *f.shape), k), f.dtype) for f in formats]
        features = Features(arrays[0], sources.pending, sources.exact)
        return _BatchMemory(arrays, InputReader(be, features, self.size, dtype, k))

    def begin_epoch(self, epoch: int, first: int = 0) -> None:
        """Put the rows in the order of this epoch, which counts from 0. Batch ``first`` is the next to be read."""
        self._seek(first)
        self.deal(epoch)

    @abc.abstractmethod
    def deal(self, epoch: int) -> None:
        """Put the rows in the order of this epoch; which batch is the next to be read is left to the caller."""

    @abc.abstractmethod
    def blocks(self, first: int = 0) -> Generator[range, None, None]:
        """The numbers, from ``first``, of the batches that may be asked for now, then of the next ones, to the last.

        Close the iterator if it is left early.
        """

    @abc.abstractmethod
    def load(self, number: int) -> None:
        """Go back: batch ``number`` of this epoch is the next to be read."""

    @abc.abstractmethod
    def numbers(self) -> np.ndarray:
        """(m,), or (k, m) of k members: which rows this epoch's batches have. Synchronises."""

    def counted(self, n: int, buffer: int = 0) -> Array | None:
        """The weights in metrics of a batch of ``n`` rows, in the memory of :meth:`reader`; None for all ones."""
        place, arrays = 3 if self._by_class else 2, self._memory[buffer].arrays
        return first_rows(arrays[place], n, self.members) if place < len(arrays) else None

    def _seek(self, number: int) -> None:
        self.backend.assign([number], out=self._position)

    def reader(self, n: int, buffer: int = 0) -> Callable[[], tuple[Array, Array, Array | None]]:
        """``read()``: x, targets and weights (or None) of the next batch, which has ``n`` rows.

        Always in the memory of this ``buffer``, so that a step may be recorded.
        """
        arrays, prepare = self._memory[buffer]
        out = [first_rows(array, n, self.members) for array in arrays]
        raw, targets, weights = (*out, None)[:3]  # the rows' own weights, behind class weights, are for `counted`
        be, sources, order, stride, position = self.backend, self._sources, self._order, self.size, self._position

        def read() -> tuple[Array, Array, Array | None]:
            be.gather(sources, order, position, stride=stride, out=out)
            return prepare(raw), targets, weights

        return read


class ResidentBatches(Batches):
    """Batches of rows that lie on the device.

    Parameters
    ----------
    size : rows per batch, at most
    shuffle : a new order every epoch, from the seed and the epoch's number, of each member its own
    drop_last : leave out the ragged batch
    members, member : how many nets are trained at once, and the number of the first
    """

    def __init__(
        self,
        backend: Backend,
        rows: Rows,
        size: int,
        *,
        dtype: np.dtype,
        shuffle: bool,
        seed: int,
        drop_last: bool = False,
        members: int = 1,
        member: int = 0,
        position: Array = None,
        buffers: int = 1,
    ) -> None:
        n, plan = len(rows), plan_batches(len(rows), size, drop_last=drop_last)
        self._shuffle, self._seed, self._member = shuffle, seed, member
        order = backend.empty(with_members((n,), members), np.int64)
        backend.assign(np.broadcast_to(np.arange(n), order.shape), out=order)
        in_memory: dict[str, Any] = {"position": position, "buffers": buffers}
        super().__init__(backend, rows, order, plan, dtype=dtype, members=members, **in_memory)

    def deal(self, epoch: int) -> None:
        if self._shuffle:
            for j, order in enumerate(orders_of_members(self._order, self.members)):
                numbers = stream(self._seed, Purpose.SHUFFLE, step=epoch, member=self._member + j)
                self.backend.permutation(*numbers, out=order)

    def blocks(self, first: int = 0) -> Generator[range, None, None]:
        yield range(first, self.count)

    def load(self, number: int) -> None:
        self._seek(number)

    def numbers(self) -> np.ndarray:
        return self.backend.download(self._order)[..., : self.full * self.size + self.ragged]


def orders_of_members(order: Array, members: int) -> list[Array]:
    """The (n,) order of each member, from all of them."""
    return [order] if members == 1 else [order[j] for j in range(members)]


def first_position(backend: Backend) -> Array:
    """The counter that ``gather`` reads and moves on, at the first batch."""
    position = backend.empty((1,), np.int64)
    backend.assign([0], out=position)
    return position


def split_order(
    backend: Backend, n: int, fraction: float, seed: int, classes: np.ndarray | None = None
) -> tuple[Array, Array]:
    """Numbers of the training rows and of the validation rows: a random ``fraction``, at least one row, is held out.

    If all rows of one of the ``classes`` (n,) would be held out, one of them is exchanged for another row.
    """
    if n < 2:
        raise DataError("validation: expected at least 2 rows, got 1: none can be held out")
    held_out = min(math.ceil(fraction * n), n - 1)
    order = backend.empty((n,), np.int64)
    backend.permutation(*stream(seed, Purpose.SPLIT), out=order)
    if classes is not None:
        numbers = backend.download(order)
        kept = keep_each_class(classes, numbers[held_out:], numbers[:held_out])
        backend.assign(np.concatenate(kept[::-1]), out=order)
    return order[held_out:], order[:held_out]


def classes_of(loss: Loss, targets: np.ndarray) -> np.ndarray | None:
    """(n,) the class of each row, of k or of two; None if the loss has no classes."""
    if loss.task == "classify":
        return targets.reshape(-1)
    of_one = loss.task == "multilabel" and targets.size == len(targets) and bool(np.isin(targets, (0, 1)).all())
    return targets.reshape(-1) if of_one else None


def refuse_weightless(training: np.ndarray | None, validation: np.ndarray | None) -> None:
    """DataError if all weights of a part are 0."""
    for weights, name in ((training, "training"), (validation, "validation")):
        if weights is not None and not weights.any():
            raise DataError(f"all {name} rows of the split have weight 0", hint="another seed, or a validation set")


def split_rows(backend: Backend, rows: Rows, fraction: float, seed: int, loss: Loss | None = None) -> tuple[Rows, Rows]:
    """Training and validation rows, of a net with this ``loss``, as :func:`split_order` says."""
    classes = None if loss is None or loss.task == "regress" else classes_of(loss, backend.download(rows.targets))
    order = split_order(backend, len(rows), fraction, seed, classes)
    training, validation = (take_rows(backend, rows, part) for part in order)
    refuse_weightless(*(None if p.weights is None else backend.download(p.weights) for p in (training, validation)))
    return training, validation


def take_rows(backend: Backend, rows: Rows, order: Array) -> Rows:
    """A copy of the rows whose numbers are in ``order``, (m,) int64 on the device."""
    n = len(order)
    taken = [
        backend.empty((*a.shape[:-1], n) if _is_of_members(a, f) else (n, *f.shape), a.dtype)
        for a, f in zip(rows.arrays, rows.formats, strict=True)
    ]
    # What each member has of its own is taken member by member.
    of_all = [(a, t) for a, t, f in zip(rows.arrays, taken, rows.formats, strict=True) if not _is_of_members(a, f)]
    of_one = [
        (a[j], t[j])
        for a, t, f in zip(rows.arrays, taken, rows.formats, strict=True)
        if _is_of_members(a, f)
        for j in range(len(a))
    ]
    for pairs in (of_all, *([pair] for pair in of_one)):
        sources, out = zip(*pairs, strict=True)
        backend.gather(sources, order, first_position(backend), stride=n, out=out)
    return rows.with_arrays(taken)


def _is_of_members(array: Array, f: RowFormat) -> bool:
    """Whether it is (k, n) rather than (n,)."""
    return bool(array.ndim == 2 and not f.shape)
