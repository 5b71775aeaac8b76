"""Which metric of a fit is watched, of those that there will be."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from chainrule.errors import OptionError
from chainrule.nn.evaluation import is_by_column
from chainrule.nn.inputs.rows import Rows
from chainrule.nn.losses.baselines import never_changes
from chainrule.nn.metric_names import VALID, short_name
from chainrule.nn.network import Network
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.monitoring.early_stopping import BestEpoch
from chainrule.train.monitoring.monitored_metric import Candidate, MonitoredMetric
from chainrule.train.monitoring.validation_metrics import Metric, built_in, direction_of
from chainrule.train.records.run import Run

if TYPE_CHECKING:
    from chainrule.train.trainer import Trainer


class RowsOfFit:
    """The rows to train on and those held out, as far as a watched metric asks for them."""

    def __init__(self, net: Network, rows: Rows | HostRows, held_out: Rows | None) -> None:
        self._backend, self._rows, self.held_out = net.backend, rows, held_out

    def targets(self, *, held_out: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Targets and weights of metrics, on the host."""
        rows = self.held_out if held_out else self._rows
        assert rows is not None
        if isinstance(rows, HostRows):
            return rows.targets, rows.counted
        be, counted = self._backend, rows.counted
        return be.download(rows.targets), None if counted is None else be.download(counted)


def watchable(trainer: Trainer, *, with_validation: bool) -> list[str]:
    """The names in the history that may be watched."""
    return quantities_of(trainer, with_validation=with_validation)[:-2]


def quantities_of(trainer: Trainer, *, with_validation: bool) -> list[str]:
    """The names in the history.

    The metric of the training rows comes out of the totals of the steps, which add up the errors of several target
    columns: where it is a mean over these, there is none of the training rows.
    """
    loss = trainer.net.loss
    usual = [metric for metric in (loss.metric,) if metric]  # a loss may have none
    found = ["loss", *(usual if trainer.metrics and not is_by_column(loss) else [])]
    if with_validation:
        found += [f"{VALID}{name}" for name in ("loss", *usual, *(metric.name for metric in trainer.valid_metrics))]
    return [*found, "lr", "seconds"]


def monitor_of(trainer: Trainer) -> str:
    """The metric that is watched, where one is."""
    stopping = trainer.early_stopping
    return trainer.monitor or (stopping.monitor if stopping else "valid_loss")


def watch_of(trainer: Trainer, known: Sequence[str], rows: RowsOfFit) -> MonitoredMetric | None:
    """What follows the watched metric; None where none is watched. OptionError for one that is not ``known``."""
    stopping, with_validation = trainer.early_stopping, rows.held_out is not None
    if not with_validation and stopping is None and trainer.monitor is None:
        return None
    monitor = monitor_of(trainer)
    if monitor not in known:
        first = "hold rows out with validation=0.2, or watch " if monitor.startswith(VALID) else ""
        loss = trainer.net.loss
        why = ""
        if monitor == loss.metric and is_by_column(loss):
            why = f": {monitor} of {loss.columns} target columns is recorded of validation rows alone"
        raise OptionError(
            f"there is no {monitor!r} to watch here{why}",
            hint=f"{'' if with_validation else first}one of {', '.join(known)}",
        )
    return watch(monitor, trainer, known, rows, min_delta=stopping.min_delta if stopping else 0.0)


def watch(
    monitor: str, trainer: Trainer, known: Sequence[str], rows: RowsOfFit, *, min_delta: float = 0.0
) -> MonitoredMetric:
    """What follows ``monitor``, and the losses where it says nothing."""
    further = trainer.valid_metrics
    asked = Candidate(
        BestEpoch(monitor, min_delta, higher_is_better=direction_of(monitor, further)),
        silent=_silent(monitor, trainer.net, rows),
        may_be_constant=_own_metric(monitor, further) is not None,
    )
    others = [name for name in (f"{VALID}loss", "loss") if name in known and name != monitor]
    return MonitoredMetric([asked, *(Candidate(BestEpoch(name)) for name in others)])


def _own_metric(monitor: str, further: Sequence[Metric]) -> Metric | None:
    """The function of the user's own that is watched; None for a metric that the library knows."""
    metric = next((m for m in further if monitor == f"{VALID}{m.name}"), None)
    return None if metric is None or metric in built_in() else metric


def _silent(monitor: str, net: Network, rows: RowsOfFit) -> str:
    """Why a metric is the same whatever the net says of these rows; "" where it is not."""
    name, valid = short_name(monitor), monitor.startswith(VALID)
    if name not in {"r2", "d2", "roc_auc"}:
        return ""
    what = "validation" if valid else "training"
    targets, weights = rows.targets(held_out=valid)
    if net.loss.task == "multilabel":
        targets = targets > 0.5
    if not never_changes(targets, weights).all():
        return ""
    return f"all {what} rows are of one class" if name == "roc_auc" else f"the target never changes in the {what} rows"


def warn_of_silent(watches: Sequence[MonitoredMetric | None], run: Run, *, ended: bool) -> None:
    """A UserWarning for a metric that is watched and tells no epoch from another; once each."""
    for watched in watches:
        complaint = "" if watched is None else watched.complaint(ended=ended)
        if complaint and complaint not in run.notes:
            run.notes.append(complaint)
            warnings.warn(complaint, stacklevel=6)
