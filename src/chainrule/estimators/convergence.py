"""scikit-learn's rule of when a fit has converged, and the metric that it goes by."""

from __future__ import annotations

import math
from collections.abc import Sequence

from chainrule.estimators.learning_rates import Adaptive
from chainrule.nn.losses.names import Loss
from chainrule.nn.metric_names import HIGHER_IS_BETTER, short_name
from chainrule.optim.schedules import Schedule
from chainrule.options import real_number, whole_number
from chainrule.train.monitoring.validation_metrics import Metric, direction_of, find_metrics
from chainrule.train.records.callbacks import Callback
from chainrule.train.records.run import EpochRecord


class Convergence(Callback):
    """scikit-learn's rule: stop after more than ``patience`` epochs in a row that were not better by ``tol``.

    Better is a loss below best - tol, or a score from best + tol up, where best is the best of all epochs before.

    Parameters
    ----------
    monitor : a name in the history; if the fit turns to another metric, because this one is undefined or constant, so
        does this
    higher_is_better : of it
    patience : epochs; math.inf for no end
    schedule : an :class:`Adaptive` one is lowered first
    before : of the fit that this one continues
    """

    only_reads = True

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
        """The value of an epoch; a nan is not better."""
        value *= self._sign
        better = value >= self._best + self._tol if self._sign > 0 else -value <= -self._best - self._tol
        self._waited = 0 if better else self._waited + 1
        self._best = max(self._best, value)

    def _follow(self, monitor: str, values: Sequence[float]) -> None:
        """Turn to another metric, as if it had been monitored from the first epoch."""
        asked, sign = self._asked
        self._monitor = monitor
        self._sign = sign if monitor == asked else 1.0 if HIGHER_IS_BETTER[short_name(monitor)] else -1.0
        self._best, self._waited = -math.inf, 0
        for value in values:
            self._take(value)


class MonitorChoice:
    """The metric of the held-out rows whose best epoch is kept, and which convergence goes by.

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
        short = self.name.removeprefix("valid_")
        recorded = {"loss", loss.metric, *(getattr(metric, "name", metric) for metric in self.metrics)}
        if short != self.name and short not in recorded:
            self.metrics.append(short)
        further = find_metrics(self.metrics, loss)[1]
        known = self.name in {f"valid_{metric.name}" for metric in further} or short_name(self.name) in HIGHER_IS_BETTER
        self.higher_is_better = known and direction_of(self.name, further)  # a fit refuses a name that is not known
