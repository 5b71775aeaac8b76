"""The learning rates of one run: those of the schedule, and what feedback at the end of an epoch makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from chainrule.errors import OptionError
from chainrule.optim.schedules import Plateau, Schedule
from chainrule.train.monitoring.early_stopping import BestEpoch
from chainrule.train.monitoring.monitored_metric import MetricCandidate, MonitoredMetric


class RatesOfRun:
    """Tables of learning rates for the epochs of a run, one number per update.

    A schedule is a pure function of the update's number and stays one. A :class:`Plateau` also depends on the history:
    that part is here, in a few numbers (:meth:`state`), which a resumed run computes from its history once more.

    Parameters
    ----------
    schedule : of the optimiser
    metrics : what the history will have; OptionError if a Plateau monitors something else
    metric_of : makes the MonitoredMetric of a name and a ``min_delta``; by default of that metric alone
    """

    def __init__(
        self,
        schedule: Schedule,
        metrics: Sequence[str],
        metric_of: Callable[[str, float], MonitoredMetric] | None = None,
    ) -> None:
        self.schedule = schedule
        self.reductions = 0
        self._waiting_since = 0  # the epoch (from 1) of the best value or, if that is later, of the last reduction
        self.metric: MonitoredMetric | None = None  # of a Plateau
        if isinstance(schedule, Plateau):
            monitor = schedule.monitor or ("valid_loss" if "valid_loss" in metrics else "loss")
            if monitor not in metrics:
                raise OptionError(
                    f"monitor of Plateau: expected a metric that this fit records, got {monitor!r}",
                    hint=f"one of {', '.join(metrics)}",
                )
            self.metric = (metric_of or _alone)(monitor, schedule.min_delta)

    def rates(self, start: int, count: int, total: int) -> np.ndarray:
        """The rates of updates ``start`` to ``start + count - 1`` of a run of ``total``: (count,) float64."""
        rates, schedule = self.schedule.rates(start, count, total), self.schedule
        if isinstance(schedule, Plateau) and self.reductions:
            rates *= max(schedule.factor**self.reductions, schedule.lowest / schedule.lr)
        return rates

    def rate(self, step: int, total: int) -> float:
        """The rate of update ``step`` of a run of ``total``."""
        return float(self.rates(max(0, step), 1, total)[0])

    def end_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Take in the history's entries of an epoch (from 1); the rates of the next one may be lower."""
        if self.metric is None or not isinstance(self.schedule, Plateau):
            return
        if self.metric.improved(epoch, metrics):
            self._waiting_since = epoch
        elif epoch - self._waiting_since >= self.schedule.patience:
            self.reductions += 1
            self._waiting_since = epoch

    def state(self) -> dict[str, float]:
        """What feedback has left so far, in numbers that JSON can hold; nothing for a pure schedule."""
        if self.metric is None or not self.metric.epoch:
            return {}
        return {
            "reductions": self.reductions,
            "waiting_since": self._waiting_since,
            "best_epoch": self.metric.epoch,
            "best_value": self.metric.value,
        }


def _alone(monitor: str, min_delta: float) -> MonitoredMetric:
    return MonitoredMetric([MetricCandidate(BestEpoch(monitor, min_delta))])
