"""The outcome of a fit, the Run, and what callbacks are told on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from chainrule.nn.network import Network
from chainrule.plain_text import count_of
from chainrule.train.diagnosis.findings import Diagnosis
from chainrule.train.out_of_fold.predictions import OutOfFoldPart
from chainrule.train.records.history import History
from chainrule.train.records.kept import Kept
from chainrule.train.settings import TrainingSettings
from chainrule.train.shrinkage.outcome import Shrinkage

UNSHOWN = {"lr", "seconds"}  # of the history, in the repr of a Run


@dataclass(repr=False)
class Run:
    """The outcome of :meth:`Trainer.fit`.

    Attributes
    ----------
    history : History, {metric: one number per epoch}
    stopped : why the fit ended: "completed", "early" (early stopping), "interrupted" (Ctrl+C, ``Trainer.stop``),
        "callback" (one asked to stop); "diverged" and "failed" are seen in ``on_end``, and by the code that catches the
        error
    best_epoch : int, from 1, the epoch whose weights the net has; 0 if no metric was monitored
    kept : Kept, whose ``str`` says which weights the net has, and why: "epoch 37 of 50: lowest valid_loss 0.123", "the
        last epoch's weights"
    steps : int, updates of the parameters
    seconds : float, the duration of the fit
    converged : bool, of an LBFGS: whether it ended by itself, before ``max_iterations`` and ``max_evaluations``; None
        for other optimisers
    diagnosis : Diagnosis with ``fit(diagnose=True)``, else None
    out_of_fold : list of OutOfFoldPart with ``fit(left_out=...)``: what members of an ensemble predict for the rows
        that they did not see; else None
    shrinkage : Shrinkage with ``Trainer(shrink=True)`` and validation rows, else None
    execution : dict, how it was computed: the ``implementation``, the ``threads`` that a step was divided among, and
        the ``blas threads``
    notes : list of str, the warnings: a monitored metric that says nothing
    """

    history: History = field(default_factory=History)
    stopped: Literal["completed", "early", "interrupted", "callback", "diverged", "failed"] = "completed"
    best_epoch: int = 0
    kept: Kept = field(default_factory=Kept)
    steps: int = 0
    seconds: float = 0.0
    converged: bool | None = None
    diagnosis: Diagnosis | None = None
    out_of_fold: list[OutOfFoldPart] | None = None
    shrinkage: Shrinkage | None = None
    execution: dict[str, str | int] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __repr__(self) -> str:
        kept = f", kept {self.kept}" if self.kept.epoch else ""
        last = "".join(f", {name} {values[-1]:.4g}" for name, values in self.history.items() if name not in UNSHOWN)
        size = f"{count_of(self.history.epochs, 'epoch')}, {count_of(self.steps, 'step')} in {self.seconds:.3g} s"
        return f"<Run: {self.stopped}, {size}{kept}{last}>"


class StartRecord(NamedTuple):
    """What a callback is told before the first step.

    Attributes
    ----------
    settings : TrainingSettings, the options of the Trainer
    net : Network, which is trained
    run : Run, the one that ``fit`` will return: its history grows as the epochs end
    rows : int, to train on
    valid_rows : int, held out; 0 for none
    steps_per_epoch : int, updates of the parameters
    stop : function without arguments; ends the fit within a few steps, and may be called by a signal handler, as
        ``Trainer.stop``
    """

    settings: TrainingSettings
    net: Network
    run: Run
    rows: int
    valid_rows: int
    steps_per_epoch: int
    stop: Callable[[], None]


class StepRecord(NamedTuple):
    """What a callback is told after a step that it asked for.

    Attributes
    ----------
    step : int, updates so far
    epoch : int, the one that the step belongs to, from 1
    loss : float, of the step's batch, before its update
    lr : float, the learning rate of the update
    stop : function without arguments; ends the fit now: the epoch that has begun is not recorded
    """

    step: int
    epoch: int
    loss: float
    lr: float
    stop: Callable[[], None]


class EpochRecord(NamedTuple):
    """What a callback is told at the end of an epoch.

    Attributes
    ----------
    epoch : int, from 1
    epochs : int, how many the fit has at most
    metrics : {name: float}, this epoch's entries of the history
    improved : bool, whether it is the best epoch so far by the monitored metric
    net : Network, which is trained
    history : History, of all epochs so far
    stop : function without arguments; ends the fit after this epoch
    monitor : str, the metric that decides at present which epoch is best; "" if none is monitored
    """

    epoch: int
    epochs: int
    metrics: dict[str, float]
    improved: bool
    net: Network
    history: History
    stop: Callable[[], None]
    monitor: str = ""
