"""scikit-learn's solvers, learning rates and rule of convergence, in chainrule's terms."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from chainrule.backends import Backend
from chainrule.nn.losses.names import Loss
from chainrule.nn.metric_names import HIGHER_IS_BETTER, short_name
from chainrule.nn.network import Network
from chainrule.optim.adam import Adam, AdamW
from chainrule.optim.base import Moments, Optimizer
from chainrule.optim.lbfgs import LBFGS
from chainrule.optim.schedules import Constant, Cosine, Schedule
from chainrule.optim.sgd import SGD
from chainrule.options import one_of, real_number, whole_number
from chainrule.train.feeding.batches import plan_batches
from chainrule.train.monitoring.validation_metrics import Metric, direction_of, find_metrics
from chainrule.train.recipe import Recipe, weight_decay_for
from chainrule.train.records.callbacks import Callback
from chainrule.train.records.run import EpochRecord
from chainrule.train.trainer import Trainer

SOLVERS = ("adam", "sgd", "lbfgs")
LEARNING_RATES = ("cosine", "constant", "invscaling", "adaptive")
LOWEST_RATE = 1e-6  # where "adaptive" gives up
SHRINKS_BY = 5.0


@dataclass(frozen=True)
class InverseScaling(Schedule):
    """lr(e) = lr / (seen + e n + 1)^power in epoch e = 0, 1, ... of n rows each.

    A solver that begins does so with lr, whatever was seen before it: as in scikit-learn.
    """

    power: float = 0.5
    rows: int = 1
    updates: int = 1  # an epoch
    seen: int = 0  # rows, by the fits before
    begins: bool = True

    def rates(self, start: int, count: int, total: int) -> np.ndarray:
        """lr(start), ..., lr(start + count - 1): (count,) float64."""
        epochs = np.arange(start, start + count) // self.updates
        rates: np.ndarray = self.lr / (self.seen + epochs * float(self.rows) + 1) ** self.power
        return np.where(epochs == 0, self.lr, rates) if self.begins else rates


@dataclass(frozen=True)
class Adaptive(Schedule):
    """lr divided by 5 whenever the loss has stopped falling; :class:`Convergence` says when."""

    present: list[float] = field(default_factory=list)  # the rate, once it is another than lr

    def rates(self, start: int, count: int, total: int) -> np.ndarray:
        """The present rate: (count,) float64."""
        return np.full(count, (self.present or [self.lr])[0])

    def shrink(self) -> bool:
        """Lower the rate; False where it was as low as it goes."""
        rate = (self.present or [self.lr])[0]
        if rate <= LOWEST_RATE:
            return False
        self.present[:] = [rate / SHRINKS_BY]
        return True


def schedule_of(estimator: Any, rows: int, batch_size: int, solver_state: SolverState, *, one_epoch: bool) -> Schedule:
    """The learning rate of an estimator's fit. As in scikit-learn "invscaling" and "adaptive" are of sgd alone.

    An epoch of its own, as ``partial_fit`` asks for, has no end that a cosine could fall to: its rate is constant.
    """
    kind, lr = one_of("learning_rate", estimator.learning_rate, LEARNING_RATES), estimator.learning_rate_init
    if kind == "cosine" and not one_epoch:
        return Cosine(lr)
    if estimator.solver == "sgd" and kind == "adaptive":
        return Adaptive(lr, present=solver_state.present)
    if estimator.solver == "sgd" and kind == "invscaling":
        power = real_number("power_t", estimator.power_t)
        return InverseScaling(
            lr,
            power=power,
            rows=rows,
            updates=plan_batches(rows, batch_size).count,
            seen=estimator.t_,
            begins=solver_state.is_new,
        )
    return Constant(lr)


def is_auto(option: Any) -> bool:
    """Whether an option is left to the recipe."""
    return isinstance(option, str) and option == "auto"


def layers_of(estimator: Any, recipe: Recipe) -> tuple[Any, Any]:
    """Hidden layer sizes and dropout. The recipe's dropout is for the recipe's layers: with sizes of the user's own
    "auto" is none."""
    sizes, dropout = estimator.hidden_layer_sizes, estimator.dropout
    if is_auto(dropout):
        dropout = recipe.dropout if is_auto(sizes) else 0.0
    return recipe.hidden if is_auto(sizes) else sizes, dropout


def epochs_of(estimator: Any, recipe: Recipe) -> int:
    """The most epochs of a fit."""
    return recipe.epochs if is_auto(estimator.max_iter) else whole_number("max_iter", estimator.max_iter)


def alpha_of(estimator: Any, recipe: Recipe) -> float:
    """The penalty on the weights in the loss."""
    return recipe.alpha if is_auto(estimator.alpha) else real_number("alpha", estimator.alpha)


def optimizer_of(estimator: Any, schedule: Schedule, *, epochs: int, steps: int) -> Optimizer:
    """The optimiser of an estimator's fit; ``alpha`` is no part of it: it stands in the loss.

    A ``weight_decay`` of "auto" is the recipe's for adam, 0 for the others.
    """
    weight_decay = estimator.weight_decay
    if isinstance(weight_decay, str):
        one_of("weight_decay", weight_decay, ("auto",))
        lr = real_number("learning_rate_init", estimator.learning_rate_init, above=True)
        weight_decay = weight_decay_for(lr, steps) if estimator.solver == "adam" else 0.0
    decay: dict[str, Any] = {"weight_decay": real_number("weight_decay", weight_decay)}
    if one_of("solver", estimator.solver, SOLVERS) == "lbfgs":
        return LBFGS(epochs, tolerance=estimator.tol, max_evaluations=estimator.max_fun, **decay)
    if estimator.solver == "sgd":
        momentum = real_number("momentum", estimator.momentum, below=1.0)
        return SGD(schedule, momentum=momentum, nesterov=bool(estimator.nesterovs_momentum and momentum), **decay)
    kind = AdamW if decay["weight_decay"] else Adam
    return kind(schedule, beta1=estimator.beta_1, beta2=estimator.beta_2, eps=estimator.epsilon, eps_hat=True, **decay)


class Convergence(Callback):
    """scikit-learn's rule: stop after more than ``patience`` epochs in a row that were not better by ``tol``.

    Better is a loss below best - tol, or a score from best + tol up, where best is the best of all epochs before.

    Parameters
    ----------
    monitor : a name in the history; where it says nothing, the fit watches another one, and so does this
    higher_is_better : of it
    patience : epochs; math.inf for no end
    schedule : an :class:`Adaptive` one is lowered first
    before : of the fit that this one goes on from
    """

    def __init__(
        self,
        monitor: str,
        *,
        higher_is_better: bool,
        tol: float,
        patience: float,
        schedule: Schedule,
        before: Convergence | None = None,
    ) -> None:
        self._monitor, self._sign = monitor, 1.0 if higher_is_better else -1.0
        self._asked = self._monitor, self._sign
        self._tol = real_number("tol", tol)
        if patience != math.inf:
            whole_number("n_iter_no_change", patience)
        self._patience, self._schedule = patience, schedule
        self._best, self._waited, self.reached = -math.inf, 0, False
        if before is not None and before._monitor == monitor:
            self._best, self._waited = before._best, before._waited

    def on_epoch_end(self, record: EpochRecord) -> None:
        if record.monitor and record.monitor != self._monitor:
            self._follow(record.monitor, record.history[record.monitor][:-1])
        self._take(record.metrics[self._monitor])
        if self._waited > self._patience:
            if isinstance(self._schedule, Adaptive) and self._schedule.shrink():
                self._waited = 0
                return
            self.reached = True
            record.stop()

    def _take(self, value: float) -> None:
        """A value of an epoch; a nan is not better."""
        value *= self._sign
        better = value >= self._best + self._tol if self._sign > 0 else -value <= -self._best - self._tol
        self._waited = 0 if better else self._waited + 1
        self._best = max(self._best, value)

    def _follow(self, watched: str, values: Sequence[float]) -> None:
        """Another metric, as if it had been followed from the first epoch: the fit has come to watch it."""
        asked, sign = self._asked
        self._monitor = watched
        self._sign = sign if watched == asked else 1.0 if HIGHER_IS_BETTER[short_name(watched)] else -1.0
        self._best, self._waited = -math.inf, 0
        for value in values:
            self._take(value)


@dataclass
class SolverState:
    """What a solver has come to: the next ``partial_fit`` goes on from it, while ``fit`` begins a new one.

    Parameters
    ----------
    moments : of the optimiser, with the number of its steps
    present : the rate of an :class:`Adaptive` schedule, once it is another than the first
    convergence : what was the best so far, and for how long
    """

    moments: Moments = field(default_factory=Moments)
    present: list[float] = field(default_factory=list)
    convergence: Convergence | None = None

    @property
    def is_new(self) -> bool:
        """Whether no step was made."""
        return not self.moments.steps

    def on(self, device: Backend) -> SolverState:
        """The same with its moments on a backend."""
        return SolverState(self.moments.on(device), self.present, self.convergence)


class StopAfter(Callback):
    """Ends a fit after so many epochs of a schedule that is longer."""

    def __init__(self, epochs: int) -> None:
        self._epochs = epochs

    def on_epoch_end(self, record: EpochRecord) -> None:
        if record.epoch >= self._epochs:
            record.stop()


class IterationLines(Callback):
    """``Iteration 3, loss = 0.21045368`` on stdout after each epoch, and the score of rows held out.

    Parameters
    ----------
    score : its name in the history
    """

    def __init__(self, score: str) -> None:
        self._score = score

    def on_epoch_end(self, record: EpochRecord) -> None:
        print(f"Iteration {record.epoch}, loss = {record.metrics['loss']:.8f}")
        if (value := record.metrics.get(self._score)) is not None:
            print(f"Validation score: {value:.6f}")


class MonitorChoice:
    """What is watched of the rows held out: whose best epoch is kept, and what the convergence asks.

    Parameters
    ----------
    monitor : None for the estimator's score, a name in the history, or a Metric
    score : the metric that the estimator's ``score`` measures; recorded in any case
    loss : of the net
    """

    def __init__(self, monitor: str | Metric | None, score: str, loss: Loss) -> None:
        self.metrics: list[str | Metric] = [score]
        if isinstance(monitor, Metric):
            self.metrics.append(monitor)
            self.name = f"valid_{monitor.name}"
        else:
            self.name = f"valid_{score}" if monitor is None else monitor
        if (short := self.name.removeprefix("valid_")) != self.name and short not in {
            "loss", loss.metric, *(getattr(m, "name", m) for m in self.metrics)
        }:  # fmt: skip
            self.metrics.append(short)
        further = find_metrics(self.metrics, loss)[1]
        known = self.name in {f"valid_{metric.name}" for metric in further} or short_name(self.name) in HIGHER_IS_BETTER
        self.higher_is_better = known and direction_of(self.name, further)  # a fit refuses a name that is not known


def trainer_of(
    estimator: Any,
    net: Network,
    rows: int,
    seed: int,
    watched: MonitorChoice | None = None,
    *,
    one_epoch: bool = False,
    fold_epochs: int | None = None,
    fold_of: int = 1,
) -> tuple[Trainer, Convergence | None]:
    """What trains an estimator's net on so many rows, and what decides when it has converged.

    The net of a fold is trained for ``fold_epochs``, as many as the estimator's own were, with as many steps in each as
    the ``fold_of`` rows of the fit had, and nobody is told of it.
    """
    recipe, of_fold = estimator._recipe, fold_epochs is not None
    if not of_fold and not is_auto(asked := estimator.batch_size) and whole_number("batch_size", asked) > rows:
        warnings.warn(f"batch_size {asked} came for {rows} rows: they are one batch", stacklevel=5)
    batch_size = _batch_size(estimator, fold_of if of_fold else rows, recipe)
    solver_state = SolverState() if of_fold else estimator._solver_state
    if of_fold:  # 64 rows of 80 would be one batch for two, and their net half trained
        batch_size = math.ceil(rows / plan_batches(fold_of, batch_size).count)
    epochs = 1 if one_epoch else epochs_of(estimator, recipe)
    schedule = schedule_of(estimator, rows, batch_size, solver_state, one_epoch=one_epoch)
    optimizer = optimizer_of(estimator, schedule, epochs=epochs, steps=epochs * plan_batches(rows, batch_size).count)
    if not solver_state.moments.fits(optimizer.moment_names(), net.parameter_arena):  # another solver
        solver_state = estimator._solver_state = SolverState()
    # A cosine falls to 0 at the end of the last epoch: there is nothing to stop for but rows held out. Of an epoch of
    # its own it is asked alone whether the rate is to fall.
    asked = isinstance(schedule, Adaptive) if one_epoch else bool(watched) or estimator.learning_rate != "cosine"
    convergence = None
    if asked and estimator.solver != "lbfgs":
        convergence = solver_state.convergence = Convergence(
            watched.name if watched else "loss",
            higher_is_better=bool(watched and watched.higher_is_better),
            tol=estimator.tol,
            patience=estimator.n_iter_no_change,
            schedule=schedule,
            before=solver_state.convergence,
        )
    callbacks = list(estimator.callbacks or ()) if fold_epochs is None else [StopAfter(fold_epochs)]
    if estimator.verbose and not of_fold and not sys.stderr.isatty():  # where there is a terminal, a progress line is
        callbacks.append(IterationLines(f"valid_{estimator._score_metric}"))
    trainer = Trainer(
        net,
        optimizer,
        batch_size=batch_size,
        seed=seed + estimator.t_,
        epochs=epochs,
        shuffle=bool(estimator.shuffle),
        monitor=watched.name if watched else None,
        metrics=watched.metrics if watched else not of_fold,
        progress=bool(estimator.verbose) and not of_fold,
        l2=alpha_of(estimator, recipe),
        moments=solver_state.moments,
        callbacks=[*callbacks, *([convergence] if convergence else [])],
    )
    return trainer, convergence


def _batch_size(estimator: Any, rows: int, recipe: Recipe) -> int:
    asked = estimator.batch_size
    return min(rows, recipe.batch_size if is_auto(asked) else int(asked))
