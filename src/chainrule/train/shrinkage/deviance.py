"""The deviance of shrunk predictions, and the factor whose deviance is least."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from chainrule.backends import backend
from chainrule.backends.contract.backend import LOSS
from chainrule.backends.contract.losses import LossBatch
from chainrule.nn.losses.names import Loss
from chainrule.nn.passes import new_state
from chainrule.train.shrinkage.held_out import HeldOutPredictions

FACTORS = np.arange(101) / 100
LOGITS_AT_ONCE = 1 << 20  # so many that they and what is made of them stay small
MANY_LOGITS = 1 << 20  # from which on not every factor is tried


class ShrinkFactors(NamedTuple):
    """z -> c + f (z - c) + shift, with ``factors`` f and ``shift`` (n_out,); and the numbers they are made of."""

    factors: np.ndarray
    shift: np.ndarray
    factor: float
    spread_factor: float | None = None
    widened: float = 1.0


def effective_rows(weights: np.ndarray) -> float:
    """(sum w)^2 / sum(w^2): how many rows of equal weight tell as much."""
    largest = float(weights.max(initial=0.0))
    if not largest:
        return 0.0
    shares = weights / largest  # squares of 1e300 overflow and those of 1e-300 are 0
    return float(shares.sum()) ** 2 / float((shares**2).sum())


def price(rows: float, parameters: int = 1) -> float:
    """What parameters that were chosen by so many rows must gain together, in twice the log likelihood.

    2 p + 2 p (p + 1) / (n - p - 1): Akaike's criterion with Hurvich and Tsai's correction for few rows.
    """
    p = parameters
    return 2 * p + 2 * p * (p + 1) / max(1.0, rows - p - 1)


def least(deviances: np.ndarray, rows: float, parameters: int = 1) -> float:
    """The factor of :data:`FACTORS` with the least deviance; 0 if it does not pay for itself.

    Of equal deviances the largest factor, so that rows that cannot tell leave the net as it is.
    """
    finite = np.where(np.isfinite(deviances), deviances, np.inf)
    best = float(finite.min())
    if best == np.inf:
        return 1.0
    factor = float(FACTORS[np.flatnonzero(finite == best)[-1]])
    gain = finite[0] - best
    return 0.0 if gain > 0 and not pays(gain, best, rows, parameters) else factor


def deviances(loss: Loss, held_out: Sequence[HeldOutPredictions]) -> np.ndarray:
    """(101,) that of each of :data:`FACTORS`; of many logits and a convex loss inf for those that cannot be least."""

    def of(factor: float) -> float:
        return deviance(loss, held_out, factor)

    if not loss.convex or sum(part.logits.size for part in held_out) < MANY_LOGITS:
        return np.array([of(float(factor)) for factor in FACTORS])
    return by_bisection(of)


def by_bisection(of: Callable[[float], float]) -> np.ndarray:
    """(101,) the values of a convex function at 0 and where its last minimum is looked for, inf at all other factors.

    A line's loss is convex if it is convex in the logits: it falls up to the minimum, and a value beyond it is never
    below the one before. So 15 of 101 are enough. A function that is not finite at 0 is tried everywhere.
    """
    found = np.full(len(FACTORS), np.inf)

    @functools.cache
    def at(i: int) -> float:
        value = of(float(FACTORS[i]))
        found[i] = value if np.isfinite(value) else np.inf
        return float(found[i])

    if at(0) == np.inf:
        return np.array([of(float(factor)) for factor in FACTORS])
    low, high = 0, len(FACTORS) - 1
    while low < high:
        middle = (low + high + 1) // 2
        if at(middle) < np.inf and at(middle) <= at(middle - 1):
            low = middle
        else:
            high = middle - 1
    return found


def pays(gain: float, left: float, rows: float, parameters: int = 1) -> bool:
    """Whether so many rows gain enough deviance to choose so many parameters, by what is ``left`` of it."""
    return bool(gain * rows > price(rows, parameters) * max(left, 0.0))


def deviance(
    loss: Loss, held_out: Sequence[HeldOutPredictions], factors: np.ndarray | float, shift: np.ndarray | float = 0.0
) -> float:
    """sum_i w_i (l_i - l of a perfect prediction) of predictions that are shrunk so far."""
    return sum(_shrunk_loss(loss, part, factors, shift) - perfect_loss(loss, part) for part in held_out)


def _shrunk_loss(loss: Loss, part: HeldOutPredictions, factors: np.ndarray | float, shift: np.ndarray | float) -> float:
    pieces = (part.take(rows) for rows in pieces_of(*part.logits.shape))
    return sum(summed_loss(loss, piece, piece.shrunk(factors, shift)) for piece in pieces)


def pieces_of(n: int, logits_each: int) -> Iterator[slice]:
    """Slices that cover n rows, of about a million logits each."""
    step = max(1, LOGITS_AT_ONCE // max(1, logits_each))
    return (slice(start, start + step) for start in range(0, n, step))


def summed_loss(loss: Loss, part: HeldOutPredictions, logits: np.ndarray) -> float:
    """sum_i w_i l_i, by the loss's own kernel on the host."""
    be = backend("cpu")
    totals, state = be.empty((1, 3), np.float64), new_state(be)
    with be.running():
        logits = np.ascontiguousarray(logits)
        loss(be, LossBatch(logits, part.targets, part.weights, state, totals, np.empty_like(logits)))
    return float(totals[0, LOSS]) / loss.scale


def perfect_loss(loss: Loss, part: HeldOutPredictions) -> float:
    """sum_i w_i l_i of a prediction that is right for each row."""
    weight = len(part.logits) if part.weights is None else part.weights.sum()
    return float(weight * loss.perfect(part.targets, part.weights))
