"""The weights of the best epoch, in memory that is laid out before the first step."""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.arena import Arena
from chainrule.train.monitoring.monitored_metric import MonitoredMetric


class BestWeights:
    """Keeps the parameters of the epoch that a MonitoredMetric finds the best.

    Parameters
    ----------
    metric : says which epoch that is
    parameters : an arena with the layout of those that will be kept
    """

    def __init__(self, metric: MonitoredMetric, parameters: Arena) -> None:
        self.metric, self.arena = metric, parameters.like()
        self._aside = parameters.like() if metric.may_return else None

    def improved(self, epoch: int, metrics: Mapping[str, float], now: Arena) -> bool:
        """Take in an epoch (from 1), its metrics and its parameters; True if it is the best so far."""
        metric, was_aside = self.metric, self.metric.keeps_aside
        improved = metric.improved(epoch, metrics)
        if improved:
            _copy(now, self.arena)
        if self._aside is not None:
            if metric.is_aside(epoch):
                _copy(now, self._aside)
            elif was_aside and not metric.keeps_aside and not improved:  # an earlier epoch was the best after all
                _copy(self._aside, self.arena)
        return improved

    def arenas(self) -> dict[str, Arena]:
        """What is kept at present, by the names that it has in a checkpoint."""
        found = {"best": self.arena} if self.metric.epoch else {}
        if self._aside is not None and self.metric.keeps_aside:
            found["aside"] = self._aside
        return found


def _copy(source: Arena, target: Arena) -> None:
    source.backend.copy(source.flat, out=target.flat)
