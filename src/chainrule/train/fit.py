"""One fit: everything bound to its memory, then stepped, epoch by epoch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from chainrule.errors import DataError, DivergenceError
from chainrule.host_memory import out_of_memory_hint
from chainrule.nn.evaluation import metrics_of
from chainrule.nn.inputs.rows import Rows
from chainrule.nn.network import Network
from chainrule.nn.passes import new_state
from chainrule.train.checkpoints.checkpoint import Checkpoint
from chainrule.train.checkpoints.resuming import Identity, restore, take
from chainrule.train.checkpoints.writer import CheckpointWriter
from chainrule.train.diagnosis.divergence import diverged, refuse_explosion, refuse_nonfinite_parameters
from chainrule.train.diagnosis.layer_statistics import LayerStatistics
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.feeding.streaming import batches_of
from chainrule.train.first_bias import set_first_bias
from chainrule.train.memory import batch_hint, bytes_of_net, free_at_start, refuse_what_cannot_fit
from chainrule.train.monitoring.best_weights import BestWeights
from chainrule.train.monitoring.choose_metric import (
    RowsOfFit,
    quantities_of,
    warn_of_silent,
    watch,
    watch_of,
    watchable,
)
from chainrule.train.monitoring.training_metric import TrainingMetric
from chainrule.train.monitoring.validation_metrics import valid_evaluator
from chainrule.train.rates import RatesOfRun
from chainrule.train.records.callbacks import CallbackLoop, as_callbacks
from chainrule.train.records.progress import Progress
from chainrule.train.records.run import EpochRecord, Run, StartRecord
from chainrule.train.steps import STEPS_PER_SYNC, Steps, steps_per_sync
from chainrule.train.update_step import UpdateStep

if TYPE_CHECKING:
    from chainrule.train.trainer import Trainer

CHECKPOINT_HINT = "a checkpoint takes the memory of parameters and moments up to three times: use a smaller net"


class Fit:
    """One call of :meth:`Trainer.fit`. All memory is laid out here, before the first step changes a weight.

    Parameters
    ----------
    trainer : its settings and the net
    rows, held_out : to train on, and for validation or None
    diagnose : look into the layers
    identity : what its checkpoints are to say of settings, rows and machine; None where none are written
    resume : the checkpoint to go on from, or None to begin
    """

    def __init__(
        self,
        trainer: Trainer,
        rows: Rows | HostRows,
        held_out: Rows | None,
        *,
        diagnose: bool = False,
        identity: Identity | None = None,
        resume: Checkpoint | None = None,
    ) -> None:
        net, be = trainer.net, trainer.net.backend
        self.trainer, self.net, self.backend, self.rows = trainer, net, be, rows
        known, of_fit = watchable(trainer, with_validation=held_out is not None), RowsOfFit(net, rows, held_out)
        self.quantities = quantities_of(trainer, with_validation=held_out is not None)  # of each epoch of the history
        self.best = watch_of(trainer, known, of_fit)
        self.rates = RatesOfRun(
            trainer.optimizer.schedule,
            known,
            lambda monitor, min_delta: watch(monitor, trainer, known, of_fit, min_delta=min_delta),
        )
        keeps_aside = self.best is not None and self.best.may_return
        self.net_bytes = bytes_of_net(
            net,
            trainer.optimizer,
            keeps_best=self.best is not None,
            keeps_aside=keeps_aside,
            averages=trainer.ema is not None,
            accumulates=trainer.accumulate > 1,
        )
        with out_of_memory_hint(self._net_hint, backend=be):  # what a smaller batch does not make smaller
            self.update_step = UpdateStep(trainer)
            self.best_weights = BestWeights(self.best, net.parameter_arena) if self.best is not None else None
            self.evaluate = valid_evaluator(self.update_step.judged, held_out, trainer.valid_metrics)
            self.metric = TrainingMetric(net, rows, self.update_step.penalty) if trainer.metrics else None
            state = new_state(be)
            _ = net.factor_arena  # made when first asked for
            probe = LayerStatistics(net, rows) if diagnose else None
        self.free = free_at_start(be)
        with out_of_memory_hint(self._batch_hint, backend=be):
            refuse_what_cannot_fit(net, rows, trainer.batch_size, self.free)
            counts = bool(trainer.metrics) and net.loss.metric == "accuracy"
            batches = batches_of(
                be,
                rows,
                trainer.batch_size,
                dtype=net.dtype,
                shuffle=trainer.shuffle,
                seed=trainer.seed,
                drop_last=trainer.drop_last,
                free=self.free,
            )
            self.steps = Steps(
                self.update_step,
                batches,
                state,
                accumulate=trainer.accumulate,
                counts=counts,
                before=0 if trainer.moments is None else trainer.moments.steps,
            )
        self.total_steps = trainer.epochs * self.steps.groups.updates
        self.run = Run()
        if probe is not None:
            probe.steps_an_epoch = batches.count
        self.probe = probe
        self.callbacks = CallbackLoop(as_callbacks(trainer.callbacks), probe)
        self.valid_rows = 0 if held_out is None else len(held_out)
        self.identity, self.resume = identity, resume
        self.checkpoints = CheckpointWriter(trainer.checkpoints)
        self.first_batch = 0  # of the next epoch; another one only where a fit goes on within an epoch
        self.first_loss = float("nan")  # of the very first batch, before any update
        self._look, self._start = STEPS_PER_SYNC, time.perf_counter()

    def _net_hint(self) -> str:
        return f"the net alone takes {self.net_bytes:,} bytes to train, whatever the batch: use a smaller net"

    def _batch_hint(self) -> str:
        return batch_hint(self.net, self.rows, self.trainer.batch_size, self.free, self.net_bytes)

    # ---- from start to end --------------------------------------------------------------------------

    def run_epochs(self) -> Run:
        """All epochs, or as many as there will be."""
        self._begin()
        self._say_what_says_nothing(ended=False)
        sizes = len(self.rows), self.valid_rows, self.steps.batches.count
        with self.callbacks.told(StartRecord(self.trainer, self.net, self.run, *sizes)):
            return self._run_epochs()

    def _begin(self) -> None:
        """After all memory is laid out, so that a fit that cannot be has changed nothing."""
        # Rows that are only looked at in the first epoch may be refused then, and the net is to be as it came.
        self.given_parameters = self.net.parameter_arena.download() if self.steps.batches.is_unchecked else None
        if self.resume is not None:
            restore(self, self.resume)
            return
        if self.trainer.bias_from_targets:
            set_first_bias(self.net, self.rows, self.trainer.optimizer)
        self.update_step.begin()

    def _run_epochs(self) -> Run:
        trainer, run = self.trainer, self.run
        self._start = time.perf_counter() - run.seconds
        try:
            with Progress(trainer.epochs, enabled=trainer.progress) as progress:
                self._train(progress)
            # A weight of -inf before a relu leaves the loss finite, and so may be one of the best epoch.
            kept = self._best_net() if self.best is not None and self.best.epoch else self.net
            refuse_nonfinite_parameters(kept, step=run.steps - 1, epoch=run.history.epochs, rate=self.rate)
            self.update_step.keep()
            self._say_what_says_nothing(ended=True)
        except KeyboardInterrupt:
            run.stopped = "interrupted"
            self.update_step.keep()
        except DivergenceError as error:
            error.run, error.checkpoint, run.stopped = run, self.checkpoints.written, "diverged"
            raise
        except BaseException:
            run.stopped = "failed"
            raise
        finally:
            if self.best is not None and self.best_weights is not None and self.best.epoch:
                self.backend.copy(self.best_weights.arena.flat, out=self.net.parameter_arena.flat)
                run.best_epoch = self.best.epoch
            if trainer.moments is not None:
                trainer.moments.steps = self.steps.made()
            run.seconds = self._seconds()
        return run

    def _say_what_says_nothing(self, *, ended: bool) -> None:
        warn_of_silent([self.best, self.rates.watch], self.run, ended=ended)

    def _seconds(self) -> float:
        """Trained so far, what went before a resume included."""
        return time.perf_counter() - self._start

    def _train(self, progress: Progress) -> None:
        run, count = self.run, self.steps.batches.count
        while (end := self._end()) is None:
            epoch = run.history.epochs
            with self._undone_for_bad_rows(), out_of_memory_hint(self._batch_hint, backend=self.backend):
                done = self._one_epoch(epoch, progress)
            if done < count or self._is_asked_to_stop():
                run.stopped = "callback" if self.callbacks.stop_requested else "interrupted"
                self._write_checkpoint(done)
                return
            record = self._end_epoch(epoch)
            progress.update(epoch + 1, record.metrics)
            if self.checkpoints.is_due_at_epoch_end((epoch + 1) * count) and self._end() is None:
                self._write_checkpoint(0)
        run.stopped = end
        self._write_checkpoint(0)

    def _end(self) -> Literal["completed", "early", "callback"] | None:
        """Why no further epoch is to begin; None where one is."""
        epochs, stopping = self.run.history.epochs, self.trainer.early_stopping
        if stopping is not None and self.best is not None and epochs - self.best.epoch >= stopping.patience:
            return "early"
        if self.callbacks.stop_requested:
            return "callback"
        return "completed" if epochs == self.trainer.epochs else None

    @contextlib.contextmanager
    def _undone_for_bad_rows(self) -> Iterator[None]:
        """Rows that are only looked at in the first epoch are refused as all others: before a weight has changed."""
        try:
            yield
        except DataError:
            if self.given_parameters is not None:
                self.net.parameter_arena.assign(self.given_parameters)
            raise
        if not self.steps.batches.is_unchecked:
            self.given_parameters = None

    # ---- an epoch -----------------------------------------------------------------------------------

    def _one_epoch(self, epoch: int, progress: Progress) -> int:
        """The steps of an epoch; how many batches of it are done: fewer than all where someone asked to stop."""
        steps, batches = self.steps, self.steps.batches
        updates, begun = steps.groups.updates, time.perf_counter()
        first, self.first_batch = self.first_batch, 0
        steps.begin_epoch(epoch, self.rates.rates(epoch * updates, updates, self.total_steps), first)
        before = epoch * batches.count

        def steps_to_look(number: int) -> int:
            most = self.checkpoints.steps_to_next(before + number, most=self._look)
            return self.callbacks.steps_to_next(before + number, most=most)

        with contextlib.closing(batches.blocks(first)) as blocks:
            for block in blocks:
                for piece in steps.groups.pieces(block, steps_to_look):
                    if self._is_asked_to_stop() and not piece.ragged:
                        return piece.start
                    steps.replay(piece)
                    done = piece.start + piece.times
                    self.callbacks.step_end(before + done, self._last_step)
                    if done < batches.count and self.checkpoints.is_due(before + done):
                        self._write_checkpoint(done)
                    if batches.full > STEPS_PER_SYNC and not piece.ragged:
                        progress.update(epoch + piece.start / batches.count)
                    now = time.perf_counter()
                    self._look, begun = steps_per_sync(piece.times, now - begun), now
        return batches.count

    def _is_asked_to_stop(self) -> bool:
        return self.trainer._stop_requested or self.callbacks.stop_requested

    def _last_step(self) -> tuple[int, float, float]:
        """Epoch (from 1), loss and learning rate of the step that was done last. Looks at the device."""
        return self.run.history.epochs + 1, *self.steps.last()

    def _end_epoch(self, epoch: int) -> EpochRecord:
        """The one look at the device an epoch: what was recorded, and whether it is still finite."""
        be, run, steps = self.backend, self.run, self.steps
        totals = be.download(steps.totals)
        if (halted := steps.halted()) is not None:
            raise self._divergence(halted, epoch)
        run.steps = (epoch + 1) * steps.groups.updates
        metric = self.metric
        if metric is None:
            metrics = {"loss": float(self.net.loss.value(totals))}
        else:
            metrics = metrics_of(
                self.net.loss,
                totals,
                metric.measured_by,
                counted=metric.counted(steps.batches),
                penalty=metric.penalty(),
            )
        if not epoch:
            self.first_loss = float(self.net.loss.value(totals[:1]))
        refuse_explosion(
            metrics["loss"],
            factor=self.trainer.divergence_factor,
            first=self.first_loss,
            baseline=None if metric is None else metric.baseline,
            step=run.steps - 1,
            epoch=epoch + 1,
        )
        if self.evaluate is not None:
            metrics |= {f"valid_{name}": value for name, value in self.evaluate().items()}
        metrics["lr"] = self.rate(run.steps - 1)
        metrics["seconds"] = self._seconds()
        run.history.append(metrics)
        self.rates.end_epoch(epoch + 1, metrics)
        judged = self.update_step.judged
        improved = self.best_weights is not None and self.best_weights.improved(
            epoch + 1, metrics, judged.parameter_arena
        )
        record = EpochRecord(
            epoch + 1,
            self.trainer.epochs,
            metrics,
            improved,
            judged,
            run.history,
            self.callbacks.stop,
            "" if self.best is None else self.best.monitor,
        )
        self.callbacks.epoch_end(record)
        return record

    def _divergence(self, step: int, epoch: int) -> DivergenceError:
        batch, loss, where = self.steps.first_nonfinite()
        return diverged(
            self.net,
            step=step,
            epoch=epoch,
            batch=batch,
            batches=self.steps.batches.count,
            loss=loss,
            where=where,
            rate=self.rate(step),
        )

    def rate(self, step: int) -> float:
        return float(self.rates.rates(max(0, step), 1, self.total_steps)[0])

    # ---- checkpoints --------------------------------------------------------------------------------

    def _write_checkpoint(self, done: int) -> None:
        """After ``done`` batches of the epoch under way; DivergenceError instead where the run is no longer finite."""
        if self.checkpoints.settings is None or self.identity is None:
            return
        run, epoch = self.run, self.run.history.epochs
        if (halted := self.steps.halted()) is not None:
            raise self._divergence(halted, epoch)
        run.steps = epoch * self.steps.groups.updates + self.steps.groups.updates_before(done)
        refuse_nonfinite_parameters(self.net, step=run.steps - 1, epoch=epoch + 1, rate=self.rate)
        with out_of_memory_hint(CHECKPOINT_HINT, doing="writing a checkpoint", backend=self.backend):
            checkpoint = take(self, done, self._seconds())
            self.checkpoints.write(checkpoint, self._best_net if self.best is not None and self.best.epoch else None)

    def _best_net(self) -> Network:
        assert self.best_weights is not None
        return self.net.on_parameters(self.best_weights.arena)
