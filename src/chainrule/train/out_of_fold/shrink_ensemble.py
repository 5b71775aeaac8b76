"""Shrinks an ensemble by the rows that some of its members never saw; each output layer takes its part in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.backends import backend
from chainrule.nn.inputs.rows import Rows
from chainrule.nn.inputs.standardization import Standardization
from chainrule.nn.losses.names import Loss
from chainrule.nn.network import Network
from chainrule.nn.predictions import numbers, probabilities
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.out_of_fold.factors import choose_ensemble_factors, shrink_parts
from chainrule.train.out_of_fold.label_smoothing import unsmoothed_constant
from chainrule.train.out_of_fold.predictions import OutOfFoldPart
from chainrule.train.shrinkage.choose import to_the_constant
from chainrule.train.shrinkage.deviance import ShrinkFactors
from chainrule.train.shrinkage.held_out import best_constant, constant_outputs
from chainrule.train.shrinkage.shrink import shrink


def shrink_ensemble(
    net: Network, rows: Rows | HostRows, parts: Sequence[OutOfFoldPart], *, copies: np.ndarray | None = None
) -> tuple[ShrinkFactors | None, list[OutOfFoldPart]]:
    """How far an ensemble was shrunk towards the best constant prediction, and ``parts`` as it predicts them now.

    None, and nothing is changed, if that constant is not known, or if there are no ``parts``.

    Parameters
    ----------
    rows : that it was trained on
    parts : what members predict for those that they did not see
    copies : as for :func:`choose_ensemble_factors`
    """
    constant, same = best_constant(net, rows), list(parts)
    if constant is None:
        return None, same
    constant, fixed = unsmoothed_constant(net.loss, constant), constant_outputs(net, rows)
    if fixed.all():
        found = to_the_constant(net.loss)
    elif not same:
        return None, same
    else:
        found = choose_ensemble_factors(net.loss, same, constant, members=net.members, fixed=fixed, copies=copies)
    shrink(net, constant, found)
    return found, shrink_parts(same, constant, found)


def predictions_for_rows(
    loss: Loss, parts: Sequence[OutOfFoldPart], n: int, targets: Standardization | None
) -> np.ndarray:
    """(n, n_out) float64, for the rows of ``parts`` the mean of the members that did not see them, nan for all others.

    Probabilities of classes; of a regression numbers in the target's own units.
    """
    be, dtype = backend("cpu"), np.dtype(np.float64)
    answer = numbers(be, loss, dtype, targets) if loss.task == "regress" else probabilities(be, loss, dtype)
    found = np.full((n, loss.n_out), np.nan)
    with be.running():
        for part in parts:
            logits = part.mean_logits(loss)
            out = np.empty_like(logits)
            answer.write(logits, out)
            found[part.rows] = out
    return found
