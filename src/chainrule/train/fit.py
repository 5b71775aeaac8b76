"""One fit: everything bound to its memory, then stepped, epoch by epoch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from chainrule.backends.base import BATCH, HALTED, LOSS, RUNNING, STEP
from chainrule.errors import DataError, DivergenceError
from chainrule.nn.evaluation import baseline_of, metrics_of
from chainrule.nn.losses import Baseline
from chainrule.nn.network import Network
from chainrule.nn.passes import Pass, new_state
from chainrule.nn.rows import Rows
from chainrule.train.accumulation import Accumulation, Groups, Piece
from chainrule.train.averaging import Averages
from chainrule.train.batches import Batches, ResidentBatches
from chainrule.train.callbacks import CallbackLoop, as_callbacks
from chainrule.train.divergence import diverged, nonfinite_output, nonfinite_parameter, refuse_nonfinite_parameters
from chainrule.train.first_bias import set_first_bias
from chainrule.train.host_rows import HostRows
from chainrule.train.memory import advice, batch_hint, bytes_of_net, free_at_start
from chainrule.train.penalty import Penalty
from chainrule.train.probe import LayerProbe
from chainrule.train.progress import Progress
from chainrule.train.rates import RatesOfRun
from chainrule.train.run import EpochRecord, Run, StartRecord
from chainrule.train.streaming import StreamedBatches
from chainrule.train.valid_metrics import valid_evaluator
from chainrule.train.watching import best_epoch_of, watchable

if TYPE_CHECKING:
    from chainrule.train.trainer import Trainer

STEPS_A_LOOK = 64  # steps between two looks at whether to stop; on a device, steps put in the queue at once


class Fit:
    """One call of :meth:`Trainer.fit`. All memory is laid out here, before the first step changes a weight."""

    def __init__(
        self, trainer: Trainer, rows: Rows | HostRows, held_out: Rows | None, *, diagnose: bool = False
    ) -> None:
        net, be = trainer.net, trainer.net.backend
        self.trainer, self.net, self.backend, self.rows = trainer, net, be, rows
        known = watchable(trainer, with_validation=held_out is not None)
        self.best = best_epoch_of(trainer, known, with_validation=held_out is not None)
        self.rates = RatesOfRun(trainer.optimizer.schedule, known)
        self.net_bytes = bytes_of_net(
            net, trainer.optimizer, keeps_best=self.best is not None, averages=trainer.ema is not None,
            accumulates=trainer.accumulate > 1,
        )  # fmt: skip
        with advice(be, self._net_hint):  # what a smaller batch does not make smaller
            self.accumulation = Accumulation(net, trainer.accumulate) if trainer.accumulate > 1 else None
            gradients = net.gradient_arena if self.accumulation is None else self.accumulation.gradients
            self.optimizer = trainer.optimizer.bind(net.parameter_arena, gradients)
            self.averages = Averages(net, trainer.ema) if trainer.ema is not None else None
            self.judged = net if self.averages is None else self.averages.net  # what the end of an epoch looks at
            self.best_weights = net.parameter_arena.like() if self.best is not None else None
            self.evaluate = valid_evaluator(self.judged, held_out, trainer.valid_metrics)
            self.baseline = _baseline_of(net, rows) if trainer.metrics else None
            self.penalty = Penalty(net, trainer.l2) if trainer.l2 else None
            self.state = new_state(be)
            _ = net.factor_arena  # made when first asked for
            probe = LayerProbe(net, rows) if diagnose else None
        self.free = free_at_start(be)
        with advice(be, self._batch_hint):
            self.batches = self._batches()
            self.lr = be.empty((self.batches.count,), np.float64)
            self.totals = be.empty((self.batches.count, 3), np.float64)
            self.whole = net.bind(self.batches.size, training=True, state=self.state)
            self.groups = Groups(self.batches, trainer.accumulate)
            self.replay_full = be.capture(self._step_of(self.whole))
            self.replay_ragged: Callable[[int], None] | None = None
            if self.batches.ragged:
                self.replay_ragged = be.capture(self._step_of(self.whole.first(self.batches.ragged)))
            if self.groups.collects:
                self.replay_collecting = be.capture(self._step_of(self.whole, updates=False))
        self.total_steps = trainer.epochs * self.groups.updates
        self.run = Run()
        if probe is not None:
            probe.steps_an_epoch = self.batches.count
        self.callbacks = CallbackLoop(as_callbacks(trainer.callbacks), probe)
        self.valid_rows = 0 if held_out is None else len(held_out)

    def _batches(self) -> Batches:
        be, rows, trainer, dtype = self.backend, self.rows, self.trainer, self.net.dtype
        size, shuffle, seed, drop_last = trainer.batch_size, trainer.shuffle, trainer.seed, trainer.drop_last
        if isinstance(rows, HostRows):
            return StreamedBatches(
                be, rows, size, dtype=dtype, shuffle=shuffle, seed=seed, drop_last=drop_last, free=self.free
            )
        return ResidentBatches(be, rows, size, dtype=dtype, shuffle=shuffle, seed=seed, drop_last=drop_last)

    def _net_hint(self) -> str:
        return f"the net alone takes {self.net_bytes:,} bytes to train, whatever the batch: use a smaller net"

    def _batch_hint(self) -> str:
        return batch_hint(self.net, self.rows, self.trainer.batch_size, self.free, self.net_bytes)

    # ---- a step -----------------------------------------------------------------------------------

    def _step_of(self, batch: Pass, *, updates: bool = True) -> Callable[[], None]:
        """One training step on batches of this pass's length; it obeys the law of the step.

        Without ``updates`` it ends with a gradient, which the update of a later batch of its group takes in.
        """
        be, net, state, totals = self.backend, self.net, self.state, self.totals
        read = self.batches.reader(batch.n)
        counts = self.trainer.metrics and net.loss.metric == "accuracy"
        optimizer, lr = self.optimizer, self.lr  # not `self`: a cycle would keep all memory of a fit until a collection
        accumulation, averages, penalty = self.accumulation, self.averages, self.penalty

        def step() -> None:
            x, targets, weights = read()
            logits = batch.forward(x)
            net.loss(be, logits, targets, weights, state, totals=totals, dlogits=batch.dlogits)
            if counts:  # after the loss: both write to totals, and nothing waits for the count
                be.count_correct(logits, targets, weights, state, totals=totals)
            batch.backward()
            if penalty is not None:
                penalty.add(totals, state)
            if accumulation is not None:
                accumulation.add(totals, state)
            if updates:
                optimizer.step(lr, state)
                if averages is not None:
                    averages.update(state)
            be.tick(state, updates=int(updates))

        return step

    # ---- epochs -----------------------------------------------------------------------------------

    def run_epochs(self) -> Run:
        """All epochs, or as many as there will be."""
        self._begin()
        sizes = len(self.rows), self.valid_rows, self.batches.count
        with self.callbacks.told(StartRecord(self.trainer, self.net, self.run, *sizes)):
            return self._run_epochs()

    def _begin(self) -> None:
        """After all memory is laid out, so that a fit that cannot be has changed nothing."""
        # Rows that are only looked at in the first epoch may be refused then, and the net is to be as it came.
        self.came_with = self.net.parameter_arena.download() if self.batches.is_unchecked else None
        if self.trainer.bias_from_targets:
            set_first_bias(self.net, self.rows, self.trainer.optimizer)
        if self.averages is not None:
            self.averages.begin()

    def _run_epochs(self) -> Run:
        trainer, run, start = self.trainer, self.run, time.perf_counter()
        try:
            with Progress(trainer.epochs, enabled=trainer.progress) as progress:
                self._train(progress, start)
            if self.best is None or not self.best.epoch:
                refuse_nonfinite_parameters(self.net, step=run.steps - 1, epoch=run.history.epochs)
            if self.averages is not None:
                self.averages.keep()
        except KeyboardInterrupt:
            run.stopped = "interrupted"
            if self.averages is not None:
                self.averages.keep()
        except DivergenceError as error:
            error.run, run.stopped = run, "diverged"
            raise
        except BaseException:
            run.stopped = "failed"
            raise
        finally:
            if self.best is not None and self.best_weights is not None and self.best.epoch:
                self.backend.copy(self.best_weights.flat, out=self.net.parameter_arena.flat)
                run.best_epoch = self.best.epoch
            run.seconds = time.perf_counter() - start
        return run

    def _train(self, progress: Progress, start: float) -> None:
        run = self.run
        for epoch in range(self.trainer.epochs):
            with self._undone_for_bad_rows(), advice(self.backend, self._batch_hint):
                goes_on = self._one_epoch(epoch, progress)
            if not goes_on:
                run.stopped = "callback" if self.callbacks.stop_requested else "interrupted"
                break
            record = self._end_epoch(epoch, start)
            progress.update(epoch + 1, record.metrics)
            if self._is_patience_over(epoch):
                run.stopped = "early"
                break
            if self.callbacks.stop_requested:
                run.stopped = "callback"
                break

    @contextlib.contextmanager
    def _undone_for_bad_rows(self) -> Iterator[None]:
        """Rows that are only looked at in the first epoch are refused as all others: before a weight has changed."""
        try:
            yield
        except DataError:
            if self.came_with is not None:
                self.net.parameter_arena.assign(self.came_with)
            raise
        if not self.batches.is_unchecked:
            self.came_with = None

    def _one_epoch(self, epoch: int, progress: Progress) -> bool:
        """All steps of an epoch; False where someone asked to stop."""
        be, batches = self.backend, self.batches
        first, updates = epoch * self.groups.updates, self.groups.updates
        batches.begin_epoch(epoch)
        be.assign(self.groups.spread(self.rates.rates(first, updates, self.total_steps)), out=self.lr)
        be.assign(state_at(first), out=self.state)
        before = epoch * batches.count

        def steps_to_look(number: int) -> int:
            return self.callbacks.steps_to_next(before + number, most=STEPS_A_LOOK)

        with contextlib.closing(batches.blocks()) as blocks:
            for block in blocks:
                for piece in self.groups.pieces(block, steps_to_look):
                    if self._is_asked_to_stop() and not piece.ragged:
                        return False
                    self._replay_of(piece)(piece.times)
                    self.callbacks.step_end(before + piece.start + piece.times, self._last_step)
                    if batches.full > STEPS_A_LOOK and not piece.ragged:
                        progress.update(epoch + piece.start / batches.count)
        return not self._is_asked_to_stop()

    def _is_asked_to_stop(self) -> bool:
        return self.trainer._stop_requested or self.callbacks.stop_requested

    def _last_step(self) -> tuple[int, float, float]:
        """Epoch (from 1), loss and learning rate of the step that was done last. Looks at the device."""
        be = self.backend
        batch = int(be.download(self.state)[BATCH]) - 1
        loss = self.net.loss.value(be.download(self.totals[batch : batch + 1]))
        return self.run.history.epochs + 1, float(loss), float(be.download(self.lr[batch : batch + 1])[0])

    def _replay_of(self, piece: Piece) -> Callable[[int], None]:
        if piece.ragged and self.replay_ragged is not None:
            return self.replay_ragged
        return self.replay_full if piece.updates else self.replay_collecting

    def _end_epoch(self, epoch: int, start: float) -> EpochRecord:
        """The one look at the device an epoch: what was recorded, and whether it is still finite."""
        be, run = self.backend, self.run
        totals = be.download(self.totals)
        if (halted := int(be.download(self.state)[HALTED])) != RUNNING:
            raise self._divergence(halted, epoch, totals)
        run.steps = (epoch + 1) * self.groups.updates
        metrics = metrics_of(self.net.loss, totals, self.baseline)
        if not self.trainer.metrics:
            metrics = {"loss": metrics["loss"]}
        if self.evaluate is not None:
            metrics |= {f"valid_{name}": value for name, value in self.evaluate().items()}
        metrics["lr"] = float(self.rates.rates(run.steps - 1, 1, self.total_steps)[0])
        metrics["seconds"] = time.perf_counter() - start
        run.history.append(metrics)
        self.rates.end_epoch(epoch + 1, metrics)
        improved = self.best is not None and self.best.improved(epoch + 1, metrics)
        if improved and self.best_weights is not None:
            be.copy(self.judged.parameter_arena.flat, out=self.best_weights.flat)
        record = EpochRecord(
            epoch + 1, self.trainer.epochs, metrics, improved, self.judged, run.history, self.callbacks.stop
        )
        self.callbacks.epoch_end(record)
        return record

    def _is_patience_over(self, epoch: int) -> bool:
        stopping = self.trainer.early_stopping
        return stopping is not None and self.best is not None and epoch + 1 - self.best.epoch >= stopping.patience

    def _divergence(self, step: int, epoch: int, totals: np.ndarray) -> DivergenceError:
        batches = self.batches
        # One update may be several batches: it is the first without a finite loss that halted the run.
        batch = int(np.flatnonzero(~np.isfinite(totals[:, LOSS]))[0])
        return diverged(
            step=step, epoch=epoch, batch=batch, batches=batches.count, loss=totals[batch, LOSS],
            where=nonfinite_parameter(self.net) or self._nonfinite_output(batch),
            rate=self.rates.rates(step, 1, self.total_steps)[0],
        )  # fmt: skip

    def _nonfinite_output(self, number: int) -> str:
        """Go through batch ``number`` once more; no update was applied since, so it fails as it failed then."""
        self.batches.load(number)
        n = self.batches.ragged if number == self.batches.full else self.batches.size
        x, _, _ = self.batches.reader(n)()
        return nonfinite_output(self.whole.first(n), x)


def _baseline_of(net: Network, rows: Rows | HostRows) -> Baseline | None:
    return net.loss.baseline(rows.targets, rows.weights) if isinstance(rows, HostRows) else baseline_of(net, rows)


def state_at(step: int) -> list[int]:
    state = [0, 0, 0]
    state[STEP], state[HALTED] = step, RUNNING
    return state
