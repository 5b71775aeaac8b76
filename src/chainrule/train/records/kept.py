"""Which weights a net has after a fit, and why, in the words that all places use."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Self

from chainrule.nn.metric_names import HIGHER_IS_BETTER, LEFT_OUT, VALID, short_name
from chainrule.train.monitoring.monitored_metric import MonitoredMetric


class Kept(NamedTuple):
    """Which weights a net has after a fit, and why.

    Parameters
    ----------
    epoch : from 1, whose weights it has; 0 for those of the last step, if no metric chose an epoch
    epochs : that have ended
    reason : why this epoch, as of :func:`reason_of`; "" if no metric chose one
    monitor : the metric that chose it; "" if none did
    is_within : whether the last step was within an epoch, which has not ended
    """

    epoch: int = 0
    epochs: int = 0
    reason: str = ""
    monitor: str = ""
    is_within: bool = False

    @classmethod
    def of(cls, history: Mapping[str, Sequence[float]], begun: int, metric: MonitoredMetric | None) -> Self:
        """Of a fit that has begun so many epochs, by the metric that it monitors."""
        epochs = len(next(iter(history.values()), []))
        if metric is None or not metric.epoch:
            return cls(epochs=epochs, is_within=begun > epochs)
        values, higher = history[metric.monitor], metric.higher_is_better
        reason = reason_of(metric.monitor, values[metric.epoch - 1], higher_is_better=higher, of=values)
        return cls(metric.epoch, epochs, reason, metric.monitor)

    def __str__(self) -> str:
        if self.epoch:
            return f"epoch {self.epoch} of {self.epochs}" + (f": {self.reason}" if self.reason else "")
        if self.is_within:
            return f"the last step's weights, within epoch {self.epochs + 1}"
        return "the last epoch's weights"


def reason_of(monitor: str, value: float, *, higher_is_better: bool | None = None, of: Sequence[float] = ()) -> str:
    """Why an epoch was chosen: ``lowest valid_loss 0.123``.

    Parameters
    ----------
    monitor : the metric, as the history calls it
    value : of it, in that epoch
    higher_is_better : None for what is known of the name; of an unknown one the direction is not told
    of : its values in all epochs; if one is better by less than ``min_delta``, the value is not called the lowest
    """
    if higher_is_better is None:
        higher_is_better = HIGHER_IS_BETTER.get(short_name(monitor))
    said = f"{_name(monitor)} {value:.4g}"
    if higher_is_better is None:
        return f"best {said}"
    finite = [v for v in of if math.isfinite(v)]
    if any(v > value if higher_is_better else v < value for v in finite):
        return f"{said}, which no later epoch improved by more than min_delta"
    return f"{'highest' if higher_is_better else 'lowest'} {said}"


def _name(monitor: str) -> str:
    """As the history has it, but that of the training rows says so, lest it be taken for that of others."""
    return monitor if monitor == LEFT_OUT or monitor.startswith(VALID) else f"training {monitor}"
