"""The factors of losses with two parameters of a distribution: mean and spread, location and gaps."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from chainrule.nn.losses.names import GaussianNLL, Loss, Quantile
from chainrule.train.shrinkage.deviance import FACTORS, ShrinkFactors, deviance, least, price
from chainrule.train.shrinkage.held_out import HeldOutPredictions


def mean_and_spread(loss: GaussianNLL, held_out: Sequence[HeldOutPredictions], rows: float) -> ShrinkFactors:
    """The mean by its own squared error; then the log variances, by the likelihood at that mean."""
    k = loss.columns
    targets = np.concatenate([part.targets for part in held_out])
    weights = np.concatenate([np.ones(len(p.logits)) if p.weights is None else p.weights for p in held_out])
    deviations, constants = (np.concatenate(parts) for parts in zip(*map(_from_constant, held_out), strict=True))
    error = targets - constants[:, :k]
    factor = least(np.array([weights @ ((error - f * deviations[:, :k]) ** 2).sum(axis=1) for f in FACTORS]), rows)
    square = (error - factor * deviations[:, :k]) ** 2
    spread_factor, q = fit_spread(constants[:, k:], deviations[:, k:], square, weights, rows)
    if factor == 0 and spread_factor == 0:
        q = np.ones(k)  # the constant prediction, whose variance all training rows have chosen
    shift = np.concatenate([np.zeros(k), np.log(q)])
    factors = np.repeat([factor, spread_factor], k)
    return ShrinkFactors(factors, shift, factor, spread_factor, float(np.exp(np.log(q).mean() / 2)))


def fit_spread(
    constant: np.ndarray, deviation: np.ndarray, square: np.ndarray, weights: np.ndarray, rows: float
) -> tuple[float, np.ndarray]:
    """The factor g of log variances and the widening q (k,); all others (m, k), ``square`` the squared errors."""
    share = (weights / weights.sum())[:, None]

    def fitted(g: float) -> tuple[float, np.ndarray]:
        """Twice the negative log likelihood per row at the best q, and this q (k,)."""
        s = constant + g * deviation
        with np.errstate(over="ignore"):
            q = np.maximum((share * square * np.exp(-s)).sum(axis=0), np.finfo(np.float64).tiny)
        return float((share * s).sum() + np.log(q).sum() + square.shape[1]), q

    found = [fitted(float(g)) for g in FACTORS]
    likelihoods = np.array([value for value, _ in found])
    likelihoods = np.where(np.isfinite(likelihoods), likelihoods, np.inf)
    at = int(np.flatnonzero(likelihoods == likelihoods.min())[-1])
    if rows * (likelihoods[0] - likelihoods[at]) <= price(rows):
        at = 0
    q = found[at][1]
    # Twice the log likelihood gains -log q + q - 1 per row and column. Wider is the safe side and costs nothing.
    gains = rows * (q - 1 - np.log(q)) > price(rows)
    return float(FACTORS[at]), np.where(((q > 1) | gains) & square.any(axis=0), q, 1.0)


def _from_constant(part: HeldOutPredictions) -> tuple[np.ndarray, np.ndarray]:
    return part.logits - part.constant, np.broadcast_to(part.constant, part.logits.shape)


def has_gaps(loss: Loss) -> bool:
    return isinstance(loss, Quantile) and len(loss.levels) > 1


def location_and_gaps(loss: Loss, held_out: Sequence[HeldOutPredictions], rows: float) -> ShrinkFactors:
    """Two factors, by the loss of held-out rows."""
    return best_location_and_gaps(loss, lambda factors: deviance(loss, held_out, factors), rows)


def best_location_and_gaps(loss: Loss, of_factors: Callable[[np.ndarray], float], rows: float) -> ShrinkFactors:
    """The two factors of the least deviance ``of_factors``, found in turn from the best common one."""
    is_gap = np.arange(loss.n_out) % loss.outputs_each > 0

    def of(f: float, g: float) -> float:
        value = of_factors(np.where(is_gap, g, f))
        return value if np.isfinite(value) else np.inf

    def best(values: list[float]) -> float:
        return float(FACTORS[np.flatnonzero(np.array(values) == min(values))[-1]])

    f = g = best([of(float(x), float(x)) for x in FACTORS])
    g = best([of(f, float(x)) for x in FACTORS])
    f = best([of(float(x), g) for x in FACTORS])
    if (gain := of(0.0, 0.0) - of(f, g)) > 0 and gain * rows <= price(rows) * max(of(f, g), 0.0):
        f = g = 0.0
    return ShrinkFactors(np.where(is_gap, g, f), np.zeros(loss.n_out), f, g)
