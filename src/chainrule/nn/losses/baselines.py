"""The best prediction that is the same for every row, on the host, and its loss: what d2 is measured against.

targets (n, k), weights (n,) or None for all ones. Each loss is the sum over columns of a weighted average over rows, in
float64; predictions are (k,) or (k, levels).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.nn.losses.base import Baseline

HALVINGS = 100  # of an interval: enough for the last bit, whatever its width
SMALLEST_SHARE = 1e-6  # of a class that no row has: its logit is finite
SMALLEST_MEAN = 1e-6  # of counts that are all 0: its logarithm is finite


def never_changes(targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """(k,) bool: the columns that have one value in all rows of weight above 0. Decided by the values themselves: a
    computed mean may differ from them by rounding, and then the variance is above 0."""
    counted = targets if weights is None else targets[np.asarray(weights) > 0]
    same: np.ndarray = (counted == counted[:1]).all(axis=0)
    return same


def near_one(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Columns as values (n, k) of size at most 1 times 2^exponents (k,), so that sums and squares neither overflow nor
    underflow; a power of two changes no digit. Columns of zeros, or with a number that is not finite, are unchanged."""
    largest = np.abs(values).max(axis=0)
    exponents = np.where(np.isfinite(largest), np.frexp(np.where(np.isfinite(largest), largest, 0))[1], 0)
    # In two steps: 2^1074, which brings the smallest numbers near 1, does not fit in float64.
    half = exponents // 2
    return np.ldexp(np.ldexp(values, -half), half - exponents), exponents


def mean_and_variance(targets: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Both (k,), weighted; of a constant column exactly its value and 0."""
    targets = targets.astype(np.float64)
    targets, exponents = near_one(targets)
    mean = _average(targets, weights)
    variance = _average((targets - mean) ** 2, weights)
    with np.errstate(over="ignore", under="ignore"):  # of the square, which float64 may not hold
        return np.ldexp(mean, exponents), np.ldexp(variance, 2 * exponents)


def _average(values: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """(k,) weighted means; of a constant column exactly its value."""
    first = values[0] if weights is None else values[int(np.argmax(np.asarray(weights) > 0))]
    return np.where(never_changes(values, weights), first, np.average(values, axis=0, weights=weights))


def spread(targets: np.ndarray, weights: np.ndarray | None) -> float:
    """The weighted variances of the target columns, added up: the squared error of the mean."""
    return float(mean_and_variance(targets, weights)[1].sum())


def quantiles(targets: np.ndarray, weights: np.ndarray | None, levels: Sequence[float]) -> np.ndarray:
    """(k, levels): the smallest target with at least a fraction u of its column's weight at or below it."""
    targets, weights = _in_double(targets, weights)
    found = np.empty((targets.shape[1], len(levels)))
    for column, out in zip(targets.T, found, strict=True):
        order = np.argsort(column, kind="stable")
        below = np.cumsum(weights[order])
        at = np.searchsorted(below, np.asarray(levels) * (1 - 1e-12) * below[-1])
        out[:] = column[order[np.minimum(at, len(order) - 1)]]
    return found


def pinball(targets: np.ndarray, weights: np.ndarray | None, levels: Sequence[float]) -> float:
    """The pinball loss of the targets' own quantiles at these levels, added up."""
    best = quantiles(targets, weights, levels)
    targets, weights = _in_double(targets, weights)
    total = 0.0
    for j, level in enumerate(levels):
        error = targets - best[:, j]
        total += float(np.average(np.maximum(level * error, (level - 1) * error), axis=0, weights=weights).sum())
    return total


def huber_center(targets: np.ndarray, weights: np.ndarray | None, delta: float) -> np.ndarray:
    """(k,): the constant c of each column with sum_i (w_i clip(t_i - c, -delta, delta)) = 0, by bisection."""
    targets, weights = _in_double(targets, weights)
    centers = np.empty(targets.shape[1])
    for j, column in enumerate(targets.T):
        order = np.argsort(column, kind="stable")
        t, w = column[order], weights[order]
        # Cumulative sums, of which each halving reads two rather than all rows.
        count, moment = np.append(0, np.cumsum(w)), np.append(0, np.cumsum(w * t))
        low, high = t[0], t[-1]
        for _ in range(HALVINGS):
            c = (low + high) / 2
            first, last = np.searchsorted(t, c - delta), np.searchsorted(t, c + delta)
            inside = moment[last] - moment[first] - c * (count[last] - count[first])
            pull = inside + delta * (count[-1] - count[last] - count[first])
            low, high = (c, high) if pull > 0 else (low, c)
        centers[j] = (low + high) / 2
    return centers


def huber(targets: np.ndarray, weights: np.ndarray | None, delta: float) -> float:
    """The Huber loss of :func:`huber_center`."""
    error = huber_center(targets, weights, delta) - targets.astype(np.float64)
    clipped = np.clip(error, -delta, delta)
    return float(np.average(clipped * (error - clipped / 2), axis=0, weights=weights).sum())


def log_shares(labels: np.ndarray, weights: np.ndarray | None, k: int, *, smoothing: float = 0.0) -> np.ndarray:
    """(k,): the logarithm of each class's share of the weight, (1 - s) share + s / k if labels are smoothed."""
    counts = np.bincount(labels, weights, k).astype(np.float64)
    shares = (1 - smoothing) * counts / counts.sum() + smoothing / k
    logs: np.ndarray = np.log(np.maximum(shares, SMALLEST_SHARE))
    return logs


def log_odds(targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """(k,): log(p / (1 - p)) of the mean p of each column of zeros and ones."""
    p = np.clip(mean_and_variance(targets, weights)[0], SMALLEST_SHARE, 1 - SMALLEST_SHARE)
    odds: np.ndarray = np.log(p / (1 - p))
    return odds


def entropy(shares: np.ndarray) -> np.ndarray:
    """-sum_j (p_j log p_j) over the last axis, in nats, with 0 log 0 = 0."""
    found: np.ndarray = -_t_log_t(shares).sum(axis=-1)
    return found


def log_mean(targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray:
    """(k,): the logarithm of the mean of each column, for targets from 0 up."""
    mean, _ = mean_and_variance(targets, weights)
    logs: np.ndarray = np.log(np.where(mean > 0, mean, SMALLEST_MEAN))
    return logs


def poisson(targets: np.ndarray, weights: np.ndarray | None) -> Baseline:
    """exp(z) - t z, averaged, for exp(z) = the mean, and for exp(z) = t."""
    mean, _ = mean_and_variance(targets, weights)
    return Baseline(float((mean - _t_log_t(mean)).sum()), perfect_poisson(targets, weights))


def perfect_poisson(targets: np.ndarray, weights: np.ndarray | None) -> float:
    """t - t log t, averaged, with 0 log 0 = 0."""
    t = targets.astype(np.float64)
    return float(_average(t - _t_log_t(t), weights).sum())


def gamma(targets: np.ndarray, weights: np.ndarray | None) -> Baseline:
    """z + t exp(-z), averaged, for exp(z) = the mean, and for exp(z) = t."""
    mean, _ = mean_and_variance(targets, weights)
    return Baseline(float((np.log(mean) + 1).sum()), perfect_gamma(targets, weights))


def perfect_gamma(targets: np.ndarray, weights: np.ndarray | None) -> float:
    """log t + 1, averaged."""
    return float(_average(np.log(targets.astype(np.float64)) + 1, weights).sum())


def _t_log_t(t: np.ndarray) -> np.ndarray:
    return t * np.log(np.where(t > 0, t, 1.0))


def _in_double(targets: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    targets = targets.astype(np.float64)
    return targets, np.ones(len(targets)) if weights is None else weights.astype(np.float64)
