"""The trainers of an estimator: of its net, and of the nets of the folds that ``shrink`` learns from."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from chainrule.backends import Backend
from chainrule.estimators.convergence import Convergence, MonitorChoice
from chainrule.estimators.fit_callbacks import IterationLines, StopAfter
from chainrule.estimators.learning_rates import Adaptive, schedule_of
from chainrule.estimators.parameters import SOLVERS, Parameters, choices_of, initial_rate
from chainrule.estimators.presets import refuse_what_contradicts
from chainrule.nn.losses.names import Task
from chainrule.nn.metric_names import LEFT_OUT
from chainrule.nn.network import Network
from chainrule.optim.base import Moments, Optimizer
from chainrule.optim.schedules import Schedule
from chainrule.options import one_of
from chainrule.train.building import Updates, build_optimizer, build_trainer
from chainrule.train.feeding.batch_plan import plan_batches
from chainrule.train.recipe import LEARNING_RATE, Choices, Preset, Recipe, Settings, resolve, resolve_preset
from chainrule.train.records.callbacks import Callback, EpochFunction
from chainrule.train.records.progress_displays import has_bar
from chainrule.train.trainer import Trainer


@dataclass
class SolverState:
    """The state of a solver after a fit: the next ``partial_fit`` continues from it, while ``fit`` begins again.

    Parameters
    ----------
    moments : of the optimiser, with the number of its steps
    present : the rate of an :class:`Adaptive` schedule, once it is another than the first
    convergence : the best so far, and for how many epochs
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


class FitPlan(NamedTuple):
    """What trains the estimator's net.

    Parameters
    ----------
    trainer : which trains it
    convergence : says afterwards whether the fit has converged; None if nothing was asked
    state : of the solver, that the trainer continues from and changes
    """

    trainer: Trainer
    convergence: Convergence | None
    state: SolverState


def settings_of(
    parameters: Parameters, rows: int, recipe: Recipe, *, preset: Preset | None, task: Task, one_epoch: bool
) -> Settings:
    """The settings of a fit to so many rows, by a ``preset`` if there is one. ``one_epoch``: of a ``partial_fit``."""
    choices = choices_of(parameters, preset)
    return _resolved(parameters, rows, recipe, replace(choices, epochs=1) if one_epoch else choices, task)


def _fold_settings(parameters: Parameters, rows: int, recipe: Recipe, rows_of_fit: int) -> Settings:
    """Of the net of a fold: as many steps per epoch as the fit has.

    64 rows of 80 would be one batch instead of two, and their net half trained.
    """
    choices = choices_of(parameters, None)
    batch_size = _resolved(parameters, rows_of_fit, recipe, choices).batch_size
    steps = plan_batches(rows_of_fit, batch_size).count
    return _resolved(parameters, rows, recipe, replace(choices, batch_size=math.ceil(rows / steps)))


def _resolved(parameters: Parameters, rows: int, recipe: Recipe, choices: Choices, task: Task = "regress") -> Settings:
    if choices.preset is not None:
        refuse_what_contradicts(choices.preset, parameters)
        settings = resolve_preset(choices, rows, task=task, lr=initial_rate(parameters))
        return replace(settings, batch_size=min(rows, settings.batch_size))
    settings = resolve(
        choices,
        rows,
        optimizer="adamw" if one_of("solver", parameters.solver, SOLVERS) == "adam" else parameters.solver,
        lr=initial_rate(parameters) or LEARNING_RATE,
        recipe=recipe,
    )
    return replace(settings, batch_size=min(rows, settings.batch_size))


def plan_fit(
    parameters: Parameters,
    net: Network,
    settings: Settings,
    state: SolverState,
    rows: int,
    seed: int,
    *,
    seen: int,
    monitor: MonitorChoice | None,
    one_epoch: bool,
    score: str,
    leaves_out: bool = False,
) -> FitPlan:
    """What trains an estimator's net on so many rows.

    Parameters
    ----------
    state : of the solver; a new one takes its place if it is of another solver
    seen : rows by the fits before
    monitor : of held-out rows; None without
    one_epoch : whether it is a ``partial_fit``
    score : the name of the estimator's score
    leaves_out : whether members of an ensemble leave out rows, which choose the epoch
    """
    schedule = schedule_of(
        parameters,
        settings.lr or initial_rate(parameters) or LEARNING_RATE,
        rows,
        settings.batch_size,
        one_epoch=one_epoch,
        present=state.present,
        seen=seen,
        is_new=state.is_new,
    )
    optimizer = _optimizer(parameters, schedule, settings)
    if not state.moments.fits(optimizer.moment_names(), net.parameter_arena):  # another solver
        state = SolverState()
    # A cosine falls to 0 at the end of the last epoch: there is nothing to stop for but held-out rows. Of a single
    # epoch only "adaptive" is asked, whether the rate is to fall.
    asked = isinstance(schedule, Adaptive) if one_epoch else bool(monitor) or parameters.learning_rate != "cosine"
    convergence = None
    if asked and parameters.solver != "lbfgs":
        convergence = state.convergence = _convergence(parameters, schedule, monitor, state.convergence)
    trainer = build_trainer(
        net,
        optimizer,
        settings,
        seed=seed + seen,
        shuffle=bool(parameters.shuffle),
        monitor=monitor.name if monitor else LEFT_OUT if leaves_out else None,
        metrics=monitor.metrics if monitor else True,
        progress=bool(parameters.verbose) and has_bar(),
        moments=state.moments,
        threads=parameters.threads,
        callbacks=[*_callbacks(parameters, score), *([convergence] if convergence else [])],
    )
    return FitPlan(trainer, convergence, state)


def _callbacks(parameters: Parameters, score: str) -> list[Callback | EpochFunction]:
    callbacks: list[Callback | EpochFunction] = list(parameters.callbacks or ())
    if parameters.verbose and not has_bar():  # the lines of scikit-learn, on stdout, in the place of ours
        callbacks.append(IterationLines(f"valid_{score}"))
    return callbacks


def fold_trainer(
    parameters: Parameters,
    net: Network,
    recipe: Recipe,
    rows: int,
    seed: int,
    *,
    seen: int,
    epochs: int,
    rows_of_fit: int,
) -> Trainer:
    """What trains the net of a fold, of which nobody is told.

    Parameters
    ----------
    epochs : of the estimator's own net
    rows_of_fit : that the estimator's own net was trained on
    """
    settings = _fold_settings(parameters, rows, recipe, rows_of_fit)
    lr = settings.lr or initial_rate(parameters) or LEARNING_RATE
    schedule = schedule_of(
        parameters, lr, rows, settings.batch_size, one_epoch=False, present=[], seen=seen, is_new=True
    )
    callbacks: list[Callback | EpochFunction] = [StopAfter(epochs)]
    if parameters.learning_rate != "cosine" and parameters.solver != "lbfgs":
        callbacks.append(_convergence(parameters, schedule, None, None))
    return build_trainer(
        net,
        _optimizer(parameters, schedule, settings),
        settings,
        seed=seed + seen,
        shuffle=bool(parameters.shuffle),
        metrics=False,
        moments=Moments(),
        threads=parameters.threads,
        callbacks=callbacks,
    )


def warn_of_batch_size(parameters: Parameters, rows: int) -> None:
    """A UserWarning at the line that called ``fit``, if the user's batch has more rows than there are."""
    asked = choices_of(parameters, None).batch_size
    if not isinstance(asked, str) and asked > rows:
        warnings.warn(f"batch_size is {asked}, for {rows} rows: they are one batch", stacklevel=5)


def _optimizer(parameters: Parameters, schedule: Schedule, settings: Settings) -> Optimizer:
    """``alpha`` is no part of it: it stands in the loss."""
    is_adamw = parameters.solver == "adam" and settings.weight_decay
    updates = Updates(
        optimizer="adamw" if is_adamw else parameters.solver,
        schedule=schedule,
        momentum=parameters.momentum,
        nesterov=bool(parameters.nesterovs_momentum),
        beta1=parameters.beta_1,
        beta2=parameters.beta_2,
        eps=parameters.epsilon,
        eps_hat=True,
        tolerance=parameters.tol,
        max_evaluations=parameters.max_fun,
    )
    return build_optimizer(updates, weight_decay=settings.weight_decay, iterations=settings.epochs)


def _convergence(
    parameters: Parameters, schedule: Schedule, monitor: MonitorChoice | None, before: Convergence | None
) -> Convergence:
    return Convergence(
        monitor.name if monitor else "loss",
        higher_is_better=bool(monitor and monitor.higher_is_better),
        tol=parameters.tol,
        patience=parameters.n_iter_no_change,
        schedule=schedule,
        before=before,
    )
