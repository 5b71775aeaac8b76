"""One fit: everything bound to its memory, then stepped, epoch by epoch."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from chainrule.backends.base import HALTED, LOSS, RUNNING, STEP
from chainrule.errors import DataError, DivergenceError, OptionError
from chainrule.nn.evaluation import Evaluator, baseline_of, metrics_of
from chainrule.nn.losses import Baseline
from chainrule.nn.network import Network
from chainrule.nn.passes import Pass, new_state
from chainrule.nn.rows import Rows
from chainrule.train.batches import Batches, ResidentBatches
from chainrule.train.divergence import diverged, nonfinite_output, nonfinite_parameter, refuse_nonfinite_parameters
from chainrule.train.early_stopping import BestEpoch
from chainrule.train.host_rows import HostRows
from chainrule.train.memory import advice, batch_hint, bytes_of_net, free_at_start
from chainrule.train.progress import Progress
from chainrule.train.run import EpochRecord, Run
from chainrule.train.streaming import StreamedBatches

if TYPE_CHECKING:
    from chainrule.train.trainer import Trainer

STEPS_A_LOOK = 64  # steps between two looks at whether to stop; on a device, steps put in the queue at once


class Fit:
    """One call of :meth:`Trainer.fit`. All memory is laid out here, before the first step changes a weight."""

    def __init__(self, trainer: Trainer, rows: Rows | HostRows, held_out: Rows | None) -> None:
        net, be = trainer.net, trainer.net.backend
        self.trainer, self.net, self.backend, self.rows = trainer, net, be, rows
        self.best = self._best_epoch(with_validation=held_out is not None)
        self.net_bytes = bytes_of_net(net, trainer.optimizer, keeps_best=self.best is not None)
        with advice(be, self._net_hint):  # what a smaller batch does not make smaller
            self.optimizer = trainer.optimizer.bind(net.parameter_arena, net.gradient_arena)
            self.best_weights = net.parameter_arena.like() if self.best is not None else None
            self.evaluate = Evaluator(net, held_out) if held_out is not None else None
            self.baseline = _baseline_of(net, rows)
            self.state = new_state(be)
            _ = net.factor_arena  # made when first asked for
        self.free = free_at_start(be)
        with advice(be, self._batch_hint):
            self.batches = self._batches()
            self.lr = be.empty((self.batches.count,), np.float64)
            self.totals = be.empty((self.batches.count, 3), np.float64)
            self.whole = net.bind(self.batches.size, training=True)
            self.replay_full = be.capture(self._step_of(self.whole))
            self.replay_ragged: Callable[[int], None] | None = None
            if self.batches.ragged:
                self.replay_ragged = be.capture(self._step_of(self.whole.first(self.batches.ragged)))
        self.total_steps = trainer.epochs * self.batches.count
        self.run = Run()

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

    def _best_epoch(self, *, with_validation: bool) -> BestEpoch | None:
        """What follows the watched metric; None where none is watched."""
        trainer, stopping = self.trainer, self.trainer.early_stopping
        if not with_validation and stopping is None and trainer.monitor is None:
            return None
        monitor = trainer.monitor or (stopping.monitor if stopping else "valid_loss")
        metrics = [metric for metric in (self.net.loss.metric,) if metric]
        known = ["loss", *(metrics if trainer.metrics else [])]
        if with_validation:
            known += ["valid_loss", *(f"valid_{metric}" for metric in metrics)]
        if monitor not in known:
            raise OptionError(f"there is no {monitor!r} to watch here", hint=f"one of {', '.join(known)}")
        return BestEpoch(monitor, stopping.min_delta if stopping else 0.0)

    # ---- a step -----------------------------------------------------------------------------------

    def _step_of(self, batch: Pass) -> Callable[[], None]:
        """One training step on batches of this pass's length; it obeys the law of the step."""
        be, net, state, totals = self.backend, self.net, self.state, self.totals
        read = self.batches.reader(batch.n)
        counts = self.trainer.metrics and net.loss.metric == "accuracy"
        optimizer, lr = self.optimizer, self.lr  # not `self`: a cycle would keep all memory of a fit until a collection

        def step() -> None:
            x, targets, weights = read()
            logits = batch.forward(x)
            net.loss(be, logits, targets, weights, state, totals=totals, dlogits=batch.dlogits)
            if counts:  # after the loss: both write to totals, and nothing waits for the count
                be.count_correct(logits, targets, weights, state, totals=totals)
            batch.backward()
            optimizer.step(lr, state)
            be.tick(state)

        return step

    # ---- epochs -----------------------------------------------------------------------------------

    def run_epochs(self) -> Run:
        """All epochs, or as many as there will be."""
        trainer, run, start = self.trainer, self.run, time.perf_counter()
        try:
            with Progress(trainer.epochs, enabled=trainer.progress) as progress:
                for epoch in range(trainer.epochs):
                    with self._undone_for_bad_rows(), advice(self.backend, self._batch_hint):
                        goes_on = self._one_epoch(epoch, progress)
                    if not goes_on:
                        run.stopped = "interrupted"
                        break
                    record = self._end_epoch(epoch, start)
                    progress.update(epoch + 1, record.metrics)
                    if self._is_patience_over(epoch):
                        run.stopped = "early"
                        break
            if self.best is None or not self.best.epoch:
                refuse_nonfinite_parameters(self.net, step=run.steps - 1, epoch=run.history.epochs)
        except KeyboardInterrupt:
            run.stopped = "interrupted"
        except DivergenceError as error:
            error.run = run
            raise
        finally:
            if self.best is not None and self.best_weights is not None and self.best.epoch:
                self.backend.copy(self.best_weights.flat, out=self.net.parameter_arena.flat)
                run.best_epoch = self.best.epoch
            run.seconds = time.perf_counter() - start
        return run

    @contextlib.contextmanager
    def _undone_for_bad_rows(self) -> Iterator[None]:
        """Rows that are only looked at in the first epoch are refused as all others: before a weight has changed."""
        before = self.net.parameter_arena.download() if self.batches.is_unchecked else None
        try:
            yield
        except DataError:
            if before is not None:
                self.net.parameter_arena.assign(before)
            raise

    def _one_epoch(self, epoch: int, progress: Progress) -> bool:
        """All steps of an epoch; False where someone asked to stop."""
        be, batches = self.backend, self.batches
        first = epoch * batches.count
        batches.begin_epoch(epoch)
        be.assign(self.trainer.optimizer.schedule.rates(first, batches.count, self.total_steps), out=self.lr)
        be.assign(_state_at(first), out=self.state)
        with contextlib.closing(batches.blocks()) as blocks:
            for block in blocks:
                full = min(block.stop, batches.full)
                for done in range(block.start, full, STEPS_A_LOOK):
                    if self.trainer._stop_requested:
                        return False
                    self.replay_full(min(STEPS_A_LOOK, full - done))
                    if batches.full > STEPS_A_LOOK:
                        progress.update(epoch + done / batches.count)
                if self.replay_ragged is not None and block.stop == batches.count:
                    self.replay_ragged(1)
        return not self.trainer._stop_requested

    def _end_epoch(self, epoch: int, start: float) -> EpochRecord:
        """The one look at the device an epoch: what was recorded, and whether it is still finite."""
        be, run, batches = self.backend, self.run, self.batches
        totals = be.download(self.totals)
        if (halted := int(be.download(self.state)[HALTED])) != RUNNING:
            raise self._divergence(halted, epoch, totals)
        run.steps = (epoch + 1) * batches.count
        metrics = metrics_of(self.net.loss, totals, self.baseline)
        if not self.trainer.metrics:
            metrics = {"loss": metrics["loss"]}
        if self.evaluate is not None:
            metrics |= {f"valid_{name}": value for name, value in self.evaluate().items()}
        metrics["lr"] = float(self.trainer.optimizer.schedule.rates(run.steps - 1, 1, self.total_steps)[0])
        metrics["seconds"] = time.perf_counter() - start
        run.history.append(metrics)
        improved = self.best is not None and self.best.improved(epoch + 1, metrics)
        if improved and self.best_weights is not None:
            be.copy(self.net.parameter_arena.flat, out=self.best_weights.flat)
        record = EpochRecord(epoch + 1, self.trainer.epochs, metrics, improved, self.net)
        for callback in self.trainer.callbacks:
            callback(record)
        return record

    def _is_patience_over(self, epoch: int) -> bool:
        stopping = self.trainer.early_stopping
        return stopping is not None and self.best is not None and epoch + 1 - self.best.epoch >= stopping.patience

    def _divergence(self, step: int, epoch: int, totals: np.ndarray) -> DivergenceError:
        batch, batches = step - epoch * self.batches.count, self.batches
        return diverged(
            step=step, epoch=epoch, batch=batch, batches=batches.count, loss=totals[batch, LOSS],
            where=nonfinite_parameter(self.net) or self._nonfinite_output(batch),
            rate=self.trainer.optimizer.schedule.rates(step, 1, self.total_steps)[0],
        )  # fmt: skip

    def _nonfinite_output(self, number: int) -> str:
        """Go through batch ``number`` once more; no update was applied since, so it fails as it failed then."""
        self.batches.load(number)
        n = self.batches.ragged if number == self.batches.full else self.batches.size
        x, _, _ = self.batches.reader(n)()
        return nonfinite_output(self.whole.first(n), x)


def _baseline_of(net: Network, rows: Rows | HostRows) -> Baseline | None:
    return net.loss.baseline(rows.targets, rows.weights) if isinstance(rows, HostRows) else baseline_of(net, rows)


def _state_at(step: int) -> list[int]:
    state = [0, 0, 0]
    state[STEP], state[HALTED] = step, RUNNING
    return state
