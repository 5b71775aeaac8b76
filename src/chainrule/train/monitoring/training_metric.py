"""What the metric of the training rows needs beside the totals of an epoch's steps."""

from __future__ import annotations

import numpy as np

from chainrule.nn.evaluation import baseline_of, is_by_column
from chainrule.nn.inputs.row_checks import weights_of_all
from chainrule.nn.inputs.rows import Rows
from chainrule.nn.losses.names import Baseline
from chainrule.nn.network import Network
from chainrule.train.feeding.batches import Batches
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.penalty import Penalty


class TrainingMetric:
    """The arguments of ``metrics_of`` for the batches of an epoch.

    Parameters
    ----------
    rows : that are trained on
    penalty : in the loss of each batch, or None
    """

    def __init__(self, net: Network, rows: Rows | HostRows, penalty: Penalty | None) -> None:
        self._backend, self._rows, self._penalty = net.backend, rows, penalty
        self.baseline = (
            net.loss.baseline(rows.targets, weights_of_all(rows.weights))
            if isinstance(rows, HostRows)
            else baseline_of(net, rows)
        )
        self._of_one_column = not is_by_column(net.loss)
        self._own: np.ndarray | None = None  # the rows' own weights, from the device

    @property
    def measured_by(self) -> Baseline | None:
        """The baseline of the metric; None for several columns, whose errors the steps add up."""
        return self.baseline if self._of_one_column else None

    def counted(self, batches: Batches) -> list[float | None]:
        """The rows' total weight in the metric of each member, if class weights make it differ from that in the loss;
        else None."""
        rows, k = self._rows, batches.members
        if not rows.by_class:
            return [None] * k
        used = batches.full * batches.size + batches.ragged
        if rows.counted is None:
            return [float(used)] * k
        if self._own is None:
            self._own = rows.counted if isinstance(rows, HostRows) else self._backend.download(rows.counted)
        own = np.broadcast_to(self._own, (k, len(rows)))
        if used < len(rows):  # a ragged batch is dropped: other rows in each epoch
            own = np.take_along_axis(own, batches.numbers().reshape((k, used)), axis=1)
        return [float(of_member.sum(dtype=np.float64)) for of_member in own]

    def penalty(self) -> float:
        """The penalty in the loss of a batch, which is no error of a row, with the present weights."""
        return 0.0 if self._penalty is None or self.measured_by is None else self._penalty.value()
