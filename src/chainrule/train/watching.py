"""Which metric of a fit is watched, of those that there will be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from chainrule.errors import OptionError
from chainrule.train.early_stopping import BestEpoch
from chainrule.train.valid_metrics import higher_is_better

if TYPE_CHECKING:
    from chainrule.train.trainer import Trainer


def watchable(trainer: Trainer, *, with_validation: bool) -> list[str]:
    """The names in the history that may be watched."""
    usual = [metric for metric in (trainer.net.loss.metric,) if metric]  # a loss may have none
    known = ["loss", *(usual if trainer.metrics else [])]
    if not with_validation:
        return known
    further = [metric.name for metric in trainer.valid_metrics]
    return [*known, "valid_loss", *(f"valid_{name}" for name in usual + further)]


def quantities_of(trainer: Trainer, *, with_validation: bool) -> list[str]:
    """The names in the history."""
    usual = [metric for metric in (trainer.net.loss.metric,) if metric]
    found = ["loss", *(usual if trainer.metrics else [])]
    if with_validation:
        found += [f"valid_{name}" for name in ("loss", *usual, *(metric.name for metric in trainer.valid_metrics))]
    return [*found, "lr", "seconds"]


def monitor_of(trainer: Trainer) -> str:
    """The metric that is watched, where one is."""
    stopping = trainer.early_stopping
    return trainer.monitor or (stopping.monitor if stopping else "valid_loss")


def best_epoch_of(trainer: Trainer, known: Sequence[str], *, with_validation: bool) -> BestEpoch | None:
    """What follows the watched metric; None where none is watched. OptionError for one that is not ``known``."""
    stopping = trainer.early_stopping
    if not with_validation and stopping is None and trainer.monitor is None:
        return None
    monitor = monitor_of(trainer)
    if monitor not in known:
        first = "hold rows out with validation=0.2, or watch " if monitor.startswith("valid_") else ""
        raise OptionError(
            f"there is no {monitor!r} to watch here",
            hint=f"{'' if with_validation else first}one of {', '.join(known)}",
        )
    higher = higher_is_better(monitor, trainer.valid_metrics)
    return BestEpoch(monitor, stopping.min_delta if stopping else 0.0, higher_is_better=higher)
