"""The loss of an ensemble of k, from rows that only c of its members were not trained on.

An ensemble is better than a part of it, because its prediction has less variance. Members differ by chance alone, so
the expected loss of the mean of m of them is, to second order in how far they lie apart,

    L_m = L_inf + D / m,    D_i = l_i''(p) v_i / 2,

with l_i the loss of row i as a function of the prediction p that is averaged (a number, a probability, a mean) and v_i
the variance of the predictions of single members. From the c that did not see a row v_i is estimated without bias, and

    L_k = L_c - (1/c - 1/k) D.

Of the squared error, with D_i = v_i, that is exact. Of the log loss D_i = var(p_a(y)) / (2 p(y)^2), y the row's class,
at most c / 2: one member that is sure and wrong cannot outweigh the rows. Losses with a kink have no second derivative;
theirs is taken from L_1 - L_c = (1 - 1/c) D. With c = 1 there is nothing to tell D from, and L_1 stands for L_k.

Source: Krogh, Vedelsby 1995, equation 6 (ambiguity: of the squared error); Wood et al. 2023, section 3 (other losses).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.nn.losses.names import Focal, Gamma, Loss, Poisson, SoftmaxCrossEntropy
from chainrule.train.out_of_fold.predictions import OutOfFoldPart
from chainrule.train.shrinkage.deviance import MANY_LOGITS, perfect_loss, pieces_of, summed_loss
from chainrule.train.shrinkage.held_out import HeldOutPredictions

Factors = np.ndarray | float
SMALLEST_Q = 1e-12  # of 1 - p: powers below 0 of it stay finite


def deviance_of_ensemble(
    loss: Loss, parts: Sequence[OutOfFoldPart], constant: np.ndarray, members: int, factors: Factors
) -> float:
    """sum_i w_i (l_i - l of a perfect prediction) of an ensemble of ``members`` if the logits of each are shrunk to
    c + f (z - c), c the ``constant``."""
    return sum(_of_part(loss, part, constant, members, factors) for part in parts)


def _of_part(loss: Loss, part: OutOfFoldPart, constant: np.ndarray, members: int, factors: Factors) -> float:
    whole = HeldOutPredictions(part.logits[0], constant, part.targets, part.weights)
    pieces = (part.take(rows) for rows in pieces_of(len(part.rows), part.logits[:, :1].size))
    plain = isinstance(loss, SoftmaxCrossEntropy) and not loss.label_smoothing
    of_piece = _of_own_classes if plain and part.logits.size >= MANY_LOGITS else _of_piece
    found, by_members = np.sum([of_piece(loss, piece, constant, members, factors) for piece in pieces], axis=0)
    return float(found - perfect_loss(loss, whole) - by_members)


def _of_piece(
    loss: Loss, part: OutOfFoldPart, constant: np.ndarray, members: int, factors: Factors
) -> tuple[float, float]:
    """sum_i w_i l_i of the members that there are, and what more of them would take from it."""
    z = constant + factors * (part.logits - constant)
    mean = part._replace(logits=z).mean_logits(loss)
    held_out = HeldOutPredictions(mean, constant, part.targets, part.weights)
    found = summed_loss(loss, held_out, mean)
    missing = 1 / len(z) - 1 / members
    return found, missing * _spread(loss, held_out, z) if len(z) > 1 and missing > 0 else 0.0


def _of_own_classes(
    _: Loss, part: OutOfFoldPart, constant: np.ndarray, members: int, factors: Factors
) -> tuple[float, float]:
    """:func:`_of_piece` of a softmax cross-entropy, from what each member says of each row's own class: of many classes
    a quarter of the work, as the probabilities of the others are not needed."""
    z = part.logits - constant
    z *= factors
    z += constant
    log_p = _log_p_of_own(z, part.targets)
    largest = log_p.max(axis=0)
    log_mean = largest + np.log(np.exp(log_p - largest).mean(axis=0))
    weights, missing = np.ones(len(log_mean)) if part.weights is None else part.weights, 1 / len(z) - 1 / members
    found = -float(weights @ log_mean)
    if len(z) == 1 or missing <= 0:
        return found, 0.0
    return found, missing * float(weights @ _relative_variance(log_p, log_mean)) / 2


def _log_p_of_own(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(c, m): the log-probability of each row's class, by the logits (c, m, k) of each member; overwrites them."""
    own, largest = z[:, np.arange(z.shape[1]), labels], z.max(axis=-1)
    z -= largest[..., None]
    found: np.ndarray = own - largest - np.log(np.exp(z, out=z).sum(axis=-1))
    return found


def _spread(loss: Loss, held_out: HeldOutPredictions, z: np.ndarray) -> float:
    """sum_i w_i D_i, from the logits (c, m, n_out) of members whose mean ``held_out`` has."""
    weights = np.ones(z.shape[1]) if held_out.weights is None else held_out.weights
    if loss.mean_kind == "softmax":
        return float(weights @ _of_classes(loss, held_out, z))
    if loss.mean_kind == "sigmoid":
        t = held_out.targets
        yes, no = (_relative_variance(log_p(z), log_p(held_out.logits)) for log_p in (_log_sigmoid, _log_opposite))
        return float(weights @ (t * yes + (1 - t) * no).sum(axis=1)) / 2
    if isinstance(loss, Poisson | Gamma):
        ratio = held_out.targets if isinstance(loss, Poisson) else 2 * held_out.targets * np.exp(-held_out.logits) - 1
        return float(weights @ (ratio * _relative_variance(z, held_out.logits)).sum(axis=1)) / 2
    alone = np.mean([summed_loss(loss, held_out, one) for one in z])
    return float(alone - summed_loss(loss, held_out, held_out.logits)) / (1 - 1 / len(z))


def _of_classes(loss: Loss, held_out: HeldOutPredictions, z: np.ndarray) -> np.ndarray:
    """(m,): var(p_a(y)) / (2 p(y)^2); of the focal loss :func:`_focal_curvature` times as much."""
    rows, labels = np.arange(z.shape[1]), held_out.targets
    log_p = _log_p_of_own(z.copy(), labels)
    log_mean = held_out.logits[rows, labels]
    found = _relative_variance(log_p, log_mean) / 2
    return found * _focal_curvature(log_mean, loss.gamma) if isinstance(loss, Focal) else found


def _focal_curvature(log_p: np.ndarray, gamma: float) -> np.ndarray:
    """p^2 l'' of l = -(1 - p)^gamma log(p), which of -log(p) is 1.

    q^gamma + 2 gamma p q^(gamma - 1) - gamma (gamma - 1) p^2 log(p) q^(gamma - 2), q = 1 - p.
    """
    log_p = np.minimum(log_p, 0)
    p, q = np.exp(log_p), np.maximum(-np.expm1(log_p), SMALLEST_Q)
    found: np.ndarray = (
        q**gamma + 2 * gamma * p * q ** (gamma - 1) - gamma * (gamma - 1) * p**2 * log_p * q ** (gamma - 2)
    )
    return found


def _relative_variance(logs: np.ndarray, log_mean: np.ndarray) -> np.ndarray:
    """Of the exponentials of ``logs`` over the first axis: the unbiased variance, divided by the square of the mean."""
    found: np.ndarray = np.exp(logs - log_mean).var(axis=0, ddof=1)
    return found


def _log_sigmoid(z: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.minimum(z, 0) - np.log1p(np.exp(-np.abs(z)))
    return found


def _log_opposite(z: np.ndarray) -> np.ndarray:
    return _log_sigmoid(-z)
