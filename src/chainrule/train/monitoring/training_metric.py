"""What the metric of the training rows needs beside the totals of an epoch's steps."""

from __future__ import annotations

import numpy as np

from chainrule.nn.evaluation import baseline_of, is_by_column
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
            net.loss.baseline(rows.targets, rows.weights) if isinstance(rows, HostRows) else baseline_of(net, rows)
        )
        self._of_one_column = not is_by_column(net.loss)

    @property
    def measured_by(self) -> Baseline | None:
        """The baseline of the metric; None for several columns, whose errors the steps add up."""
        return self.baseline if self._of_one_column else None

    def counted(self, batches: Batches) -> float | None:
        """The rows' total weight in the metric, if class weights make it differ from that in the loss; else None."""
        rows = self._rows
        if not rows.by_class:
            return None
        used = batches.full * batches.size + batches.ragged
        if rows.counted is None:
            return float(used)
        own = rows.counted if isinstance(rows, HostRows) else self._backend.download(rows.counted)
        if used < len(own):  # a ragged batch is dropped: other rows in each epoch
            own = own[batches.numbers()]
        return float(own.sum(dtype=np.float64))

    def penalty(self) -> float:
        """The penalty in the loss of a batch, which is no error of a row, with the present weights."""
        return 0.0 if self._penalty is None or self.measured_by is None else self._penalty.value()
