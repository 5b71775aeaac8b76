"""What changes while a fit runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from chainrule.arena import Arena
from chainrule.train.diagnosis.layer_statistics import LayerStatistics
from chainrule.train.monitoring.best_weights import BestWeights
from chainrule.train.monitoring.monitored_metric import MonitoredMetric
from chainrule.train.rates import RatesOfRun
from chainrule.train.records.run import Run
from chainrule.train.steps import Steps


@dataclass
class FitState:
    """All that a fit changes as it runs, and so all that a checkpoint takes and restores.

    Whatever else a fit needs is settled before the first step: by its settings, its rows and the machine. Those are
    the :class:`~chainrule.train.checkpoints.resuming.Identity` of a checkpoint.

    Parameters
    ----------
    steps : the arenas of the update step (parameters, moments, weight EMA, accumulated gradients) and the totals of the
        batches of the epoch under way
    rates : what feedback has made of the learning rate
    best_weights : of the best epoch by the monitored metric; None if none is monitored
    layer_statistics : what a diagnosis has measured; None without one
    run : the history, the number of updates and the seconds so far
    first_batch : at which the next epoch begins; above 0 only if a fit resumes within an epoch
    first_loss : of the very first batch, before any update; nan until the first epoch has ended
    """

    steps: Steps
    rates: RatesOfRun
    best_weights: BestWeights | None
    layer_statistics: LayerStatistics | None
    run: Run = field(default_factory=Run)
    first_batch: int = 0
    first_loss: float = math.nan

    @property
    def metric(self) -> MonitoredMetric | None:
        """The monitored metric; None if none is monitored."""
        return None if self.best_weights is None else self.best_weights.metric

    @property
    def has_best(self) -> bool:
        """Whether an epoch has been the best so far, and its weights are kept."""
        return self.metric is not None and self.metric.epoch > 0

    def arenas(self) -> dict[str, Arena]:
        """The memory to be kept, by its names in a checkpoint; with the best epoch's weights once there is one."""
        found = self.steps.update_step.arenas()
        return found if self.best_weights is None else found | self.best_weights.arenas()
