"""The learning rates of one run: the schedule's, and what feedback at the end of an epoch makes of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from chainrule.errors import OptionError
from chainrule.optim.schedules import Plateau, Schedule
from chainrule.train.monitoring.early_stopping import BestEpoch
from chainrule.train.monitoring.monitored_metric import Candidate, MonitoredMetric


class RatesOfRun:
    """Tables of learning rates for the epochs of a run, one number an update.

    A schedule is a pure function of the update's number and stays one. A :class:`Plateau` also depends on the history:
    that part lives here, in a few numbers, :meth:`state`. A run that is resumed comes to them by its history.

    Parameters
    ----------
    schedule : of the optimiser
    metrics : what the history will have; OptionError where a Plateau watches something else
    watch_of : what follows a metric of that name, better by so much; by default that metric alone
    """

    def __init__(
        self,
        schedule: Schedule,
        metrics: Sequence[str],
        watch_of: Callable[[str, float], MonitoredMetric] | None = None,
    ) -> None:
        self.schedule = schedule
        self.reductions = 0
        self._waiting_since = 0  # the epoch (from 1) of the best value or, if that is later, of the last reduction
        self.watch: MonitoredMetric | None = None
        if isinstance(schedule, Plateau):
            monitor = schedule.monitor or ("valid_loss" if "valid_loss" in metrics else "loss")
            if monitor not in metrics:
                raise OptionError(f"there is no {monitor!r} for Plateau to watch", hint=f"one of {', '.join(metrics)}")
            self.watch = (watch_of or _alone)(monitor, schedule.min_delta)

    def rates(self, start: int, count: int, total: int) -> np.ndarray:
        """The rates of updates ``start`` to ``start + count - 1`` of a run of ``total``: (count,) float64."""
        rates, schedule = self.schedule.rates(start, count, total), self.schedule
        if isinstance(schedule, Plateau) and self.reductions:
            rates *= max(schedule.factor**self.reductions, schedule.lowest / schedule.lr)
        return rates

    def end_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Take in the history's entries of an epoch (from 1); the rates of the next one may be lower."""
        if self.watch is None or not isinstance(self.schedule, Plateau):
            return
        if self.watch.improved(epoch, metrics):
            self._waiting_since = epoch
        elif epoch - self._waiting_since >= self.schedule.patience:
            self.reductions += 1
            self._waiting_since = epoch

    def state(self) -> dict[str, float]:
        """What feedback has left so far, in numbers that JSON can hold; nothing for a pure schedule."""
        if self.watch is None or not self.watch.epoch:
            return {}
        return {
            "reductions": self.reductions, "waiting_since": self._waiting_since, "best_epoch": self.watch.epoch,
            "best_value": self.watch.value,
        }  # fmt: skip


def _alone(monitor: str, min_delta: float) -> MonitoredMetric:
    return MonitoredMetric([Candidate(BestEpoch(monitor, min_delta))])
