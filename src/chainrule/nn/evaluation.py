"""The loss and the metrics of a net over rows that stay on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from chainrule.backends.base import CORRECT, LOSS, WEIGHT, Array
from chainrule.nn.losses import Baseline, Loss
from chainrule.nn.network import Network
from chainrule.nn.passes import Pass, new_state
from chainrule.nn.rows import InputReader, Rows


class Evaluator:
    """Call it for {"loss": ..., metric: ...} of the net's present parameters over ``rows``; one look at the device.

    Which metric there is says the loss: ``accuracy``, ``r2``, ``d2`` or none.
    """

    def __init__(self, net: Network, rows: Rows) -> None:
        be = net.backend
        self.net, self.rows = net, rows
        batch = net.bind(net.evaluation_rows(len(rows)), training=False)
        parts = list(batch.parts(len(rows)))
        read = InputReader(be, rows.features, batch.n, net.dtype)
        self._totals = be.empty((len(parts), 3), np.float64)
        self._baseline = baseline_of(net, rows)
        self._replay = be.capture(_pass_over_rows(net, rows, read, parts, self._totals))

    def __call__(self) -> dict[str, float]:
        be = self.net.backend
        with be.running():
            self._replay(1)
        return metrics_of(self.net.loss, be.download(self._totals), self._baseline)


def _pass_over_rows(
    net: Network, rows: Rows, read: InputReader, parts: Sequence[tuple[slice, Pass]], totals: Array
) -> Callable[[], None]:
    """A step, in the sense of the law of the step, that evaluates all rows."""
    be, state = net.backend, new_state(net.backend)
    x, targets, weights = rows.x, rows.targets, rows.weights

    def step() -> None:
        be.fill(0, out=state)
        for part, batch in parts:
            logits = batch.forward(read(x[part]))
            part_targets, part_weights = targets[part], None if weights is None else weights[part]
            net.loss(be, logits, part_targets, part_weights, state, totals=totals, dlogits=batch.dlogits)
            if net.loss.metric == "accuracy":
                be.count_correct(logits, part_targets, part_weights, state, totals=totals)
            be.tick(state)

    return step


def metrics_of(loss: Loss, totals: np.ndarray, baseline: Baseline | None) -> dict[str, float]:
    """The metrics of the batches whose totals these are, beside the ``baseline`` of their rows."""
    found = {"loss": float(loss.value(totals))}
    weight = totals[:, WEIGHT].sum()
    if loss.metric == "accuracy":
        found["accuracy"] = float(totals[:, CORRECT].sum() / weight) if weight > 0 else 0.0
    elif baseline is not None:
        error, reach = totals[:, LOSS].sum() / loss.scale, baseline.constant - baseline.perfect
        explained = reach > 0 and weight > 0
        found[loss.metric] = float(1 - (error / weight - baseline.perfect) / reach) if explained else 0.0
    return found


def baseline_of(net: Network, rows: Rows) -> Baseline | None:
    """What the metric of the net's loss is measured against on these rows."""
    if net.loss.metric not in {"r2", "d2"}:
        return None
    be = net.backend
    weights = None if rows.weights is None else be.download(rows.weights)
    return net.loss.baseline(be.download(rows.targets), weights)
