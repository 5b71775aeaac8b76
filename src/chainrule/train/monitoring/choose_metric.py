"""Which metric of a fit is monitored, of those that its history will have."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np

from chainrule.errors import OptionError
from chainrule.nn.evaluation import is_by_column
from chainrule.nn.inputs.row_checks import weights_of_all
from chainrule.nn.inputs.rows import Rows
from chainrule.nn.losses.baselines import never_changes
from chainrule.nn.losses.names import Loss
from chainrule.nn.metric_names import LEFT_OUT, VALID, short_name
from chainrule.nn.network import Network
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.monitoring.early_stopping import BestEpoch
from chainrule.train.monitoring.monitored_metric import MetricCandidate, MonitoredMetric
from chainrule.train.monitoring.validation_metrics import Metric, built_in, direction_of
from chainrule.train.records.run import Run
from chainrule.train.settings import TrainingSettings


def history_names(
    settings: TrainingSettings, loss: Loss, *, with_validation: bool, with_left_out: bool = False
) -> list[str]:
    """The names in the history.

    The metric of the training rows comes out of the totals of the steps, which add up the errors of several target
    columns: if it is a mean over these, it is recorded of validation rows alone.
    """
    usual = [metric for metric in (loss.metric,) if metric]  # a loss may have none
    found = ["loss", *(usual if settings.metrics and not is_by_column(loss) else [])]
    if with_left_out:
        found.append(LEFT_OUT)
    if with_validation:
        found += [f"{VALID}{name}" for name in ("loss", *usual, *(metric.name for metric in settings.valid_metrics))]
    return [*found, "lr", "seconds"]


def monitor_name(settings: TrainingSettings) -> str:
    """The metric that is monitored, if any is."""
    stopping = settings.early_stopping
    return settings.monitor or (stopping.monitor if stopping else "valid_loss")


class MetricChoice:
    """Finds the metrics of a fit that are monitored: for its best epoch, and for a Plateau.

    Parameters
    ----------
    net, settings : that are trained, and how
    rows, held_out : to train on, and for validation or None
    with_left_out : whether members of an ensemble do not see some of the rows
    """

    def __init__(
        self,
        net: Network,
        settings: TrainingSettings,
        rows: Rows | HostRows,
        held_out: Rows | None,
        *,
        with_left_out: bool = False,
    ) -> None:
        self._net, self._settings, self._rows, self._held_out = net, settings, rows, held_out
        self.history_names = history_names(
            settings, net.loss, with_validation=held_out is not None, with_left_out=with_left_out
        )
        self.known = self.history_names[:-2]  # what may be monitored: no rate and no time

    def of_best_epoch(self) -> MonitoredMetric | None:
        """The metric whose best epoch is kept; None if none is. OptionError for a name that is not ``known``."""
        settings, stopping = self._settings, self._settings.early_stopping
        if self._held_out is None and stopping is None and settings.monitor is None:
            return None
        monitor = monitor_name(settings)
        if monitor not in self.known:
            raise self._unknown(monitor)
        return self.of_name(monitor, stopping.min_delta if stopping else 0.0)

    def _unknown(self, monitor: str) -> OptionError:
        loss, needs_rows = self._net.loss, monitor.startswith(VALID) and self._held_out is None
        why = ""
        if monitor == loss.metric and is_by_column(loss):
            why = f": {monitor} of {loss.columns} target columns is recorded of validation rows alone"
        first = "hold rows out (validation=0.2, --valid 0.2) or monitor " if needs_rows else ""
        return OptionError(
            f"monitor: expected a metric that this fit records, got {monitor!r}{why}",
            hint=f"{first}one of {', '.join(self.known)}",
        )

    def of_name(self, monitor: str, min_delta: float = 0.0) -> MonitoredMetric:
        """The metric ``monitor``, better by at least ``min_delta``; the losses while it is undefined or constant."""
        further = self._settings.valid_metrics
        asked = MetricCandidate(
            BestEpoch(monitor, min_delta, higher_is_better=direction_of(monitor, further)),
            silent=self._silent(monitor),
            may_be_constant=_own_metric(monitor, further) is not None,
        )
        others = [name for name in (f"{VALID}loss", "loss") if name in self.known and name != monitor]
        return MonitoredMetric([asked, *(MetricCandidate(BestEpoch(name)) for name in others)])

    def _silent(self, monitor: str) -> str:
        """Why a metric is the same whatever the net predicts for these rows; "" if it is not."""
        name, valid = short_name(monitor), monitor.startswith(VALID)
        if name not in {"r2", "d2", "roc_auc"}:
            return ""
        what = "validation" if valid else "training"
        targets, weights = self._targets(held_out=valid)
        if self._net.loss.task == "multilabel":
            targets = targets > 0.5
        if not never_changes(targets, weights).all():
            return ""
        if name == "roc_auc":
            return f"all {what} rows are of one class"
        return f"the target never changes in the {what} rows"

    def _targets(self, *, held_out: bool) -> tuple[np.ndarray, np.ndarray | None]:
        """Targets and weights of metrics, on the host."""
        rows = self._held_out if held_out else self._rows
        assert rows is not None
        if isinstance(rows, HostRows):
            return rows.targets, weights_of_all(rows.counted)
        be, counted = self._net.backend, rows.counted
        return be.download(rows.targets), None if counted is None else weights_of_all(be.download(counted))


def _own_metric(monitor: str, further: Sequence[Metric]) -> Metric | None:
    """The user's own function that is monitored; None for a metric that the library knows."""
    metric = next((m for m in further if monitor == f"{VALID}{m.name}"), None)
    return None if metric is None or metric in built_in() else metric


def warn_of_silent(monitored: Sequence[MonitoredMetric | None], run: Run, *, ended: bool) -> None:
    """A UserWarning for a monitored metric that tells no epoch from another; once each."""
    for metric in monitored:
        complaint = "" if metric is None else metric.complaint(ended=ended)
        if complaint and complaint not in run.notes:
            run.notes.append(complaint)
            warnings.warn(complaint, stacklevel=6)
