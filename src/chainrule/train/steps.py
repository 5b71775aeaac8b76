"""The steps of a fit, recorded once, and the memory that they work in."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from chainrule.backends.contract.backend import BATCH, HALTED, LOSS, RUNNING, STEP, Array
from chainrule.backends.contract.losses import LossBatch
from chainrule.nn.passes import Pass
from chainrule.train.accumulation import Replay, UpdateGroups
from chainrule.train.diagnosis.divergence import nonfinite_output, nonfinite_parameter
from chainrule.train.feeding.batches import Batches
from chainrule.train.update_step import UpdateStep

STEPS_PER_SYNC = 64  # steps between two checks whether to stop, at most, on a device that queues them
SECONDS_PER_SYNC = 0.1  # where steps are done when a call returns: each asks whether its record holds, a stop waits


class Steps:
    """Memory is laid out here; from then on the steps of an epoch are replayed.

    Parameters
    ----------
    update_step : the net, and what is done with its gradients
    batches : what is trained on
    state : of the steps; see :mod:`chainrule.backends.contract.backend`
    accumulate : batches that make one update
    counts : whether right predictions are counted
    before : updates of the fits that this one continues
    """

    def __init__(
        self, update_step: UpdateStep, batches: Batches, state: Array, *, accumulate: int, counts: bool, before: int = 0
    ) -> None:
        net, self._before = update_step.net, before
        self.net, self.backend, self.batches, self.state = net, net.backend, batches, state
        self.lr = self.backend.empty((batches.count,), np.float64)
        self.totals = net.new_totals(batches.count)
        with self.backend.running():
            self.backend.fill(0, out=self.totals)  # a checkpoint holds them all, also those that no step writes
        fixed = update_step.optimizer.fixed
        self._whole = net.bind(
            batches.size, training=True, state=state, own_rows=True, fixed=fixed, renews_factors=False
        )
        self.groups = UpdateGroups(batches, accumulate)
        self.update_step, self._counts = update_step, counts
        self.replay_full = self.backend.capture(self._step_of(self._whole))
        self.replay_ragged: Callable[[int], None] | None = None
        if batches.ragged:
            self.replay_ragged = self.backend.capture(self._step_of(self._whole.first(batches.ragged)))
        if self.groups.collects:
            self._replay_collecting = self.backend.capture(self._step_of(self._whole, updates=False))

    def _step_of(self, batch: Pass, *, updates: bool = True) -> Callable[[], None]:
        """One training step on batches of this pass's length; it obeys the law of the step.

        Without ``updates`` it ends with a gradient, which waits for the update of the last batch of its group.
        """
        be, net, state, totals, lr = self.backend, self.net, self.state, self.totals, self.lr
        read, counts, counted = self.batches.reader(batch.n), self._counts, self.batches.counted(batch.n)
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

    def begin_epoch(self, epoch: int, rates: np.ndarray, first: int = 0) -> None:
        """The next step is that of batch ``first`` of an epoch, both from 0; ``rates`` has one number per update."""
        self.batches.begin_epoch(epoch, first)
        self.backend.assign(self.groups.spread(rates), out=self.lr)
        updates = epoch * self.groups.updates + self.groups.updates_before(first)
        self.backend.assign(state_at(self._before + updates, first), out=self.state)

    def replay(self, replay: Replay) -> None:
        """Do the steps of these batches."""
        self._whole.renew_factors()  # since the last ones weights may have been assigned, or averages evaluated
        if replay.ragged and self.replay_ragged is not None:
            self.replay_ragged(replay.times)
        elif replay.updates:
            self.replay_full(replay.times)
        else:
            self._replay_collecting(replay.times)

    # ---- synchronises --------------------------------------------------------------------------------

    def halted(self) -> int | None:
        """The update of this fit at which the loss stopped being finite; None if it has not."""
        step = int(self.backend.download(self.state)[HALTED])
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
        every = self.backend.download(self.totals).reshape((self.net.members, self.batches.count, 3))
        return every[:, batches]

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


def state_at(step: int, batch: int = 0) -> list[int]:
    """``state`` before update ``step`` and batch ``batch`` of its epoch."""
    state = [0, 0, 0]
    state[STEP], state[BATCH], state[HALTED] = step, batch, RUNNING
    return state
