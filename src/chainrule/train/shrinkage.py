"""Predictions drawn towards the best constant one, by as much as rows held out ask for.

A net that has fitted noise is worse than the mean of the targets on new rows. How far to trust it is one number: with
z the net's logits and c those of the best constant prediction,

    z_f = c + f (z - c),   f in [0, 1] the factor with the least loss on rows that the net was not trained on.

f = 0 is the constant prediction: the epoch before the first, which no epoch that is kept can then be worse than. f = 1
is the net as it was trained. Of the squared error f is the slope of the targets on the predictions; of a softmax 1 / f
is its temperature, with the classes' shares where f = 0. Only the output layer changes:
W -> f W, b -> f b + (1 - f) c.

The factor was chosen by m rows, and must pay for that as a parameter does: where the loss L_f of these rows, beside
that of the constant, L_0, has m (L_0 - L_f) / L_f <= 2 + 4 / (m - 2), f is 0.

Source: Copas 1983; van Houwelingen, le Cessie 1990, section 4 (shrinkage by cross-validation); Hurvich, Tsai 1989 (the
price of a parameter; of the squared error m log(L_0 / L_f), in first order the ratio above); Guo et al. 2017
(temperature).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from chainrule.nn.dense import Dense
from chainrule.nn.evaluation import Evaluator
from chainrule.nn.network import Network
from chainrule.nn.rows import Rows
from chainrule.train.host_rows import HostRows

FACTORS = np.arange(21) / 20


class Shrinkage(NamedTuple):
    """What became of a net."""

    factor: float  # 1: as it was trained; 0: the best constant prediction
    valid_loss: float  # of the validation rows, afterwards


def shrink_by(net: Network, rows: Rows | HostRows, held_out: Rows) -> Shrinkage | None:
    """Draw the predictions of a net trained on ``rows`` to the best constant one by what ``held_out`` asks for."""
    constant = best_constant(net, rows)
    if constant is None:
        return None
    factor = shrink(net, constant, *losses_by_factor(net, constant, held_out))
    return Shrinkage(factor, Evaluator(net, held_out)()["loss"])


def best_constant(net: Network, rows: Rows | HostRows) -> np.ndarray | None:
    """(n_out,) logits of the best constant prediction for ``rows``; None where the loss knows of none, or where the
    net does not end with a dense layer, which alone can take it in. Looks at the device."""
    if not isinstance(net.nodes[-1].layer, Dense):
        return None
    targets, weights = rows.targets, rows.weights
    if not isinstance(rows, HostRows):
        be = net.backend
        targets, weights = be.download(targets), None if weights is None else be.download(weights)
    return net.loss.best_constant(targets, weights)


def losses_by_factor(net: Network, constant: np.ndarray, held_out: Rows) -> tuple[np.ndarray, float]:
    """(len(FACTORS),) the loss of predictions drawn to the ``constant``, summed over the rows ``held_out``, and their
    weight: sums, so that those of several folds may be added. The net is as it was afterwards."""
    weight = float(len(held_out) if held_out.weights is None else net.backend.download(held_out.weights).sum())
    evaluate, trained = Evaluator(net, held_out), _output(net)
    losses = np.empty(len(FACTORS))
    for i, factor in enumerate(FACTORS):
        net.assign_parameters(_drawn(trained, constant, factor))
        losses[i] = evaluate()["loss"]
    net.assign_parameters(trained)
    return losses * weight if net.loss.mean else losses, weight


def shrink(net: Network, constant: np.ndarray, losses: np.ndarray, weight: float) -> float:
    """Draw the predictions of ``net`` to the ``constant`` by the factor with the least of the summed ``losses`` over
    rows of this ``weight``, and return it."""
    finite = np.where(np.isfinite(losses), losses, np.inf)
    least = float(finite.min())
    # Of equal losses the largest factor: rows that cannot tell leave the net as it is.
    factor = float(FACTORS[np.flatnonzero(finite == least)[-1]])
    price = 2 + 4 / max(1.0, weight - 2)
    if least < finite[0] and (finite[0] - least) * weight <= price * abs(least):
        factor = 0.0
    if factor < 1:
        net.assign_parameters(_drawn(_output(net), constant, factor))
    return factor


def _output(net: Network) -> dict[str, np.ndarray]:
    """Weights and bias of the output layer, copied to the host."""
    arrays, name = net.parameter_arena.download(), net.nodes[-1].name
    return {key: arrays[key] for key in (f"{name}.W", f"{name}.b")}


def _drawn(output: dict[str, np.ndarray], constant: np.ndarray, factor: float) -> dict[str, np.ndarray]:
    (weights, W), (bias, b) = output.items()
    return {weights: (factor * W).astype(W.dtype), bias: (factor * b + (1 - factor) * constant).astype(b.dtype)}
