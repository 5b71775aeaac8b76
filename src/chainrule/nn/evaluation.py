"""The loss and the metrics of a net over rows that stay on the device."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from chainrule.backends.base import CORRECT, LOSS, WEIGHT, Array
from chainrule.nn.losses import Loss
from chainrule.nn.network import Network
from chainrule.nn.passes import Pass, new_state
from chainrule.nn.rows import InputReader, Rows


class Evaluator:
    """Call it for {"loss": ..., metric: ...} of the net's present parameters over ``rows``; one look at the device.

    A classification has ``accuracy``, a regression ``r2`` (1 - squared error / spread of the targets, all outputs
    together).
    """

    def __init__(self, net: Network, rows: Rows) -> None:
        be = net.backend
        self.net, self.rows = net, rows
        batch = net.bind(net.evaluation_rows(len(rows)), training=False)
        parts = list(batch.parts(len(rows)))
        read = InputReader(be, rows.features, batch.n, net.dtype)
        self._totals = be.empty((len(parts), 3), np.float64)
        self._spread = target_spread(net, rows)
        self._replay = be.capture(_pass_over_rows(net, rows, read, parts, self._totals))

    def __call__(self) -> dict[str, float]:
        be = self.net.backend
        with be.running():
            self._replay(1)
        return metrics_of(self.net.loss, be.download(self._totals), self._spread)


def _pass_over_rows(
    net: Network, rows: Rows, read: InputReader, parts: Sequence[tuple[slice, Pass]], totals: Array
) -> Callable[[], None]:
    """A step, in the sense of the law of the step, that evaluates all rows."""
    be, state = net.backend, new_state(net.backend)
    x, targets, weights, _ = rows

    def step() -> None:
        be.fill(0, out=state)
        for part, batch in parts:
            logits = batch.forward(read(x[part]))
            part_targets, part_weights = targets[part], None if weights is None else weights[part]
            net.loss(be, logits, part_targets, part_weights, state, totals=totals, dlogits=batch.dlogits)
            if net.loss.task != "regress":
                be.count_correct(logits, part_targets, part_weights, state, totals=totals)
            be.tick(state)

    return step


def metrics_of(loss: Loss, totals: np.ndarray, spread: float) -> dict[str, float]:
    """The metrics of the batches whose totals these are."""
    found = {"loss": float(loss.value(totals))}
    if loss.task == "regress":
        error = totals[:, LOSS].sum() / loss.scale
        weight = totals[:, WEIGHT].sum()
        found["r2"] = float(1 - error / weight / spread) if spread > 0 and weight > 0 else 0.0
    else:
        weight = totals[:, WEIGHT].sum()
        found["accuracy"] = float(totals[:, CORRECT].sum() / weight) if weight > 0 else 0.0
    return found


def target_spread(net: Network, rows: Rows) -> float:
    """:func:`weighted_spread` of the targets of a regression; 0 for a classification."""
    if net.loss.task != "regress":
        return 0.0
    be = net.backend
    return weighted_spread(be.download(rows.targets), None if rows.weights is None else be.download(rows.weights))


def weighted_spread(targets: np.ndarray, weights: np.ndarray | None) -> float:
    """sum_j of the weighted variance of target column j.   targets (n, k), weights (n,) or None for all ones."""
    targets = targets.astype(np.float64)
    weights = np.ones(len(targets)) if weights is None else weights.astype(np.float64)
    mean = np.average(targets, axis=0, weights=weights)
    return float(np.average((targets - mean) ** 2, axis=0, weights=weights).sum())
