"""Early stopping: which epoch was the best, and when to stop waiting for a better one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from chainrule.errors import OptionError
from chainrule.nn.metric_names import HIGHER_IS_BETTER, short_name
from chainrule.options import real_number, whole_number


@dataclass(frozen=True)
class EarlyStopping:
    """Stop after max(patience, patience_fraction * best epoch) epochs without a better ``monitor``.

    Parameters
    ----------
    patience : epochs, at least 1
    monitor : a name in the history: "valid_loss", "valid_accuracy", "valid_r2", "valid_d2", "loss", ...; as long as it
        is undefined or constant (nan in all epochs, r2 of a target that never changes), the validation loss instead
    min_delta : an epoch is better if it improves the metric by more than this, in units of the metric
    patience_fraction : epochs to wait per epoch until the best one, from 0 up: 0.5 stops at epoch 30 if 20 was the best
    """

    patience: int = 10
    monitor: str = "valid_loss"
    min_delta: float = 0.0
    patience_fraction: float = 0.0

    def __post_init__(self) -> None:
        whole_number("patience", self.patience)
        real_number("min_delta", self.min_delta)
        real_number("patience_fraction", self.patience_fraction)

    def is_over(self, epoch: int, best: int) -> bool:
        """Whether to stop after this epoch, if the best so far is ``best`` (0 if there is none)."""
        return epoch - best >= max(self.patience, self.patience_fraction * best)


class BestEpoch:
    """Follows one metric. ``epoch`` is the best so far (from 1; 0 before the first)."""

    def __init__(self, monitor: str, min_delta: float = 0.0, *, higher_is_better: bool | None = None) -> None:
        self.monitor = monitor
        self.min_delta = min_delta
        if higher_is_better is None:
            higher_is_better = HIGHER_IS_BETTER[short_name(monitor)]
        self.higher_is_better = higher_is_better
        self.epoch = 0
        self.value = -math.inf if self.higher_is_better else math.inf

    def improved(self, epoch: int, metrics: Mapping[str, float]) -> bool:
        """Take in an epoch; True if it is the best so far."""
        if self.monitor not in metrics:
            raise OptionError(
                f"monitor: expected a metric of the history, got {self.monitor!r}", hint=f"one of {', '.join(metrics)}"
            )
        value = metrics[self.monitor]
        gain = value - self.value if self.higher_is_better else self.value - value
        # Before the first epoch the gain is infinite; a nan is never better.
        better = gain > self.min_delta
        if better:
            self.epoch, self.value = epoch, value
        return better
