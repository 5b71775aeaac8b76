"""The monitored metric of a fit, and what is monitored in its place as long as it is undefined or constant."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from chainrule.train.monitoring.early_stopping import BestEpoch


@dataclass
class MetricCandidate:
    """A metric that may decide, and whether it has said anything yet.

    Parameters
    ----------
    best : its best epoch so far
    silent : why it never says anything, if that is known before the first epoch; else ""
    may_be_constant : whether it is a function of the user's own, which decides nothing if all its values are the same
    """

    best: BestEpoch
    silent: str = ""
    may_be_constant: bool = False
    first: float = math.nan  # of its finite values
    speaks: bool = False
    epochs: int = 0

    def improved(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Take in an epoch; True if it is the best so far."""
        value = metrics.get(self.best.monitor, 0.0)
        self.epochs = epoch
        if not math.isfinite(value):
            return False
        if not self.silent:
            self.speaks = self.speaks or not self.may_be_constant or (math.isfinite(self.first) and value != self.first)
        self.first = self.first if math.isfinite(self.first) else value
        return self.best.improved(epoch, metrics)

    def complaint(self, *, ended: bool) -> str:
        """Why it does not decide, or, if the fit has ended, did not; "" if there is nothing to complain about."""
        if self.silent or self.speaks or not ended or not self.epochs:
            return self.silent
        if not math.isfinite(self.first):
            return f"it had no finite value in any of {self.epochs} epochs"
        return f"it was {self.first:g} in each of {self.epochs} epochs" if self.epochs > 1 else ""


class MonitoredMetric:
    """Follows the first of several metrics that is defined and not constant. ``epoch`` is the best so far (from 1; 0
    for none).

    A metric is undefined if it is nan or infinite; it is constant if it is known that it never changes (the r2 of one
    target value), or, for a function of the user's own, if it was the same in all epochs so far. An epoch in which it
    is nan is never the best. As soon as it is neither, it alone decides, also about the epochs before.

    Parameters
    ----------
    candidates : the metric that was asked for, then those that stand in for it, in this order
    """

    def __init__(self, candidates: Sequence[MetricCandidate]) -> None:
        self._candidates = list(candidates)

    @property
    def _deciding(self) -> MetricCandidate:
        return next((c for c in self._candidates if c.speaks), self._candidates[0])

    @property
    def monitor(self) -> str:
        """The metric that decides at present; before the first epoch the one that will decide first."""
        if not any(c.speaks for c in self._candidates):
            return next((c for c in self._candidates if not c.silent), self._candidates[0]).best.monitor
        return self._deciding.best.monitor

    @property
    def higher_is_better(self) -> bool:
        """Of :attr:`monitor`."""
        return next(c.best.higher_is_better for c in self._candidates if c.best.monitor == self.monitor)

    @property
    def epoch(self) -> int:
        """The best so far; 0 for none."""
        return self._deciding.best.epoch if self._deciding.speaks else 0

    @property
    def value(self) -> float:
        """Of the deciding metric, in that epoch."""
        return self._deciding.best.value

    # ---- the weights that are to be kept ----------------------------------------------------------

    @property
    def may_return(self) -> bool:
        """Whether an epoch that was passed over may turn out to be the best, so that its weights are kept aside."""
        return self._candidates[0].may_be_constant

    @property
    def keeps_aside(self) -> bool:
        """Whether they are at present."""
        first = self._candidates[0]
        return first.may_be_constant and not first.speaks and first.best.epoch > 0

    def is_aside(self, epoch: int) -> bool:
        """Whether the epoch is the one whose weights are kept aside."""
        return self.keeps_aside and self._candidates[0].best.epoch == epoch

    # ---- an epoch ---------------------------------------------------------------------------------

    def improved(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Take in an epoch; True if it is the best so far."""
        better = {id(c): c.improved(epoch, metrics) for c in self._candidates}
        return self._deciding.speaks and better[id(self._deciding)]

    def complaint(self, *, ended: bool) -> str:
        """The warning about a monitored metric that is undefined or constant; "" for none."""
        asked, reason = self._candidates[0].best.monitor, self._candidates[0].complaint(ended=ended)
        instead = "" if self.monitor == asked else f"; {self.monitor} is monitored instead"
        return reason and f"{asked} is undefined or constant: {reason}{instead}"
