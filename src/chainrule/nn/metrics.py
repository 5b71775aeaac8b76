"""Metrics of predictions on the host, in the target's own units.

y (n,) or (n, k) are the true values, p the predictions, w (n,) the weights of the rows, all ones if None; means over
rows are sum_i(w_i x_i) / sum_i(w_i). Each returns a float, nan if it is undefined. Each is scikit-learn's metric of
that name, over several target columns the mean of theirs, as is its default; differences are documented.
"""

from __future__ import annotations

import numpy as np

from chainrule.errors import ShapeError
from chainrule.nn.class_ranks import ClassRanks
from chainrule.nn.losses import baselines

Weights = np.ndarray | None
HEADROOM = 64  # powers of two by which large numbers are scaled down, so that their sums do not overflow
LARGE = float(np.ldexp(1.0, 1023 - HEADROOM))  # numbers above are scaled down


def accuracy(y: np.ndarray, predicted: np.ndarray, sample_weight: Weights = None) -> float:
    """Fraction of rows that are right; with several columns, right in every one."""
    right = np.asarray(y) == np.asarray(predicted)
    return _mean(right if right.ndim == 1 else right.all(axis=1), sample_weight)


def balanced_accuracy(labels: np.ndarray, predicted: np.ndarray, sample_weight: Weights = None) -> float:
    """Mean over the classes in ``labels`` of the fraction of their rows that are right: chance is 1 / k for any mix.

    Classes whose rows all have weight 0 are left out.
    """
    labels = np.asarray(labels)
    _, classes = np.unique(labels, return_inverse=True)
    weights = np.ones(len(labels)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    rows = np.bincount(classes, weights)
    right = np.bincount(classes, weights * (labels == predicted))
    return float((right[rows > 0] / rows[rows > 0]).mean()) if rows.any() else np.nan


def log_loss(labels: np.ndarray, probabilities: np.ndarray, sample_weight: Weights = None) -> float:
    """-mean_i(log p_i[label_i]), in nats; p is clipped to [eps, 1 - eps], eps that of its dtype, as in scikit-learn."""
    return log_loss_of_own(np.asarray(probabilities)[np.arange(len(labels)), labels], sample_weight)


def log_loss_of_own(own: np.ndarray, sample_weight: Weights = None) -> float:
    """:func:`log_loss` from the probability (n,) that each row has for its own class."""
    return _mean(-np.log(_within_eps(own)), sample_weight)


def binary_log_loss(y: np.ndarray, probabilities: np.ndarray, sample_weight: Weights = None) -> float:
    """-mean( y log p + (1 - y) log(1 - p) ), in nats, over rows and columns; p as in :func:`log_loss`."""
    p = _within_eps(probabilities)
    return _mean(-(y * np.log(p) + (1 - y) * np.log1p(-p)), sample_weight)


def _within_eps(p: np.ndarray) -> np.ndarray:
    """Probabilities in float64, clipped, so that a confident error has a finite loss."""
    p = np.asarray(p)
    eps = np.finfo(p.dtype if p.dtype.kind == "f" else np.float64).eps
    return np.clip(p.astype(np.float64), eps, 1 - eps)


def roc_auc(y: np.ndarray, scores: np.ndarray, sample_weight: Weights = None) -> float:
    """The probability that a row of the class scores higher than one of the others; a tie counts half.

    AUC = sum_{i: y_i = 1} sum_{j: y_j = 0} (w_i w_j ([s_i > s_j] + [s_i = s_j] / 2)) / (W_1 W_0),
    W_c the sum of the weights of the rows with y = c

    y (n,) of 0 and 1 with scores (n,), or columns of each (n, k); or y (n,) class numbers with scores (n, k), a column
    per class: each against the rest. The unweighted mean over columns; columns without rows of both kinds are left out,
    and it is nan if none is left. In n log n steps per column, by ranks: :mod:`~chainrule.nn.class_ranks`, or with
    weights by cumulative sums. Source: Fawcett 2006, section 7; Hand, Till 2001.
    """
    y, scores = np.asarray(y), np.asarray(scores)
    if scores.ndim == 1:
        y, scores = (y > 0.5)[:, None], scores[:, None]
    if sample_weight is None:
        return mean_area(_ranks(y, scores).areas())
    columns = (y[:, j] > 0.5 if y.ndim == 2 else y == j for j in range(scores.shape[1]))
    return mean_area(np.array([_weighted_auc(c, s, sample_weight) for c, s in zip(columns, scores.T, strict=True)]))


def mean_area(areas: np.ndarray) -> float:
    """The mean of those that are defined; nan if none is."""
    defined = areas[~np.isnan(areas)]
    return float(defined.mean()) if len(defined) else np.nan


def _ranks(y: np.ndarray, scores: np.ndarray) -> ClassRanks:
    if y.ndim == 2:
        classes, rows = np.nonzero(y.T > 0.5)
        ranks = ClassRanks(classes, scores[rows, classes])
    else:
        rows = np.flatnonzero((y >= 0) & (y < scores.shape[1]))
        labels = y[rows].astype(np.int64)
        ranks = ClassRanks.of_labels(labels, scores[rows, labels])
    ranks.add(scores)
    return ranks


def _weighted_auc(positive: np.ndarray, scores: np.ndarray, sample_weight: np.ndarray) -> float:
    if np.isnan(scores).any():
        return np.nan
    weights = np.asarray(sample_weight, np.float64)
    _, rank = np.unique(scores, return_inverse=True)
    ones, zeros = np.bincount(rank, weights * positive), np.bincount(rank, weights * ~positive)
    pairs = ones.sum() * zeros.sum()
    below = np.cumsum(zeros) - zeros
    return float((ones * (below + zeros / 2)).sum() / pairs) if pairs > 0 else np.nan


def rmse(y: np.ndarray, predicted: np.ndarray, sample_weight: Weights = None) -> float:
    """sqrt(mean((p - y)^2)), in units of the target; over several columns the mean of theirs."""
    errors, exponents = _errors(*_columns(y, predicted))
    squares, of_squares = _mean_squares(errors, sample_weight)
    with np.errstate(over="ignore"):
        return float(np.ldexp(np.sqrt(squares), exponents + of_squares).mean())


def mae(y: np.ndarray, predicted: np.ndarray, sample_weight: Weights = None) -> float:
    """mean(|p - y|), in units of the target; over several columns the mean of theirs."""
    errors, exponents = _errors(*_columns(y, predicted))
    with np.errstate(over="ignore"):
        return float(np.ldexp(_by_column(np.abs(errors), sample_weight), exponents).mean())


def r2(y: np.ndarray, predicted: np.ndarray, sample_weight: Weights = None) -> float:
    """1 - sum((p - y)^2) / sum((y - mean(y))^2); over several columns the mean of theirs.

    A column that is constant in the rows of weight above 0 has 0, even if it is predicted exactly, which is 1 in
    scikit-learn. Otherwise it is the same, except that squares neither overflow nor underflow.
    """
    y, p = _columns(y, predicted)
    varies = ~baselines.never_changes(y, sample_weight)
    found = np.zeros(y.shape[1])
    if not varies.any():
        return 0.0
    y, p = y[:, varies], p[:, varies]
    errors, exponents = _errors(y, p)
    near_one, of_target = baselines.near_one(y)
    error, of_error = _mean_squares(errors, sample_weight)
    spread, of_spread = _mean_squares(near_one - _by_column(near_one, sample_weight), sample_weight)
    moved = 2 * (exponents + of_error - of_target - of_spread)
    with np.errstate(over="ignore", under="ignore"):
        ratio = np.ldexp(error / np.where(spread > 0, spread, 1), moved)
    found[varies] = np.where(spread > 0, 1 - ratio, 0)
    return float(found.mean())


def _errors(y: np.ndarray, p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """p - y as errors (n, k) times 2^exponents (k,): scaled down if a difference could overflow."""
    with np.errstate(invalid="ignore"):
        large = np.maximum(np.abs(y).max(axis=0), np.abs(p).max(axis=0)) > LARGE
    exponents = np.where(large, HEADROOM, 0)
    return np.ldexp(p, -exponents) - np.ldexp(y, -exponents), exponents


def _mean_squares(values: np.ndarray, sample_weight: Weights) -> tuple[np.ndarray, np.ndarray]:
    """Means (k,) and exponents (k,): the mean square of a column is mean * 4^exponent."""
    values, exponents = baselines.near_one(values)
    return _by_column(values**2, sample_weight), exponents


def _columns(y: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both (n, k) in float64; (n,) and (n, 1) mean the same, while NumPy would broadcast their difference to (n, n)."""
    y, p = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (y, predicted))
    if y.shape != p.shape:
        raise ShapeError(f"expected targets of the predictions' shape {p.shape}, got {y.shape}")
    return y, p


def _by_column(values: np.ndarray, sample_weight: Weights) -> np.ndarray:
    """(k,): the weighted mean over rows."""
    found: np.ndarray = values.mean(axis=0) if sample_weight is None else np.average(values, 0, _ratios(sample_weight))
    return found


def _mean(values: np.ndarray, sample_weight: Weights) -> float:
    """The mean over rows and columns, rows weighted."""
    rows = np.asarray(values, np.float64)
    rows = rows if rows.ndim == 1 else rows.reshape(len(rows), -1).mean(axis=1)
    return float(rows.mean() if sample_weight is None else np.average(rows, weights=_ratios(sample_weight)))


def _ratios(sample_weight: np.ndarray) -> np.ndarray:
    """Weights times a power of two: otherwise sums of 1e308 would overflow and products of 1e-308 be 0."""
    return baselines.near_one(np.asarray(sample_weight, np.float64))[0]


def pinball(y: np.ndarray, predicted: np.ndarray, level: float) -> float:
    """mean(max(u (y - q), (u - 1) (y - q))) of a quantile q of level u, in units of the target."""
    error = np.asarray(y, np.float64) - predicted
    return float(np.maximum(level * error, (level - 1) * error).mean())


def coverage(y: np.ndarray, predicted: np.ndarray) -> float:
    """Fraction of targets that are not above the predicted quantile: equal to its level if it is right."""
    return float((np.asarray(y) <= predicted).mean())


def gaussian_nll(y: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> float:
    """mean((log(2 pi v) + (y - m)^2 / v) / 2), in nats per number, the target in its own units."""
    mean, variance = mean.astype(np.float64), variance.astype(np.float64)
    return float((np.log(2 * np.pi * variance) + (y - mean) ** 2 / variance).mean() / 2)


def poisson_deviance(y: np.ndarray, predicted: np.ndarray) -> float:
    """2 mean(y log(y / p) - y + p), with 0 log 0 = 0. Source: McCullagh, Nelder 1989, section 2.3."""
    y, p = np.asarray(y, np.float64), predicted.astype(np.float64)
    return float(2 * (y * np.log(np.where(y > 0, y, p) / p) - y + p).mean())


def gamma_deviance(y: np.ndarray, predicted: np.ndarray) -> float:
    """2 mean(log(p / y) + y / p - 1). Source: McCullagh, Nelder 1989, section 2.3."""
    y, p = np.asarray(y, np.float64), predicted.astype(np.float64)
    return float(2 * (np.log(p / y) + y / p - 1).mean())
