"""What the members of an ensemble predict for the rows that they were not trained on."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import NamedTuple

import numpy as np

from chainrule.backends import backend
from chainrule.backends.contract.backend import Array
from chainrule.nn.inputs.row_checks import weights_of_all
from chainrule.nn.inputs.rows import InputReader, Rows
from chainrule.nn.losses.names import Loss
from chainrule.nn.network import Network
from chainrule.train.feeding.batch_plan import plan_batches
from chainrule.train.feeding.batches import Batches
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.out_of_fold.left_out import LeftOut


class OutOfFoldPart(NamedTuple):
    """Rows that the same members never saw, and what these predict for them; on the host, in float64.

    Parameters
    ----------
    members : their numbers
    rows : (m,) numbers of the rows
    logits : (members, m, n_out), of each of the members
    targets : (m,) or (m, columns) as the kernels have them
    weights : (m,), None for all ones
    """

    members: tuple[int, ...]
    rows: np.ndarray
    logits: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None

    def of_weight(self) -> OutOfFoldPart:
        """Those of its rows that weigh anything."""
        if self.weights is None or self.weights.all():
            return self
        at = np.flatnonzero(self.weights)
        return OutOfFoldPart(self.members, self.rows[at], self.logits[:, at], self.targets[at], self.weights[at])

    def take(self, rows: slice) -> OutOfFoldPart:
        """Some of the rows."""
        if rows.start == 0 and rows.stop >= len(self.rows):
            return self
        logits, weights = (
            np.ascontiguousarray(self.logits[:, rows]),
            None if self.weights is None else self.weights[rows],
        )
        return OutOfFoldPart(self.members, self.rows[rows], logits, self.targets[rows], weights)

    def mean_logits(self, loss: Loss) -> np.ndarray:
        """(m, n_out), of the mean of these members' predictions."""
        be, out = backend("cpu"), np.empty(self.logits.shape[1:])
        with be.running():
            loss.mean_of_members(be, self.logits, out)
        return out


class OutOfFoldRows:
    """Call it for the out-of-fold predictions of the net's present parameters, part by part. Synchronises.

    Parameters
    ----------
    net : an ensemble
    rows : that it is trained on, before any is withheld
    left_out : who never sees which of them
    """

    def __init__(self, net: Network, rows: Rows | HostRows, left_out: LeftOut) -> None:
        self._net, self._rows, self._left_out = net, rows, left_out
        targets, weights = rows.targets, rows.weights
        if not isinstance(rows, HostRows):
            targets = net.backend.download(targets)
            weights = None if weights is None else net.backend.download(weights)
        targets = targets.astype(np.float64) if targets.dtype.kind == "f" else targets
        weights = None if weights is None else np.asarray(weights_of_all(weights), np.float64)
        self._of_parts = [(targets[p.rows], None if weights is None else weights[p.rows]) for p in left_out.parts]
        self._batches = None if isinstance(rows, HostRows) else _FixedBatches(net, rows, left_out)
        if self._batches is not None:
            self._pass = net.bind(self._batches.size, training=False, own_rows=True)

    def __call__(self) -> list[OutOfFoldPart]:
        with self._net.backend.running():
            of_members = self._resident() if self._batches is not None else self._streamed()
        found = zip(self._left_out.parts, self._left_out.split(of_members), self._of_parts, strict=True)
        parts = [OutOfFoldPart(*part, logits, *rest).of_weight() for part, logits, rest in found]
        return [part for part in parts if len(part.rows)]

    def _resident(self) -> list[np.ndarray]:
        """The logits of each member for the rows that it never saw, (m_j, n_out)."""
        assert self._batches is not None
        be, batches, left_out = self._net.backend, self._batches, self._left_out
        batches.begin_epoch(0)
        found = []
        for number in range(batches.count):
            n = batches.ragged if number == batches.full else batches.size
            found.append(be.download(self._pass.first(n).forward(batches.reader(n)()[0])))
        logits = np.concatenate(found, axis=1).astype(np.float64)
        return [logits[j, : len(left_out.rows_of(j))] for j in range(self._net.members)]

    def _streamed(self) -> list[np.ndarray]:
        return [np.concatenate([*self._streamed_of(j), self._none()]) for j in range(self._net.members)]

    def _none(self) -> np.ndarray:
        return np.empty((0, self._net.n_out))

    def _streamed_of(self, j: int) -> Iterator[np.ndarray]:
        """The same of one member, some rows at a time."""
        assert isinstance(self._rows, HostRows)
        net, numbers = self._net.member(j), self._left_out.rows_of(j)
        size = net.evaluation_rows(max(1, len(numbers)))
        batch = net.bind(size, training=False)
        for start in range(0, len(numbers), size):
            rows = self._rows.sample(numbers[start : start + size])
            x: Array = InputReader(net.backend, rows.features, len(rows), net.dtype)(rows.x)
            yield net.backend.download(batch.first(len(rows)).forward(x)).astype(np.float64)


class _FixedBatches(Batches):
    """The rows that each member never saw, in their order; members with fewer rows see their last ones again."""

    def __init__(self, net: Network, rows: Rows, left_out: LeftOut) -> None:
        be, numbers = net.backend, [left_out.rows_of(j) for j in range(net.members)]
        most = max(1, *map(len, numbers))
        order = be.empty((net.members, most), np.int64)
        be.assign(np.stack([_padded(own, most) for own in numbers]), out=order)
        plan = plan_batches(most, net.evaluation_rows(most))
        shared = Rows(rows.x, rows.targets, None, rows.pending, rows.exact)
        super().__init__(be, shared, order, plan, dtype=net.dtype, members=net.members)

    def deal(self, epoch: int) -> None:
        pass

    def blocks(self, first: int = 0) -> Generator[range, None, None]:
        yield range(first, self.count)

    def load(self, number: int) -> None:
        self._seek(number)

    def numbers(self) -> np.ndarray:
        return self.backend.download(self._order)


def _padded(numbers: np.ndarray, size: int) -> np.ndarray:
    """``numbers`` with the last, or 0, again and again up to this size."""
    last = numbers[-1] if len(numbers) else 0
    return np.concatenate([numbers, np.full(size - len(numbers), last, np.int64)])
