"""One fit: everything bound to its memory, then stepped, epoch by epoch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from typing import Literal

from chainrule.errors import DataError, DivergenceError
from chainrule.host_memory import out_of_memory_hint
from chainrule.nn.inputs.rows import Rows
from chainrule.nn.network import Network
from chainrule.train.checkpoints.checkpoint import Checkpoint
from chainrule.train.checkpoints.resuming import Identity, restore, take
from chainrule.train.checkpoints.writer import CheckpointWriter
from chainrule.train.diagnosis.divergence import diverged, refuse_explosion, refuse_nonfinite_parameters
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.first_bias import set_first_bias
from chainrule.train.fit_layout import FitLayout
from chainrule.train.monitoring.choose_metric import warn_of_silent
from chainrule.train.out_of_fold.left_out import LeftOut
from chainrule.train.records.callbacks import Callback, CallbackLoop
from chainrule.train.records.kept import Kept
from chainrule.train.records.progress import Progress
from chainrule.train.records.run import EpochRecord, Run, StartRecord
from chainrule.train.settings import TrainingSettings
from chainrule.train.steps import STEPS_PER_SYNC, Pace
from chainrule.train.stop_request import StopRequest, group_stop

CHECKPOINT_HINT = "a checkpoint takes the memory of parameters and moments up to three times: use a smaller net"


class Fit:
    """One call of :meth:`Trainer.fit`. All memory is laid out here, before the first step changes a weight.

    Parameters
    ----------
    net, settings : that are trained, and how
    rows, held_out : to train on, and for validation or None
    callbacks : that are told of the start, of steps and epochs, and of the end
    stop_request : ends the fit if it is made
    diagnose : measure the layers
    identity : what its checkpoints are to say of settings, rows and machine; None if none are written
    resume : the checkpoint to resume from, or None to begin
    left_out : which of the rows each member of an ensemble is not trained on
    """

    def __init__(
        self,
        net: Network,
        settings: TrainingSettings,
        rows: Rows | HostRows,
        held_out: Rows | None = None,
        *,
        callbacks: Sequence[Callback] = (),
        stop_request: StopRequest | None = None,
        diagnose: bool = False,
        identity: Identity | None = None,
        resume: Checkpoint | None = None,
        left_out: LeftOut | None = None,
    ) -> None:
        self.net, self.backend, self.settings = net, net.backend, settings
        self.valid_rows = 0 if held_out is None else len(held_out)
        self.identity, self.resume = identity, resume
        self.stop_request = StopRequest() if stop_request is None else stop_request
        self._group_stop = group_stop()
        self.layout = FitLayout(net, settings, rows, held_out, diagnose=diagnose, left_out=left_out)
        self.state, self.rows = self.layout.state, self.layout.rows
        self.steps, self.run = self.state.steps, self.state.run
        self.total_steps = settings.epochs * self.steps.groups.updates
        self.callbacks = CallbackLoop(callbacks, self.state.layer_statistics)
        self.checkpoints = CheckpointWriter(settings.checkpoints)
        self._pace, self._start, self._begun = Pace(queues=net.backend.queues), time.perf_counter(), 0  # epochs begun

    # ---- from start to end --------------------------------------------------------------------------

    def run_epochs(self) -> Run:
        """All epochs, or as many as there will be."""
        self._begin()
        self._warn_of_silent_metrics(ended=False)
        sizes = len(self.rows), self.valid_rows, self.steps.batches.count
        with self.callbacks.started(StartRecord(self.settings, self.net, self.run, *sizes, self.stop_request)):
            return self._run_epochs()

    def _begin(self) -> None:
        """After all memory is laid out, so that a fit that cannot run has changed nothing."""
        # Rows that are only checked in the first epoch may be refused then, and the net is to be as it was given.
        self.given_parameters = self.net.parameter_arena.download() if self.steps.batches.is_unchecked else None
        if self.resume is not None:
            restore(self.state, self.resume, self.settings, self.layout.history_names)
            return
        if self.settings.bias_from_targets:
            set_first_bias(self.net, self.rows, self.settings.optimizer)
        self.steps.update_step.begin()

    def _run_epochs(self) -> Run:
        settings, run, state = self.settings, self.run, self.state
        self._start = time.perf_counter() - run.seconds
        try:
            with Progress(settings.epochs, enabled=settings.progress, begun=run.history.epochs) as progress:
                self._train(progress)
            # A weight of -inf before a relu leaves the loss finite, and so may be one of the best epoch.
            kept = self._best_net() if state.has_best else self.net
            refuse_nonfinite_parameters(kept, step=run.steps - 1, epoch=run.history.epochs, rate=self.rate)
            self.steps.update_step.keep_evaluated()
            self._warn_of_silent_metrics(ended=True)
        except KeyboardInterrupt:
            run.stopped = "interrupted"
            self.steps.update_step.keep_evaluated()
        except DivergenceError as error:
            error.run, error.checkpoint, run.stopped = run, self.checkpoints.written, "diverged"
            raise
        except BaseException:
            run.stopped = "failed"
            raise
        finally:
            self._end_run()
        return run

    def _end_run(self) -> None:
        """However it ended: the net gets the weights of the best epoch."""
        best = self.state.best_weights
        if best is not None and best.metric.epoch:
            self.backend.copy(best.arena.flat, out=self.net.parameter_arena.flat)
            self.run.best_epoch = best.metric.epoch
        self.run.kept = Kept.of(self.run.history, self._begun, None if best is None else best.metric)
        if self.settings.moments is not None:
            self.settings.moments.steps = self.steps.updates_made()
        self.run.seconds = self._seconds()
        self.run.execution = self.backend.execution()

    def _warn_of_silent_metrics(self, *, ended: bool) -> None:
        warn_of_silent([self.state.metric, self.state.rates.metric], self.run, ended=ended)

    def _seconds(self) -> float:
        """Trained so far, before a resume too."""
        return time.perf_counter() - self._start

    def _train(self, progress: Progress) -> None:
        run, count = self.run, self.steps.batches.count
        while (end := self._end()) is None:
            epoch = run.history.epochs
            with self._undone_for_bad_rows(), out_of_memory_hint(self.layout.batch_hint, backend=self.backend):
                self._begun = epoch + 1
                done = self._one_epoch(epoch, progress)
            if done < count or self._is_asked_to_stop():
                run.stopped = "callback" if self.callbacks.stop.requested else "interrupted"
                self._write_checkpoint(done)
                return
            record = self._end_epoch(epoch)
            progress.update(epoch + 1, record.metrics)
            if self.checkpoints.is_due_at_epoch_end((epoch + 1) * count) and self._end() is None:
                self._write_checkpoint(0)
        run.stopped = end
        self._write_checkpoint(0)

    def _end(self) -> Literal["completed", "early", "callback"] | None:
        """Why no further epoch is to begin; None if one is."""
        epochs, stopping, metric = self.run.history.epochs, self.settings.early_stopping, self.state.metric
        if stopping is not None and metric is not None and stopping.is_over(epochs, metric.epoch):
            return "early"
        if self.callbacks.stop.requested:
            return "callback"
        return "completed" if epochs == self.settings.epochs else None

    @contextlib.contextmanager
    def _undone_for_bad_rows(self) -> Iterator[None]:
        """Rows that are only checked in the first epoch are refused as all others: no weight has changed then."""
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
        """The steps of an epoch; how many of its batches are done: fewer than all if someone asked to stop."""
        steps, batches = self.steps, self.steps.batches
        updates = steps.groups.updates
        self._pace.begin()
        first, self.state.first_batch = self.state.first_batch, 0
        rates = self.state.rates.rates(epoch * updates, updates, self.total_steps)
        steps.begin_epoch(epoch, rates, first, unchanged=self.callbacks.only_read)
        before = epoch * batches.count

        def steps_to_sync(number: int) -> int:
            most = self.checkpoints.steps_to_next(before + number, most=self._pace.steps)
            return self.callbacks.steps_to_next(before + number, most=most)

        with contextlib.closing(batches.blocks(first)) as blocks:
            for block in blocks:
                for replay in steps.groups.replays(block, steps_to_sync):
                    if self._is_asked_to_stop() and not replay.ragged:
                        return replay.start
                    steps.replay(replay)
                    done = replay.start + replay.times
                    self.callbacks.step_end(before + done, self._last_step)
                    if done < batches.count and self.checkpoints.is_due(before + done):
                        self._write_checkpoint(done)
                    if batches.full > STEPS_PER_SYNC and not replay.ragged:
                        progress.update(epoch + replay.start / batches.count)
                    self._pace.end(replay)
        return batches.count

    def _is_asked_to_stop(self) -> bool:
        return self._is_interrupted() or self.callbacks.stop.requested

    def _is_interrupted(self) -> bool:
        return self.stop_request.requested or self._group_stop.requested

    def _last_step(self) -> tuple[int, float, float]:
        """Epoch (from 1), loss and learning rate of the step that was done last. Synchronises."""
        return self.run.history.epochs + 1, *self.steps.last()

    def _end_epoch(self, epoch: int) -> EpochRecord:
        """The one synchronisation per epoch: what was recorded, and whether it is still finite."""
        run, state = self.run, self.state
        metrics = self._metrics_of_epoch(epoch)
        run.history.append(metrics)
        state.rates.end_epoch(epoch + 1, metrics)
        best, evaluated = state.best_weights, self.steps.update_step.evaluated_net
        improved = best is not None and best.improved(epoch + 1, metrics, evaluated.parameter_arena)
        monitor = "" if state.metric is None else state.metric.monitor
        epochs, stop = self.settings.epochs, self.callbacks.stop
        record = EpochRecord(epoch + 1, epochs, metrics, improved, evaluated, run.history, stop, monitor)
        self.callbacks.epoch_end(record)
        return record

    def _metrics_of_epoch(self, epoch: int) -> dict[str, float]:
        """What the history has of an epoch; DivergenceError if its loss is not finite, or beyond all reason."""
        run, steps = self.run, self.steps
        halted, totals, evaluated = steps.read(self.layout.metrics.start_evaluation())
        if halted is not None:
            raise self._divergence(halted, epoch)
        run.steps = (epoch + 1) * steps.groups.updates
        metrics = self.layout.metrics.of_training(totals, steps.batches)
        if not epoch:
            self.state.first_loss = self.layout.metrics.loss(totals[:, :1])
        refuse_explosion(
            metrics["loss"],
            factor=self.settings.divergence_factor,
            first=self.state.first_loss,
            baseline=self.layout.metrics.baseline,
            step=run.steps - 1,
            epoch=epoch + 1,
        )
        metrics |= self.layout.metrics.of_held_out_rows(evaluated)
        return metrics | {"lr": self.rate(run.steps - 1), "seconds": self._seconds()}

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
        """The learning rate of an update, from 0."""
        return self.state.rates.rate(step, self.total_steps)

    # ---- checkpoints --------------------------------------------------------------------------------

    def _write_checkpoint(self, done: int) -> None:
        """After ``done`` batches of the epoch under way; DivergenceError instead if the run is no longer finite.

        None is written while a gradient that is being accumulated is not finite: its update will show what it does.
        """
        if self.checkpoints.settings is None or self.identity is None:
            return
        run, epoch, groups = self.run, self.run.history.epochs, self.steps.groups
        if (halted := self.steps.halted()) is not None:
            raise self._divergence(halted, epoch)
        run.steps = epoch * groups.updates + groups.updates_before(done)
        refuse_nonfinite_parameters(self.net, step=run.steps - 1, epoch=epoch + 1, rate=self.rate)
        if done % groups.size and self.steps.update_step.accumulates_nonfinite():
            return
        with out_of_memory_hint(CHECKPOINT_HINT, doing="writing a checkpoint", backend=self.backend):
            checkpoint = take(self.state, done, self._seconds(), self.identity)
            self.checkpoints.write(checkpoint, self._best_net if self.state.has_best else None)

    def _best_net(self) -> Network:
        assert self.state.best_weights is not None
        return self.net.on_parameters(self.state.best_weights.arena)
