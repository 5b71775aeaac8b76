"""The training loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

import numpy as np

from chainrule.arena import Arena
from chainrule.backends.base import BATCH, HALTED, LOSS, RUNNING, STEP
from chainrule.errors import DivergenceError, OptionError
from chainrule.nn.evaluation import Evaluator, metrics_of, target_spread
from chainrule.nn.network import Network
from chainrule.nn.passes import Pass, new_state
from chainrule.nn.rows import Rows
from chainrule.optim.adam import Adam
from chainrule.optim.base import Optimizer
from chainrule.options import real_number, whole_number
from chainrule.random import check_seed
from chainrule.train.batches import Batches, split_rows
from chainrule.train.early_stopping import BestEpoch, EarlyStopping
from chainrule.train.history import History
from chainrule.train.progress import Progress

STEPS_A_LOOK = 64  # steps between two looks at whether to stop; on a device, steps put in the queue at once


class EpochRecord(NamedTuple):
    """What a callback is told at the end of an epoch."""

    epoch: int  # from 1
    epochs: int
    metrics: dict[str, float]  # this epoch's entries of the history
    improved: bool  # the best epoch so far by the watched metric
    net: Network


Callback = Callable[[EpochRecord], object]


@dataclass
class Run:
    """The outcome of :meth:`Trainer.fit`."""

    history: History = field(default_factory=History)
    stopped: Literal["completed", "early", "interrupted"] = "completed"
    best_epoch: int = 0  # from 1; 0 where no metric was watched. Its weights are the net's.
    steps: int = 0
    seconds: float = 0.0


class Trainer:
    """Trains a net on rows that stay on its device.

    Parameters
    ----------
    net : the Network, changed in place
    optimizer : its settings; moments start at zero with every fit
    batch_size : rows a step, at most as many as there are; the last batch of an epoch may have fewer
    epochs : passes over the rows, at most
    shuffle : deal the rows anew every epoch
    drop_last : leave out a ragged last batch
    seed : of the shuffles and of a validation split
    early_stopping : an EarlyStopping, or None to train all epochs
    monitor : the metric whose best epoch's weights are kept when there is a validation set (or early stopping);
        "valid_loss" by default
    metrics : also record the metric of the task (accuracy, r2), not the loss alone
    progress : a progress line on stderr, where that is a terminal
    callbacks : functions called with an EpochRecord at the end of every epoch
    """

    def __init__(
        self, net: Network, optimizer: Optimizer | None = None, *, batch_size: int = 128, epochs: int = 30,
        shuffle: bool = True, drop_last: bool = False, seed: int = 0, early_stopping: EarlyStopping | None = None,
        monitor: str | None = None, metrics: bool = True, progress: bool = False, callbacks: Sequence[Callback] = (),
    ) -> None:  # fmt: skip
        if not isinstance(optimizer, Optimizer | None):
            raise OptionError(f"optimizer {optimizer!r} came, an Optimizer was expected", hint="cr.Adam(lr=1e-3)")
        self.net = net
        self.optimizer = optimizer if optimizer is not None else Adam()
        self.batch_size, self.epochs = whole_number("batch_size", batch_size), whole_number("epochs", epochs)
        self.shuffle, self.drop_last, self.seed = shuffle, drop_last, check_seed(seed)
        self.early_stopping = early_stopping
        self.monitor = monitor
        self.metrics, self.progress, self.callbacks = metrics, progress, tuple(callbacks)
        self._stop_requested = False

    def stop(self) -> None:
        """Ask a running fit to end within a few steps; for a signal handler or another thread."""
        self._stop_requested = True

    def fit(self, X: Any, y: Any, *, sample_weight: Any = None, validation: Any = None) -> Run:
        """Train, and return what happened.

        Parameters
        ----------
        X : (n, n_in) numbers, finite
        y : what the net's loss wants, one a row
        sample_weight : (n,) numbers from 0 up, or None
        validation : None, a fraction in (0, 1) of the rows to hold out, or (X, y) or (X, y, sample_weight)

        With validation rows the net ends with the weights of its best epoch, also when it is interrupted (Ctrl-C or
        :meth:`stop`), which returns the Run so far instead of raising.

        Raises
        ------
        ShapeError, DataError   if the rows do not fit the net.
        DivergenceError         if the loss stops being finite; ``error.run`` is the Run so far. The net has the weights
                                of the best epoch, or without validation those with which the failing step began.
        """
        self._stop_requested = False
        net = self.net
        rows = net.upload_rows(X, y, sample_weight)
        held_out = None
        with net.backend.running():
            if isinstance(validation, tuple | list):
                if len(validation) not in {2, 3}:
                    raise OptionError(
                        f"validation of {len(validation)} arrays came, (X, y) or (X, y, weights) expected"
                    )
                held_out = net.upload_rows(*validation)
            elif validation is not None:
                fraction = real_number("validation", validation, below=1.0, above=True)
                rows, held_out = split_rows(net.backend, rows, fraction, self.seed)
            return _Fit(self, rows, held_out).run_epochs()


class _Fit:
    """One call of fit: everything bound to its memory, then stepped."""

    def __init__(self, trainer: Trainer, rows: Rows, held_out: Rows | None) -> None:
        net, be = trainer.net, trainer.net.backend
        self.trainer, self.net, self.backend = trainer, net, be
        self.batches = Batches(
            be, rows, trainer.batch_size, dtype=net.dtype, shuffle=trainer.shuffle, seed=trainer.seed,
            drop_last=trainer.drop_last,
        )  # fmt: skip
        self.total_steps = trainer.epochs * self.batches.count
        self.optimizer = trainer.optimizer.bind(net.parameter_arena, net.gradient_arena)
        self.state = new_state(be)
        self.lr = be.empty((self.batches.count,), np.float64)
        self.totals = be.empty((self.batches.count, 3), np.float64)
        self.whole = net.bind(self.batches.size, training=True)
        self.replay_full = be.capture(self._step_of(self.whole))
        self.replay_ragged: Callable[[int], None] | None = None
        if self.batches.ragged:
            self.replay_ragged = be.capture(self._step_of(self.whole.first(self.batches.ragged)))
        self.evaluate = Evaluator(net, held_out) if held_out is not None else None
        self.spread = target_spread(net, rows)
        stopping = trainer.early_stopping
        self.best: BestEpoch | None = None
        self.best_weights: Arena | None = None
        if held_out is not None or stopping is not None or trainer.monitor is not None:
            monitor = trainer.monitor or (stopping.monitor if stopping else "valid_loss")
            self._check_monitor(monitor)
            self.best = BestEpoch(monitor, stopping.min_delta if stopping else 0.0)
        self.run = Run()

    def _check_monitor(self, monitor: str) -> None:
        metric = "r2" if self.net.loss.task == "regress" else "accuracy"
        known = ["loss", *([metric] if self.trainer.metrics else [])]
        if self.evaluate is not None:
            known += ["valid_loss", f"valid_{metric}"]
        if monitor not in known:
            raise OptionError(f"there is no {monitor!r} to watch here", hint=f"one of {', '.join(known)}")

    # ---- a step -----------------------------------------------------------------------------------

    def _step_of(self, batch: Pass) -> Callable[[], None]:
        """One training step on batches of this pass's length; it obeys the law of the step."""
        be, net, state, totals = self.backend, self.net, self.state, self.totals
        read = self.batches.reader(batch.n)
        counts = self.trainer.metrics and net.loss.task != "regress"
        optimizer, lr = self.optimizer, self.lr  # not `self`: a cycle would keep all memory of a fit until a collection

        def step() -> None:
            x, targets, weights = read(state)
            logits = batch.forward(x)
            if counts:
                be.count_correct(logits, targets, weights, state, totals=totals)
            net.loss(be, logits, targets, weights, state, totals=totals, dlogits=batch.dlogits)
            batch.backward()
            optimizer.step(lr, state)
            be.tick(state)

        return step

    # ---- epochs -----------------------------------------------------------------------------------

    def run_epochs(self) -> Run:
        trainer, run, start = self.trainer, self.run, time.perf_counter()
        try:
            with Progress(trainer.epochs, enabled=trainer.progress) as progress:
                for epoch in range(trainer.epochs):
                    if not self._one_epoch(epoch, progress):
                        run.stopped = "interrupted"
                        break
                    record = self._end_epoch(epoch, start)
                    progress.update(epoch + 1, record.metrics)
                    if self._is_patience_over(epoch):
                        run.stopped = "early"
                        break
            if self.best_weights is None:
                self._check_last_step()
        except KeyboardInterrupt:
            run.stopped = "interrupted"
        except DivergenceError as error:
            error.run = run
            raise
        finally:
            if self.best is not None and self.best_weights is not None:
                self.backend.copy(self.best_weights.flat, out=self.net.parameter_arena.flat)
                run.best_epoch = self.best.epoch
            run.seconds = time.perf_counter() - start
        return run

    def _one_epoch(self, epoch: int, progress: Progress) -> bool:
        """All steps of an epoch; False where someone asked to stop."""
        be, batches = self.backend, self.batches
        first = epoch * batches.count
        batches.begin_epoch(epoch)
        be.assign(self.trainer.optimizer.schedule.rates(first, batches.count, self.total_steps), out=self.lr)
        be.assign(_state_at(first), out=self.state)
        for done in range(0, batches.full, STEPS_A_LOOK):
            if self.trainer._stop_requested:
                return False
            self.replay_full(min(STEPS_A_LOOK, batches.full - done))
            if batches.full > STEPS_A_LOOK:
                progress.update(epoch + done / batches.count)
        if self.replay_ragged is not None:
            self.replay_ragged(1)
        return not self.trainer._stop_requested

    def _end_epoch(self, epoch: int, start: float) -> EpochRecord:
        """The one look at the device an epoch: what was recorded, and whether it is still finite."""
        be, run, batches = self.backend, self.run, self.batches
        totals = be.download(self.totals)
        if (halted := int(be.download(self.state)[HALTED])) != RUNNING:
            raise self._divergence(halted, epoch, totals)
        run.steps = (epoch + 1) * batches.count
        metrics = metrics_of(self.net.loss, totals, self.spread)
        if not self.trainer.metrics:
            metrics = {"loss": metrics["loss"]}
        if self.evaluate is not None:
            metrics |= {f"valid_{name}": value for name, value in self.evaluate().items()}
        metrics["lr"] = float(self.trainer.optimizer.schedule.rates(run.steps - 1, 1, self.total_steps)[0])
        metrics["seconds"] = time.perf_counter() - start
        run.history.append(metrics)
        improved = self.best is not None and self.best.improved(epoch + 1, metrics)
        if improved:
            if self.best_weights is None:
                self.best_weights = self.net.parameter_arena.like()
            be.copy(self.net.parameter_arena.flat, out=self.best_weights.flat)
        record = EpochRecord(epoch + 1, self.trainer.epochs, metrics, improved, self.net)
        for callback in self.trainer.callbacks:
            callback(record)
        return record

    def _is_patience_over(self, epoch: int) -> bool:
        stopping = self.trainer.early_stopping
        return stopping is not None and self.best is not None and epoch + 1 - self.best.epoch >= stopping.patience

    # ---- divergence -------------------------------------------------------------------------------

    def _divergence(self, step: int, epoch: int, totals: np.ndarray) -> DivergenceError:
        number = step - epoch * self.batches.count
        where = self._first_nonfinite(number)
        rate = self.trainer.optimizer.schedule.rates(step, 1, self.total_steps)[0]
        return DivergenceError(
            f"training diverged at step {step} (epoch {epoch + 1}, batch {number + 1} of {self.batches.count}): "
            f"the loss is {totals[number, LOSS]}; the first number that is not finite stands in {where}",
            step=step, epoch=epoch + 1, where=where,
            hint=f"lower the learning rate (it is {rate:.3g}), take the mean loss rather than a sum, or set clip_norm",
        )  # fmt: skip

    def _check_last_step(self) -> None:
        """The loss of the next step would show an update that overflowed; after the last step there is none."""
        where = self._nonfinite_parameter()
        if where:
            step, epoch = self.run.steps - 1, self.run.history.epochs
            raise DivergenceError(
                f"training diverged with its last update (step {step}, epoch {epoch}): {where} is not finite",
                step=step, epoch=epoch, where=where, hint="lower the learning rate, or set clip_norm",
            )  # fmt: skip

    def _nonfinite_parameter(self) -> str:
        for name, value in self.net.parameters().items():
            if self.backend.first_nonfinite(value) is not None:
                return f"the parameter {name}"
        return ""

    def _first_nonfinite(self, number: int) -> str:
        """Go through batch ``number`` once more; no update was applied since, so it fails as it failed then."""
        be = self.backend
        if parameter := self._nonfinite_parameter():
            return parameter
        state = _state_at(0)
        state[BATCH] = number
        be.assign(state, out=self.state)
        n = self.batches.ragged if number == self.batches.full else self.batches.size
        batch = self.whole.first(n)
        x, _, _ = self.batches.reader(n)(self.state)
        batch.forward(x)
        for layer in batch.layers:
            if be.first_nonfinite(layer.y) is not None:
                return f"the output of {layer.name}"
        return "the loss itself"


def _state_at(step: int) -> list[int]:
    state = [0, 0, 0]
    state[STEP], state[HALTED] = step, RUNNING
    return state
