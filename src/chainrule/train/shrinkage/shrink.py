"""Shrinks a net: the factors are chosen on held-out rows, and its output layer takes them in."""

from __future__ import annotations

import numpy as np

from chainrule.nn.evaluation import Evaluator
from chainrule.nn.inputs.rows import Rows
from chainrule.nn.network import Network
from chainrule.train.feeding.copied_rows import number_copies, number_rows
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.shrinkage.choose import choose_factors
from chainrule.train.shrinkage.deviance import ShrinkFactors
from chainrule.train.shrinkage.held_out import best_constant, constant_outputs, predict_held_out
from chainrule.train.shrinkage.outcome import Shrinkage


def shrink_by(net: Network, rows: Rows | HostRows, held_out: Rows) -> Shrinkage | None:
    """Shrink a net trained on ``rows`` towards the best constant prediction, by a factor chosen on ``held_out``.

    None, and nothing is changed, if that constant is not known.
    """
    constant = best_constant(net, rows)
    if constant is None:
        return None
    fixed, predicted = constant_outputs(net, rows), predict_held_out(net, constant, held_out)
    # Of few different rows the logits are few, whatever numbers: what counts is which rows have the same.
    numbers = (number_rows(values.reshape(len(held_out), -1)) for values in (predicted.logits, predicted.targets))
    copies, _ = number_copies([next(numbers)], next(numbers), names=[0])
    found = choose_factors(net.loss, [predicted._replace(copies=copies)], fixed)
    shrink(net, constant, found)
    valid_loss = Evaluator(net, held_out)()["loss"]
    return Shrinkage(found.factor, valid_loss, found.spread_factor, found.widened)


def shrink(net: Network, constant: np.ndarray, found: ShrinkFactors) -> None:
    """Shrink the predictions of ``net`` towards the ``constant``; with f = 1 the net keeps its bits."""
    if (found.factors == 1).all() and not found.shift.any():
        return
    arrays, name = net.parameter_arena.download(), net.nodes[-1].name
    W, b = arrays[f"{name}.W"], arrays[f"{name}.b"]
    bias = found.factors * b + (1 - found.factors) * constant + found.shift
    net.assign_parameters({f"{name}.W": (found.factors * W).astype(W.dtype), f"{name}.b": bias.astype(b.dtype)})
