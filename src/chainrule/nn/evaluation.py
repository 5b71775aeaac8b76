"""The loss and the metrics of a net over rows that stay on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from chainrule.backends.contract.backend import CORRECT, LOSS, WEIGHT, Array, Backend
from chainrule.backends.contract.losses import LossBatch
from chainrule.nn.inputs.row_checks import weights_of_all
from chainrule.nn.inputs.rows import InputReader, Rows
from chainrule.nn.losses.names import Baseline, Loss
from chainrule.nn.network import Network
from chainrule.nn.passes import Pass, new_state


class Evaluator:
    """Call it for {"loss": ..., metric: ...} of the net's current parameters over ``rows``; it synchronises once.

    Or :meth:`start` it, download what it leaves together with something else, and ask for the :meth:`result`.
    The loss decides which metric: ``accuracy``, ``r2``, ``d2`` or none. Metrics use the rows' own weights, the loss
    those of their classes too.
    """

    def __init__(self, net: Network, rows: Rows) -> None:
        be = net.backend
        self.net, self.rows = net, rows
        batch = net.bind(net.evaluation_rows(len(rows)), training=False)
        parts = list(batch.parts(len(rows)))
        read = InputReader(be, rows.features, batch.n, net.dtype)
        self._totals = be.empty((len(parts), 3), np.float64)
        self._counted = weight_of(be, rows) if rows.by_class else None
        self._columns = ColumnScores(net, rows, batch.dlogits.dtype) if is_by_column(net.loss) else None
        self._baseline = None if self._columns is not None else baseline_of(net, rows)
        logits = None if self._columns is None else self._columns.logits
        self._replay = be.capture(_pass_over_rows(net, rows, read, parts, self._totals, logits))

    def __call__(self) -> dict[str, float]:
        return self.result(self.net.backend.download_all(self.start()))

    def start(self) -> list[Array]:
        """Evaluate the net; what is to be downloaded."""
        with self.net.backend.running():
            self._replay(1)
            return [self._totals] if self._columns is None else [self._totals, self._columns.start()]

    def result(self, totals: Sequence[np.ndarray]) -> dict[str, float]:
        """Loss and metric, from what has been downloaded."""
        loss = self.net.loss
        found = metrics_of(loss, totals[0], self._baseline, counted=self._counted)
        return found if self._columns is None else found | {loss.metric: self._columns.result(totals[1])}


def _pass_over_rows(
    net: Network,
    rows: Rows,
    read: InputReader,
    parts: Sequence[tuple[slice, Pass]],
    totals: Array,
    kept: Array | None,
) -> Callable[[], None]:
    """A step, in the sense of the law of the step, that evaluates all rows and keeps their logits if asked."""
    be, state = net.backend, new_state(net.backend)
    x, targets, weights, counted = rows.x, rows.targets, rows.weights, rows.counted

    def step() -> None:
        be.fill(0, out=state)
        for part, batch in parts:
            logits = batch.forward(read(x[part]))
            part_targets, part_weights = targets[part], None if weights is None else weights[part]
            net.loss(be, LossBatch(logits, part_targets, part_weights, state, totals, batch.dlogits))
            if net.loss.metric == "accuracy":
                be.count_correct(logits, part_targets, None if counted is None else counted[part], state, totals=totals)
            if kept is not None:
                be.copy(logits, out=kept[part])
            be.tick(state)

    return step


class ColumnScores:
    """The r2 or d2 of the ``logits`` of several target columns: the mean of their own.

    That needs the error of each column, which the loss of a batch adds up: so the loss of one column at a time.
    """

    def __init__(self, net: Network, rows: Rows, dtype: np.dtype) -> None:
        be, n, each = net.backend, len(rows), net.loss.outputs_each
        self._backend, self._weights, self._state = be, rows.weights, new_state(be)
        self._loss = net.loss.bind(each)
        columns = np.split(be.download(rows.targets), net.loss.columns, axis=1)
        weights = None if rows.weights is None else be.download(rows.weights)
        self._baselines = [self._loss.baseline(column, weights) for column in columns]
        self._targets = [be.upload(np.ascontiguousarray(column)) for column in columns]
        self.logits = be.empty((n, net.n_out), dtype)
        self._column, self._dlogits = be.empty((n, each), dtype), be.empty((n, each), dtype)
        self._totals = be.empty((len(columns), 3), np.float64)

    def start(self) -> Array:
        """Compute the totals of each column, which are to be downloaded."""
        be, loss = self._backend, self._loss
        for j, targets in enumerate(self._targets):
            be.copy(self.logits[:, j * loss.n_out : (j + 1) * loss.n_out], out=self._column)
            totals = self._totals[j : j + 1]
            loss(be, LossBatch(self._column, targets, self._weights, self._state, totals, self._dlogits))
        return self._totals

    def result(self, totals: np.ndarray) -> float:
        """The mean, from these totals."""
        scores = [
            explained(self._loss, totals[j : j + 1], baseline) for j, baseline in enumerate(self._baselines) if baseline
        ]
        return float(np.mean(scores))


def metrics_of(
    loss: Loss, totals: np.ndarray, baseline: Baseline | None, *, counted: float | None = None, penalty: float = 0.0
) -> dict[str, float]:
    """The loss of the batches whose totals these are, and its metric.

    Parameters
    ----------
    baseline : of the batches' rows, of one target column; None for no r2 or d2
    counted : the total weight of the rows in the metric, if it differs from that in the loss
    penalty : what the loss of each batch includes beside that of its rows
    """
    found = {"loss": float(loss.value(totals))}
    if loss.metric == "accuracy":
        weight = float(totals[:, WEIGHT].sum()) if counted is None else counted
        found["accuracy"] = float(totals[:, CORRECT].sum() / weight) if weight > 0 else 0.0
    elif baseline is not None:
        found[loss.metric] = explained(loss, totals, baseline, penalty=penalty)
    return found


def explained(loss: Loss, totals: np.ndarray, baseline: Baseline, *, penalty: float = 0.0) -> float:
    """1 - (l - l_perfect) / (l_constant - l_perfect) of one target column; 0 if it is constant."""
    weight, reach = totals[:, WEIGHT].sum(), baseline.constant - baseline.perfect
    if not (reach > 0 and weight > 0):
        return 0.0
    error = (totals[:, LOSS].sum() - len(totals) * penalty) / loss.scale / weight
    return float(1 - (error - baseline.perfect) / reach)


def is_by_column(loss: Loss) -> bool:
    """Whether the loss's metric is a mean over target columns, which the totals of batches do not separate."""
    return loss.metric in {"r2", "d2"} and loss.columns > 1


def weight_of(backend: Backend, rows: Rows) -> float:
    """The total weight of the rows in metrics."""
    counted = rows.counted
    return float(len(rows) if counted is None else backend.download(counted).sum(dtype=np.float64))


def baseline_of(net: Network, rows: Rows) -> Baseline | None:
    """What the metric of the net's loss is measured against on these rows."""
    if net.loss.metric not in {"r2", "d2"}:
        return None
    be = net.backend
    weights = None if rows.weights is None else weights_of_all(be.download(rows.weights))
    return net.loss.baseline(be.download(rows.targets), weights)
