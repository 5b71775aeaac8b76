"""How far to shrink an ensemble, judged by rows that some of its members were not trained on.

As in :mod:`chainrule.train.shrinkage`: logits z -> c + f (z - c), c the best constant prediction, of every member
alike, so that the output layer takes it in. f is the factor with the least loss of an ensemble of k, which
:mod:`~chainrule.train.out_of_fold.ensemble_loss` estimates from the c members that did not see a row. Of the squared
error, with y and z as deviations from the constant, z_a of member a, and z their mean,

    L(f) = sum_i w_i (y^2 - 2 f y z + f^2 q),    q = z^2 - (1/c - 1/k) var(z_a),
    f = sum_i(w_i y z) / sum_i(w_i q), clipped to [0, 1], less the share of its gain that may be chance

where q is, on average, the square of the mean of all k: that of c is larger by the part 1/c - 1/k of the members'
variance. (Of a pair, and infinite k, q is the product z_a z_b.) Each target column has a factor of its own. An f above
0 must pay for itself, as there, and for the epoch, which the same rows have chosen.

Of probabilities: :mod:`~chainrule.train.out_of_fold.temperature`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.nn.losses.names import GaussianNLL, Loss, SquaredError
from chainrule.train.out_of_fold.ensemble_loss import deviance_of_ensemble
from chainrule.train.out_of_fold.label_smoothing import unsmoothed_targets, without_smoothing
from chainrule.train.out_of_fold.predictions import OutOfFoldPart
from chainrule.train.out_of_fold.temperature import CHOSEN, choose_temperature
from chainrule.train.shrinkage.choose import to_the_constant
from chainrule.train.shrinkage.deviance import FACTORS, ShrinkFactors, effective_rows, least, pays, price
from chainrule.train.shrinkage.spread import best_location_and_gaps, fit_spread, has_gaps


def choose_ensemble_factors(
    loss: Loss,
    parts: Sequence[OutOfFoldPart],
    constant: np.ndarray,
    *,
    members: int,
    fixed: np.ndarray | None = None,
    copies: np.ndarray | None = None,
) -> ShrinkFactors:
    """How far to shrink an ensemble of ``members``; see above.

    Parameters
    ----------
    loss : that it was trained with, bound
    parts : what members predict for the rows that they never saw; at least one row
    constant : (n_out,) the best constant prediction, of labels without smoothing (``unsmoothed_constant``)
    fixed : (n_out,) bool, outputs that are to be the constant and do not count in the choice; by default none
    copies : (n,) the same number for copies of a row, for all rows of the table; None if there are none
    """
    judge, rows = without_smoothing(loss), _effective_rows(parts, copies)
    parts = [part._replace(targets=unsmoothed_targets(loss, part.targets)) for part in parts]
    fixed = np.zeros(loss.n_out, bool) if fixed is None else fixed
    if loss.mean_kind == "softmax":
        return to_the_constant(loss) if fixed.all() else choose_temperature(judge, parts, constant, members, rows)
    found = []
    for j in range(loss.columns):
        at = _outputs_of(loss, j)
        column, one = [_of_column(part, at, j) for part in parts], judge.bind(loss.outputs_each)
        found.append(
            to_the_constant(one) if fixed[at].all() else _of_one_column(one, column, constant[at], members, rows)
        )
    return _together(loss, found)


def shrink_parts(parts: Sequence[OutOfFoldPart], constant: np.ndarray, found: ShrinkFactors) -> list[OutOfFoldPart]:
    """The predictions after each member was shrunk."""
    return [p._replace(logits=constant + found.factors * (p.logits - constant) + found.shift) for p in parts]


def _of_one_column(
    loss: Loss, parts: Sequence[OutOfFoldPart], constant: np.ndarray, members: int, rows: float
) -> ShrinkFactors:
    if isinstance(loss, SquaredError):
        f = _of_squares(parts, constant, members, rows)[0]
        return ShrinkFactors(np.array([f]), np.zeros(1), f)
    if isinstance(loss, GaussianNLL):
        return _mean_and_spread(parts, constant, members, rows)
    if has_gaps(loss):
        return best_location_and_gaps(loss, lambda f: deviance_of_ensemble(loss, parts, constant, members, f), rows)
    if loss.mean_kind == "sigmoid":
        return choose_temperature(loss, parts, constant, members, rows)
    f = least(np.array([deviance_of_ensemble(loss, parts, constant, members, float(f)) for f in FACTORS]), rows, CHOSEN)
    return ShrinkFactors(np.array([f]), np.zeros(1), f)


def _of_squares(
    parts: Sequence[OutOfFoldPart], constant: np.ndarray, members: int, rows: float
) -> tuple[float, np.ndarray]:
    """f by the squared error of the first output, and (m,) the squared errors of an ensemble that is shrunk by it."""
    error, mean, variance, missing, weights = _moments(parts, constant, members)
    square = mean**2 - missing * variance
    product, squares = float(weights @ (error * mean)), float(weights @ square)
    f = np.clip(product / squares, 0, 1) if squares > 0 else float(product >= 0)
    gain, before = f * (2 * product - f * squares), float(weights @ error**2)
    if gain > 0:
        f *= _share_not_by_chance(gain, before - gain, rows)
    f = np.round(f, 2)
    return float(f), error**2 - f * (2 * error * mean - f * square)


def _share_not_by_chance(gain: float, left: float, rows: float) -> float:
    """1 - price / T, T = n gain / left; 0 if the gain does not pay.

    The rows that say what f gains have chosen it: if there is nothing to learn T is about what a parameter costs, and
    of many rows, or much to learn, next to nothing of T is chance. Source: the positive part of James, Stein 1961.
    """
    return 1 - price(rows) * max(left, 0.0) / (gain * rows) if pays(gain, left, rows, CHOSEN) else 0.0


def _moments(
    parts: Sequence[OutOfFoldPart], constant: np.ndarray, members: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of the first output, (m,) each: y and the mean of the members as deviations from the constant, the unbiased
    variance of the members, 1/c - 1/k, and weights."""
    z = [part.logits[..., 0] - constant[0] for part in parts]
    variance = [one.var(axis=0, ddof=1) if len(one) > 1 else np.zeros(one.shape[1]) for one in z]
    missing = [np.full(one.shape[1], max(1 / len(one) - 1 / members, 0)) for one in z]
    weights = [np.ones(len(p.rows)) if p.weights is None else p.weights for p in parts]
    error = [part.targets[:, 0] - constant[0] for part in parts]
    mean = [one.mean(axis=0) for one in z]
    error_, mean_, variance_, missing_, weights_ = (
        np.concatenate(all_parts) for all_parts in (error, mean, variance, missing, weights)
    )
    return error_, mean_, variance_, missing_, weights_


def _mean_and_spread(parts: Sequence[OutOfFoldPart], constant: np.ndarray, members: int, rows: float) -> ShrinkFactors:
    """The mean by its squared error; then the logarithms of the variances of the mixture of k, by the likelihood."""
    f, square = _of_squares(parts, constant, members, rows)
    _, _, variance, _, weights = _moments(parts, constant, members)
    within = np.concatenate([np.exp(part.logits[..., 1]).mean(axis=0) for part in parts])
    s = np.log(within + f * f * (1 - 1 / members) * variance)
    center = np.full((len(s), 1), constant[1])
    g, q = fit_spread(center, s[:, None] - center, square[:, None], weights, rows)
    if f == 0 and g == 0:
        q = np.ones(1)  # the constant prediction, whose variance all training rows have chosen
    return ShrinkFactors(np.array([f, g]), np.array([0.0, np.log(q[0])]), f, g, float(np.sqrt(q[0])))


def _outputs_of(loss: Loss, column: int) -> np.ndarray:
    """The numbers of the outputs of a target column."""
    if isinstance(loss, GaussianNLL):
        return np.array([column, loss.columns + column])
    return column * loss.outputs_each + np.arange(loss.outputs_each)


def _of_column(part: OutOfFoldPart, outputs: np.ndarray, column: int) -> OutOfFoldPart:
    logits = np.ascontiguousarray(part.logits[..., outputs])
    return part._replace(logits=logits, targets=np.ascontiguousarray(part.targets[:, column : column + 1]))


def _together(loss: Loss, found: Sequence[ShrinkFactors]) -> ShrinkFactors:
    """Those of all columns; the numbers that are told are their means."""
    factors, shift = np.empty(loss.n_out), np.empty(loss.n_out)
    for j, one in enumerate(found):
        factors[_outputs_of(loss, j)], shift[_outputs_of(loss, j)] = one.factors, one.shift
    spread = [one.spread_factor for one in found if one.spread_factor is not None]
    return ShrinkFactors(
        factors,
        shift,
        float(np.mean([one.factor for one in found])),
        float(np.mean(spread)) if spread else None,
        float(np.exp(np.mean(np.log([one.widened for one in found])))),
    )


def _effective_rows(parts: Sequence[OutOfFoldPart], copies: np.ndarray | None) -> float:
    weights = np.concatenate([np.ones(len(p.rows)) if p.weights is None else p.weights for p in parts])
    if copies is None:
        return effective_rows(weights)
    _, number = np.unique(copies[np.concatenate([p.rows for p in parts])], return_inverse=True)
    return effective_rows(np.bincount(number.reshape(-1), weights))
