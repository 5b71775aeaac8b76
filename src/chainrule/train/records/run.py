"""What comes of a fit: the Run at its end, and what callbacks are told on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NamedTuple

from chainrule.nn.network import Network
from chainrule.train.records.history import History

if TYPE_CHECKING:
    from chainrule.train.diagnosis.findings import Diagnosis
    from chainrule.train.shrinkage import Shrinkage
    from chainrule.train.trainer import Trainer


@dataclass
class Run:
    """The outcome of :meth:`Trainer.fit`."""

    history: History = field(default_factory=History)
    # "callback": one asked to stop; "diverged" and "failed" are seen in on_end, and by who catches the error.
    stopped: Literal["completed", "early", "interrupted", "callback", "diverged", "failed"] = "completed"
    best_epoch: int = 0  # from 1; 0 where no metric was watched. Its weights are the net's.
    steps: int = 0
    seconds: float = 0.0
    converged: bool | None = None  # of an LBFGS: by itself, not at max_iterations or max_evaluations
    diagnosis: Diagnosis | None = None  # with fit(diagnose=True)
    shrinkage: Shrinkage | None = None  # with Trainer(shrink=True) and validation rows
    notes: list[str] = field(default_factory=list)  # what was warned of: a watched metric that says nothing


class StartRecord(NamedTuple):
    """What a callback is told before the first step."""

    trainer: Trainer  # its settings
    net: Network
    run: Run  # the one that fit will return: its history grows as the epochs end
    rows: int  # to train on
    valid_rows: int  # held out; 0 for none
    steps_an_epoch: int


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
    improved: bool  # the best epoch so far by the watched metric
    net: Network
    history: History  # of all epochs so far
    stop: Callable[[], None]  # end the fit after this epoch
    watched: str = ""  # the metric that decides at present which epoch is best; "" where none is watched
