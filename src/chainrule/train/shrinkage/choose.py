"""How far to shrink a net, judged by what it predicts for held-out rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.nn.losses.names import GaussianNLL, Loss
from chainrule.train.shrinkage.deviance import ShrinkFactors, deviances, effective_rows, least
from chainrule.train.shrinkage.held_out import HeldOutPredictions
from chainrule.train.shrinkage.spread import has_gaps, location_and_gaps, mean_and_spread


def to_the_constant(loss: Loss) -> ShrinkFactors:
    """The factors of the best constant prediction: f = 0."""
    spread = 0.0 if isinstance(loss, GaussianNLL) or has_gaps(loss) else None
    return ShrinkFactors(np.zeros(loss.n_out), np.zeros(loss.n_out), 0.0, spread)


def choose_factors(
    loss: Loss, held_out: Sequence[HeldOutPredictions], fixed: np.ndarray | None = None
) -> ShrinkFactors:
    """How far to shrink, by what one or several nets (of folds) predict for held-out rows; see the package.

    Parameters
    ----------
    fixed : (n_out,) bool, outputs that are to be the constant and do not count in the choice; by default none
    """
    if fixed is None or not fixed.any():
        return _chosen(loss, held_out)
    if fixed.all():
        return to_the_constant(loss)
    found = _chosen(loss, [part._replace(logits=np.where(fixed, part.constant, part.logits)) for part in held_out])
    return found._replace(factors=np.where(fixed, 0.0, found.factors), shift=np.where(fixed, 0.0, found.shift))


def _chosen(loss: Loss, held_out: Sequence[HeldOutPredictions]) -> ShrinkFactors:
    rows = effective_rows(np.concatenate([part.row_weights for part in held_out]))
    if isinstance(loss, GaussianNLL):
        return mean_and_spread(loss, held_out, rows)
    if has_gaps(loss):
        return location_and_gaps(loss, held_out, rows)
    factor = least(deviances(loss, held_out), rows)
    return ShrinkFactors(np.full(loss.n_out, factor), np.zeros(loss.n_out), factor)
