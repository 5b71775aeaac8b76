"""The outcome of a fit, the Run, and what callbacks are told on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from chainrule.nn.network import Network
from chainrule.train.diagnosis.findings import Diagnosis
from chainrule.train.records.history import History
from chainrule.train.settings import TrainingSettings
from chainrule.train.shrinkage.outcome import Shrinkage

UNSHOWN = {"lr", "seconds"}  # of the history, in the repr of a Run


@dataclass(repr=False)
class Run:
    """The outcome of :meth:`Trainer.fit`."""

    history: History = field(default_factory=History)
    # "callback": one asked to stop; "diverged" and "failed" are seen in on_end, and by the code that catches the error.
    stopped: Literal["completed", "early", "interrupted", "callback", "diverged", "failed"] = "completed"
    best_epoch: int = 0  # from 1; 0 if no metric was monitored. Its weights are the net's.
    steps: int = 0
    seconds: float = 0.0
    converged: bool | None = None  # of an LBFGS: whether it ended by itself, before max_iterations and max_evaluations
    diagnosis: Diagnosis | None = None  # with fit(diagnose=True)
    shrinkage: Shrinkage | None = None  # with Trainer(shrink=True) and validation rows
    notes: list[str] = field(default_factory=list)  # the warnings: a monitored metric that says nothing

    def __repr__(self) -> str:
        best = f", best epoch {self.best_epoch}" if self.best_epoch else ""
        last = "".join(f", {name} {values[-1]:.4g}" for name, values in self.history.items() if name not in UNSHOWN)
        size = f"{self.history.epochs} epochs, {self.steps} steps in {self.seconds:.3g} s"
        return f"<Run: {self.stopped}, {size}{best}{last}>"


class StartRecord(NamedTuple):
    """What a callback is told before the first step."""

    settings: TrainingSettings
    net: Network
    run: Run  # the one that fit will return: its history grows as the epochs end
    rows: int  # to train on
    valid_rows: int  # held out; 0 for none
    steps_per_epoch: int
    stop: Callable[[], None]  # end the fit within a few steps; may be called by a signal handler, as ``Trainer.stop``


class StepRecord(NamedTuple):
    """What a callback is told after a step that it asked for."""

    step: int  # updates so far
    epoch: int  # the one that the step belongs to, from 1
    loss: float  # of the step's batch, before its update
    lr: float
    stop: Callable[[], None]  # end the fit now; the epoch that has begun is not recorded


class EpochRecord(NamedTuple):
    """What a callback is told at the end of an epoch."""

    epoch: int  # from 1
    epochs: int
    metrics: dict[str, float]  # this epoch's entries of the history
    improved: bool  # the best epoch so far by the monitored metric
    net: Network
    history: History  # of all epochs so far
    stop: Callable[[], None]  # end the fit after this epoch
    monitor: str = ""  # the metric that decides at present which epoch is best; "" if none is monitored
