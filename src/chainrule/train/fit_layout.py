"""The memory of a fit: laid out before its first step, with a hint if there is too little."""

from __future__ import annotations

from chainrule.host_memory import out_of_memory_hint
from chainrule.nn.inputs.rows import Rows
from chainrule.nn.network import Network
from chainrule.optim.lbfgs import LBFGS
from chainrule.train.diagnosis.layer_statistics import LayerStatistics
from chainrule.train.epoch_memory import EpochMemory
from chainrule.train.feeding.batch_plan import plan_batches
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.feeding.streaming import batches_of
from chainrule.train.fit_state import FitState
from chainrule.train.memory import batch_hint, bytes_of_net, free_at_start, refuse_what_cannot_fit
from chainrule.train.monitoring.best_weights import BestWeights
from chainrule.train.monitoring.choose_metric import MetricChoice
from chainrule.train.monitoring.epoch_metrics import EpochMetrics
from chainrule.train.monitoring.monitored_metric import MonitoredMetric
from chainrule.train.out_of_fold.left_out import LeftOut
from chainrule.train.out_of_fold.left_out_loss import LeftOutLoss
from chainrule.train.rates import RatesOfRun
from chainrule.train.settings import TrainingSettings
from chainrule.train.steps import Steps
from chainrule.train.update_step import UpdateStep


class FitLayout:
    """Lays out all memory of a fit; no weight changes. OutOfMemoryError, with a hint, if there is too little.

    ``state`` is what the fit will change, ``metrics`` what measures an epoch, ``history_names`` what the history will
    have. ``net_bytes`` are taken by net, optimiser and kept weights, ``free`` is what was free beside them before the
    batches were laid out; see :func:`~chainrule.train.memory.free_at_start`.

    Parameters
    ----------
    net, settings : that are trained, and how
    rows, held_out : to train on, and for validation or None
    diagnose : measure the layers
    left_out : which of the rows each member of an ensemble is not trained on; ``self.rows`` are without them
    """

    def __init__(
        self,
        net: Network,
        settings: TrainingSettings,
        rows: Rows | HostRows,
        held_out: Rows | None,
        *,
        diagnose: bool = False,
        left_out: LeftOut | None = None,
    ) -> None:
        self._net, self._settings, self._given, self._left_out = net, settings, rows, left_out
        self.rows = self._rows = rows if left_out is None else left_out.withhold(net, rows)
        choice = MetricChoice(net, settings, self.rows, held_out, with_left_out=left_out is not None)
        self.history_names, metric = choice.history_names, choice.of_best_epoch()
        rates = RatesOfRun(settings.optimizer.schedule, choice.known, choice.of_name)
        self.net_bytes = bytes_of_net(
            net,
            settings.optimizer,
            keeps_best=metric is not None,
            keeps_aside=metric is not None and metric.may_return,
            ema=settings.ema is not None,
            accumulates=settings.accumulate > 1,
        )
        self.free: int | None = None
        self.state = self._lay_out(metric, rates, held_out, diagnose=diagnose)

    def _lay_out(
        self, metric: MonitoredMetric | None, rates: RatesOfRun, held_out: Rows | None, *, diagnose: bool
    ) -> FitState:
        net, settings, be = self._net, self._settings, self._net.backend
        with out_of_memory_hint(self.net_hint, backend=be):
            update_step = UpdateStep(net, settings)
            best_weights = None if metric is None else BestWeights(metric, net.parameter_arena)
            unseen = None
            if self._left_out is not None:
                unseen = LeftOutLoss(update_step.evaluated_net, self._given, self._left_out)
            self.metrics = EpochMetrics(net, settings, self._rows, held_out, update_step, unseen)
            _ = net.factor_arena  # made when first asked for
            statistics = LayerStatistics(net, self._rows) if diagnose else None
        self.free = free_at_start(be)
        with out_of_memory_hint(self.batch_hint, backend=be):
            refuse_what_cannot_fit(net, self._rows, settings.batch_size, self.free)
            steps = self._lay_out_steps(update_step)
        if statistics is not None:
            statistics.steps_per_epoch = steps.batches.count
        return FitState(steps, rates, best_weights, statistics)

    def _lay_out_steps(self, update_step: UpdateStep) -> Steps:
        net, settings = self._net, self._settings
        plan = plan_batches(len(self._rows), settings.batch_size, drop_last=settings.drop_last)
        memory = EpochMemory(net.backend, plan.count)
        batches = batches_of(
            net.backend,
            self._rows,
            settings.batch_size,
            dtype=net.dtype,
            shuffle=settings.shuffle,
            seed=settings.seed,
            drop_last=settings.drop_last,
            free=self.free,
            members=net.members,
            member=net.first_member,
            position=memory.position,
        )
        counts = settings.metrics and net.loss.metric == "accuracy"
        before = 0 if settings.moments is None else settings.moments.steps
        return Steps(update_step, batches, memory, accumulate=settings.accumulate, counts=counts, before=before)

    # ---- if there is too little ---------------------------------------------------------------------

    def net_hint(self) -> str:
        """For what a smaller batch would not make smaller."""
        return f"the net alone takes {self.net_bytes:,} bytes to train, whatever the batch: use a smaller net"

    def batch_hint(self) -> str:
        """For the batches, and for whatever is laid out later."""
        if isinstance(self._settings.optimizer, LBFGS):
            return "LBFGS passes all rows through the net at once: give it fewer, or train in batches with cr.Adam()"
        return batch_hint(self._net, self._rows, self._settings.batch_size, self.free, self.net_bytes)
