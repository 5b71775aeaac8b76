"""The weights of the best epoch, in memory that is laid out before the first step."""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.arena import Arena
from chainrule.train.monitoring.monitored_metric import MonitoredMetric


class BestWeights:
    """Keeps the parameters of the epoch that a MonitoredMetric finds the best.

    Parameters
    ----------
    watch : says which epoch that is
    parameters : like which memory is laid out
    """

    def __init__(self, watch: MonitoredMetric, parameters: Arena) -> None:
        self.watch, self.arena = watch, parameters.like()
        self._aside = parameters.like() if watch.may_return else None

    def improved(self, epoch: int, metrics: Mapping[str, float], now: Arena) -> bool:
        """Take in an epoch (from 1), its metrics and its parameters; True where it is the best so far."""
        watch, was_aside = self.watch, self.watch.keeps_aside
        improved = watch.improved(epoch, metrics)
        if improved:
            _copy(now, self.arena)
        if self._aside is not None:
            if watch.is_aside(epoch):
                _copy(now, self._aside)
            elif was_aside and not watch.keeps_aside and not improved:  # an epoch before was the best after all
                _copy(self._aside, self.arena)
        return improved

    def arenas(self) -> dict[str, Arena]:
        """By name, what is kept at present."""
        found = {"best": self.arena} if self.watch.epoch else {}
        if self._aside is not None and self.watch.keeps_aside:
            found["aside"] = self._aside
        return found


def _copy(source: Arena, target: Arena) -> None:
    source.backend.copy(source.flat, out=target.flat)
