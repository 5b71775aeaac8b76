"""The steps of a fit, recorded once, and the memory that they work in."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from chainrule.backends.contract.backend import BATCH, HALTED, LOSS, RUNNING, STEP, Array, ReplayStep
from chainrule.backends.contract.losses import LossBatch
from chainrule.nn.passes import Pass
from chainrule.train.accumulation import Replay, UpdateGroups
from chainrule.train.diagnosis.divergence import nonfinite_output, nonfinite_parameter
from chainrule.train.epoch_memory import EpochMemory
from chainrule.train.feeding.batches import Batches
from chainrule.train.update_step import UpdateStep

STEPS_PER_SYNC = 64  # steps between two checks whether to stop, at most, on a device that queues them
SECONDS_PER_SYNC = 0.1  # where steps are done when a call returns: each asks whether its record holds, a stop waits


class EpochResult(NamedTuple):
    """What is read at the end of an epoch."""

    halted: int | None  # the update of this fit at which the loss stopped being finite; None if it has not
    totals: np.ndarray  # (k, batches, 3), of each member
    further: list[np.ndarray]  # of the other arrays that were asked for


class Steps:
    """Memory is laid out here; from then on the steps of an epoch are replayed.

    Parameters
    ----------
    update_step : the net, and what is done with its gradients
    batches : what is trained on
    memory : for what the host tells the device of an epoch; the counter of ``batches`` is there too
    accumulate : batches that make one update
    counts : whether right predictions are counted
    before : updates of the fits that this one continues
    """

    def __init__(
        self,
        update_step: UpdateStep,
        batches: Batches,
        memory: EpochMemory,
        *,
        accumulate: int,
        counts: bool,
        before: int = 0,
    ) -> None:
        net, self._before, self._memory = update_step.net, before, memory
        self.net, self.backend, self.batches = net, net.backend, batches
        self.state, self.lr = memory.state, memory.lr
        self.totals = net.new_totals(batches.count)
        with self.backend.running():
            self.backend.fill(0, out=self.totals)  # a checkpoint holds them all, also those that no step writes
        fixed = update_step.optimizer.fixed
        self._whole = net.bind(
            batches.size, training=True, state=self.state, own_rows=True, fixed=fixed, renews_factors=False
        )
        self.groups = UpdateGroups(batches, accumulate)
        self.update_step, self._counts = update_step, counts
        self.replay_full = self._capture(self._whole, batches.buffers)
        self.replay_ragged: ReplayStep | None = None
        if batches.ragged:
            self.replay_ragged = self._capture(self._whole.first(batches.ragged), 1)
        if self.groups.collects:
            self._replay_collecting = self._capture(self._whole, batches.buffers, updates=False)
        self._unchanged = False  # since the step before, if the next is the first of an epoch

    def _capture(self, batch: Pass, buffers: int, *, updates: bool = True) -> ReplayStep:
        return self.backend.capture(*(self._step_of(batch, number, updates=updates) for number in range(buffers)))

    def _step_of(self, batch: Pass, buffer: int, *, updates: bool) -> Callable[[], None]:
        """One training step on batches of this pass's length in this buffer; it obeys the law of the step.

        Without ``updates`` it ends with a gradient, which waits for the update of the last batch of its group.
        """
        be, net, state, totals, lr = self.backend, self.net, self.state, self.totals, self.lr
        read, counted = self.batches.reader(batch.n, buffer), self.batches.counted(batch.n, buffer)
        counts = self._counts
        apply = (
            self.update_step.apply
        )  # not `self`: a reference cycle would keep all memory of a fit until a collection

        def step() -> None:
            x, targets, weights = read()
            logits = batch.forward(x)
            net.loss(be, LossBatch(logits, targets, weights, state, totals, batch.dlogits))
            if counts:  # after the loss: both write to totals, and nothing waits for the count
                be.count_correct(logits, targets, counted, state, totals=totals)
            batch.backward()
            apply(totals, lr, state, updates=updates)
            be.tick(state, updates=int(updates))

        return step

    # ---- an epoch -----------------------------------------------------------------------------------

    def begin_epoch(self, epoch: int, rates: np.ndarray, first: int = 0, *, unchanged: bool = False) -> None:
        """The next step is that of batch ``first`` of an epoch, both from 0; ``rates`` has one number per update.

        ``unchanged`` promises that no code but the library's has run since the step before.
        """
        self.batches.deal(epoch)
        updates = epoch * self.groups.updates + self.groups.updates_before(first)
        self._memory.send(self.groups.spread(rates), updates=self._before + updates, batch=first)
        self._unchanged = unchanged

    def replay(self, replay: Replay) -> None:
        """Do the steps of these batches."""
        # Further steps of the epoch are looked at while the device works at these.
        unchanged, self._unchanged = self._unchanged, False
        self._whole.renew_factors()  # since the last ones weights may have been assigned, or averages evaluated
        if replay.ragged and self.replay_ragged is not None:
            self.replay_ragged(replay.times, unchanged=unchanged)
        elif replay.updates:
            self.replay_full(replay.times, unchanged=unchanged)
        else:
            self._replay_collecting(replay.times, unchanged=unchanged)

    # ---- synchronises --------------------------------------------------------------------------------

    def read(self, further: Sequence[Array] = ()) -> EpochResult:
        """What the steps of an epoch have left, and ``further`` arrays: the host waits once for all of it."""
        state, totals, *others = self.backend.download_all([self.state, self.totals, *further])
        return EpochResult(self._halted(state), self._by_member(totals), others)

    def halted(self) -> int | None:
        """The update of this fit at which the loss stopped being finite; None if it has not."""
        return self._halted(self.backend.download(self.state))

    def _halted(self, state: np.ndarray) -> int | None:
        step = int(state[HALTED])
        return None if step == RUNNING else step - self._before

    def updates_made(self) -> int:
        """All updates so far, including those of the fits that this one continues."""
        return max(self._before, int(self.backend.download(self.state)[STEP]))  # 0 if no epoch was begun

    def last(self) -> tuple[float, float]:
        """Loss, of an ensemble the mean over its members, and learning rate of the step that was done last."""
        be = self.backend
        batch = int(be.download(self.state)[BATCH]) - 1
        totals = self.totals_of_members(slice(batch, batch + 1))
        loss = np.mean([self.net.loss.value(of_member) for of_member in totals])
        return float(loss), float(be.download(self.lr[batch : batch + 1])[0])

    def totals_of_members(self, batches: slice = slice(None)) -> np.ndarray:
        """(k, batches, 3): the totals of these batches, of each member."""
        return self._by_member(self.backend.download(self.totals))[:, batches]

    def _by_member(self, totals: np.ndarray) -> np.ndarray:
        return totals.reshape((self.net.members, self.batches.count, 3))

    def first_nonfinite(self) -> tuple[int, float, str]:
        """Where a run was halted: the batch, its loss, and in words where the first number is that is not finite.

        The batch goes through the net once more; no update was applied since, so it fails as it did then.
        """
        losses, batches = self.totals_of_members()[:, :, LOSS], self.batches
        # One update may be several batches: it is the first without a finite loss that halted the run.
        batch = int(np.flatnonzero(~np.isfinite(losses).all(axis=0))[0])
        member = int(np.flatnonzero(~np.isfinite(losses[:, batch]))[0])
        where = nonfinite_parameter(self.net)
        if not where:
            self._whole.renew_factors()
            batches.load(batch)
            n = batches.ragged if batch == batches.full else batches.size
            x, _, _ = batches.reader(n)()
            where = nonfinite_output(self.net, self._whole.first(n), x, member)
        return batch, float(losses[member, batch]), where


class Pace:
    """How many steps to do before the next synchronisation.

    How long one takes is not known before the first: where steps are done when a call returns, that is one alone.
    """

    def __init__(self, *, queues: bool) -> None:
        self._most = STEPS_PER_SYNC if queues else None
        self.steps = self._most or 1

    def begin(self) -> None:
        """Steps come next."""
        self._begun = time.perf_counter()

    def end(self, replay: Replay) -> None:
        """These are done."""
        now = time.perf_counter()
        if not replay.ragged:  # a batch of few rows says little of the others
            found = int(SECONDS_PER_SYNC * replay.times / max(now - self._begun, 1e-9))
            self.steps = max(1, found if self._most is None else min(self._most, found))
        self._begun = now
