"""What comes of a fit: the Run at its end, an EpochRecord on the way."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from chainrule.nn.network import Network
from chainrule.train.history import History


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
