"""What a net predicts for rows that it was not trained on, beside the best constant prediction."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from chainrule.nn.inputs.row_checks import weights_of_all
from chainrule.nn.inputs.rows import InputReader, Rows
from chainrule.nn.layers.dense import Dense
from chainrule.nn.losses import baselines
from chainrule.nn.losses.names import GaussianNLL
from chainrule.nn.network import Network
from chainrule.train.feeding.host_rows import HostRows


class HeldOutPredictions(NamedTuple):
    """Predictions for rows that a net was not trained on, on the host; all in float64 but the logits.

    Parameters
    ----------
    logits : (m, n_out), in the dtype of the net
    constant : (n_out,) logits of the best constant prediction for the rows that the net was trained on
    targets : as the kernels have them
    weights : (m,), None for all ones
    copies : (m,) a number for each row, the same for copies of one; None if no row is a copy
    """

    logits: np.ndarray
    constant: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None
    copies: np.ndarray | None = None

    @property
    def row_weights(self) -> np.ndarray:
        """(number of different rows,) the weight of each, with all its copies."""
        weights = np.ones(len(self.logits)) if self.weights is None else self.weights
        if self.copies is None:
            return weights
        _, number = np.unique(self.copies, return_inverse=True)
        return np.bincount(number, weights)

    def take(self, rows: slice) -> HeldOutPredictions:
        """Some of the rows, in the same memory."""
        if rows.start == 0 and rows.stop >= len(self.logits):
            return self
        weights, copies = (None if a is None else a[rows] for a in (self.weights, self.copies))
        return HeldOutPredictions(self.logits[rows], self.constant, self.targets[rows], weights, copies)

    def shrunk(self, factors: np.ndarray | float, shift: np.ndarray | float = 0.0) -> np.ndarray:
        """c + f (z - c) + shift in float64, with an f for all outputs or one for each."""
        shrunk: np.ndarray = self.constant + factors * (self.logits - self.constant) + shift
        return shrunk


def best_constant(net: Network, rows: Rows | HostRows) -> np.ndarray | None:
    """(n_out,) logits of the best constant prediction for ``rows``; None if the loss has none, or if the net
    does not end with a dense layer, the only one that can take it in. Synchronises."""
    if not isinstance(net.nodes[-1].layer, Dense):
        return None
    return net.loss.best_constant(*_targets_and_weights(net, rows))


def constant_outputs(net: Network, rows: Rows | HostRows) -> np.ndarray:
    """(n_out,) bool: the outputs whose targets are the same in all ``rows`` of weight above 0: there is nothing else to
    learn."""
    loss, same = net.loss, np.atleast_1d(baselines.never_changes(*_targets_and_weights(net, rows)))
    if loss.task == "classify":
        return np.full(loss.n_out, same.all())
    return np.tile(same, 2) if isinstance(loss, GaussianNLL) else np.repeat(same, loss.outputs_each)


def predict_held_out(net: Network, constant: np.ndarray, held_out: Rows) -> HeldOutPredictions:
    """The predictions for these rows, beside the ``constant`` of those that the net was trained on. Synchronises."""
    be = net.backend
    logits = np.empty((len(held_out), net.n_out), net.dtype)
    with be.running():
        batch = net.bind(net.evaluation_rows(len(held_out)), training=False)
        read = InputReader(be, held_out.features, batch.n, net.dtype)
        for part, part_batch in batch.parts(len(held_out)):
            logits[part] = be.download(part_batch.forward(read(held_out.x[part])))
    targets, weights = _targets_and_weights(net, held_out)
    return HeldOutPredictions(logits, constant, targets, weights)


def _targets_and_weights(net: Network, rows: Rows | HostRows) -> tuple[np.ndarray, np.ndarray | None]:
    """On the host, floating-point targets in float64."""
    targets, weights = rows.targets, rows.weights
    if not isinstance(rows, HostRows):
        be = net.backend
        targets, weights = be.download(targets), None if weights is None else be.download(weights)
    weights = weights_of_all(weights)
    targets = targets.astype(np.float64) if targets.dtype.kind == "f" else targets
    return targets, None if weights is None else weights.astype(np.float64)
