"""The metrics of an epoch: of the training rows by the totals of the steps, of the validation rows by evaluation."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.nn.evaluation import metrics_of
from chainrule.nn.inputs.rows import Rows
from chainrule.nn.losses.names import Baseline
from chainrule.nn.metric_names import LEFT_OUT
from chainrule.nn.network import Network
from chainrule.train.feeding.batches import Batches
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.monitoring.training_metric import TrainingMetric
from chainrule.train.monitoring.validation_metrics import valid_evaluator
from chainrule.train.settings import TrainingSettings
from chainrule.train.update_step import UpdateStep


class EpochMetrics:
    """What the history of a fit has of each epoch, but for the learning rate and the time.

    Parameters
    ----------
    net, settings : that are trained, and how
    rows, held_out : to train on, and for validation or None
    update_step : its penalty and the net that is evaluated
    left_out_loss : of the rows that members of an ensemble are not trained on; None if there are none
    """

    def __init__(
        self,
        net: Network,
        settings: TrainingSettings,
        rows: Rows | HostRows,
        held_out: Rows | None,
        update_step: UpdateStep,
        left_out_loss: Callable[[], float] | None = None,
    ) -> None:
        self._loss, self._left_out_loss = net.loss, left_out_loss
        self._evaluate = valid_evaluator(update_step.evaluated_net, held_out, settings.valid_metrics)
        self._training = TrainingMetric(net, rows, update_step.penalty) if settings.metrics else None

    @property
    def baseline(self) -> Baseline | None:
        """The losses of the best constant prediction for the training rows; None if no metric is recorded."""
        return None if self._training is None else self._training.baseline

    def of_training(self, totals: np.ndarray, batches: Batches) -> dict[str, float]:
        """Loss and metric of the training rows, by the totals (k, batches, 3) of the steps; each before its update.

        Of an ensemble they are the means over its k members.
        """
        training = self._training
        if training is None:
            return {"loss": self.loss(totals)}
        counted, penalty = training.counted(batches), training.penalty()
        of_members = [
            metrics_of(self._loss, of_member, training.measured_by, counted=weight, penalty=penalty)
            for of_member, weight in zip(totals, counted, strict=True)
        ]
        return {name: float(np.mean([found[name] for found in of_members])) for name in of_members[0]}

    def start_evaluation(self) -> list[Array]:
        """Evaluate the validation rows; what is to be downloaded. Nothing without such rows."""
        return [] if self._evaluate is None else self._evaluate.start()

    def of_held_out_rows(self, evaluated: Sequence[np.ndarray]) -> dict[str, float]:
        """Loss of the rows that members do not see; loss and metrics of the validation rows, as ``valid_...``. Nothing
        without such rows. ``evaluated`` is what :meth:`start_evaluation` left. Synchronises for the first, and for
        metrics of the user's own."""
        found = {} if self._left_out_loss is None else {LEFT_OUT: self._left_out_loss()}
        if self._evaluate is not None:
            found |= {f"valid_{name}": value for name, value in self._evaluate.result(evaluated).items()}
        return found

    def loss(self, totals: np.ndarray) -> float:
        """The mean loss of the batches of these totals, (k, batches, 3)."""
        return float(np.mean([self._loss.value(of_member) for of_member in totals]))
