"""Metrics of predictions that are already on the host; in the target's own units.

y (n,) or (n, k) what is true, p what the net says, w (n,) the weights of the rows, all ones where None is given; means
over rows are sum_i w_i x_i / sum_i w_i. Each returns a float, nan where it is not defined. Each is what scikit-learn
has by this name, of several target columns the mean of theirs, as is its default; where it differs, it says so.
"""

from __future__ import annotations

import numpy as np

from chainrule.errors import ShapeError
from chainrule.host_memory import out_of_memory_hint
from chainrule.nn.losses import baselines
from chainrule.nn.losses.names import Gamma, GaussianNLL, Poisson, Quantile, Task
from chainrule.nn.network import Network

Weights = np.ndarray | None
HEADROOM = 64  # powers of two, for sums of the largest numbers
LARGE = float(np.ldexp(1.0, 1023 - HEADROOM))  # from which on they are taken
CENTRAL_90 = 1.6448536269514722  # deviations on either side of the mean that hold nine tenths of a normal distribution


def accuracy(y: np.ndarray, predicted: np.ndarray, sample_weight: Weights = None) -> float:
    """Fraction of rows that are right; of rows right in every column where there are several."""
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


def confusion_matrix(labels: np.ndarray, predicted: np.ndarray, classes: int) -> np.ndarray:
    """(classes, classes) int64: how many rows of class i were taken for class j."""
    pairs = np.asarray(labels, np.int64) * classes + np.asarray(predicted, np.int64)
    return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)


def log_loss(labels: np.ndarray, probabilities: np.ndarray, sample_weight: Weights = None) -> float:
    """-mean_i log p_i[label_i], in nats; p is kept within eps of 0 and 1, eps that of its dtype, as in scikit-learn."""
    p = np.asarray(probabilities)[np.arange(len(labels)), labels]
    return _mean(-np.log(_within_eps(p)), sample_weight)


def binary_log_loss(y: np.ndarray, probabilities: np.ndarray, sample_weight: Weights = None) -> float:
    """-mean( y log p + (1 - y) log(1 - p) ), in nats, over rows and columns; p as in :func:`log_loss`."""
    p = _within_eps(probabilities)
    return _mean(-(y * np.log(p) + (1 - y) * np.log1p(-p)), sample_weight)


def _within_eps(p: np.ndarray) -> np.ndarray:
    """Probabilities in float64, so that a sure error stays finite."""
    p = np.asarray(p)
    eps = np.finfo(p.dtype if p.dtype.kind == "f" else np.float64).eps
    return np.clip(p.astype(np.float64), eps, 1 - eps)


def roc_auc(y: np.ndarray, scores: np.ndarray, sample_weight: Weights = None) -> float:
    """The probability that a row of the class scores higher than one of the others; a tie counts half.

    AUC = sum_{i: y_i = 1} sum_{j: y_j = 0} w_i w_j ([s_i > s_j] + [s_i = s_j] / 2) / (W_1 W_0),
    W_c the sum of the weights of the rows with y = c

    y (n,) of 0 and 1 with scores (n,), or columns of each (n, k); or y (n,) class numbers with scores (n, k), a column
    a class: each against the rest. The mean over columns, all alike; columns with rows of one kind alone are left out,
    and it is nan where no others are. In n log n steps, by ranks. Source: Fawcett 2006, section 7; Hand, Till 2001.
    """
    y, scores = np.asarray(y), np.asarray(scores)
    if scores.ndim == 1:
        return _binary_auc(y > 0.5, scores, sample_weight)
    is_of_class = y > 0.5 if y.ndim == 2 else y[:, None] == np.arange(scores.shape[1])
    found = np.array([_binary_auc(c, s, sample_weight) for c, s in zip(is_of_class.T, scores.T, strict=True)])
    found = found[~np.isnan(found)]
    return float(found.mean()) if len(found) else np.nan


def _binary_auc(positive: np.ndarray, scores: np.ndarray, sample_weight: Weights) -> float:
    if np.isnan(scores).any():
        return np.nan
    weights = np.ones(len(scores)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    _, rank = np.unique(scores, return_inverse=True)
    ones, zeros = np.bincount(rank, weights * positive), np.bincount(rank, weights * ~positive)
    pairs = ones.sum() * zeros.sum()
    below = np.cumsum(zeros) - zeros
    return float((ones * (below + zeros / 2)).sum() / pairs) if pairs > 0 else np.nan


def rmse(y: np.ndarray, predicted: np.ndarray, sample_weight: Weights = None) -> float:
    """sqrt(mean (p - y)^2), in units of the target; of several columns the mean of theirs."""
    errors, exponents = _errors(*_columns(y, predicted))
    squares, of_squares = _mean_squares(errors, sample_weight)
    with np.errstate(over="ignore"):
        return float(np.ldexp(np.sqrt(squares), exponents + of_squares).mean())


def mae(y: np.ndarray, predicted: np.ndarray, sample_weight: Weights = None) -> float:
    """mean |p - y|, in units of the target; of several columns the mean of theirs."""
    errors, exponents = _errors(*_columns(y, predicted))
    with np.errstate(over="ignore"):
        return float(np.ldexp(_by_column(np.abs(errors), sample_weight), exponents).mean())


def r2(y: np.ndarray, predicted: np.ndarray, sample_weight: Weights = None) -> float:
    """1 - sum (p - y)^2 / sum (y - mean y)^2; of several columns the mean of theirs.

    A column that never changes, in rows of a weight above 0, has 0: also where it is predicted exactly, which is 1 in
    scikit-learn. All else is as there, but that squares neither overflow nor underflow.
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
    """p - y as errors (n, k) and exponents (k,), errors 2^exponents: halved where a difference could overflow."""
    with np.errstate(invalid="ignore"):
        large = np.maximum(np.abs(y).max(axis=0), np.abs(p).max(axis=0)) > LARGE
    exponents = np.where(large, HEADROOM, 0)
    return np.ldexp(p, -exponents) - np.ldexp(y, -exponents), exponents


def _mean_squares(values: np.ndarray, sample_weight: Weights) -> tuple[np.ndarray, np.ndarray]:
    """Means of squares (k,) and exponents (k,), the mean square of a column being mean 4^exponent."""
    values, exponents = baselines.near_one(values)
    return _by_column(values**2, sample_weight), exponents


def _columns(y: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both (n, k) in float64; (n,) and (n, 1) are the same, where NumPy would make (n, n) of their difference."""
    y, p = (np.asarray(a, np.float64).reshape(len(a), -1) for a in (y, predicted))
    if y.shape != p.shape:
        raise ShapeError(f"expected targets of the predictions' shape {p.shape}, got {y.shape}")
    return y, p


def _by_column(values: np.ndarray, sample_weight: Weights) -> np.ndarray:
    """(k,): the mean over rows, by their weights."""
    found: np.ndarray = values.mean(axis=0) if sample_weight is None else np.average(values, 0, _ratios(sample_weight))
    return found


def _mean(values: np.ndarray, sample_weight: Weights) -> float:
    """The mean over rows and columns, rows by their weights."""
    rows = np.asarray(values, np.float64)
    rows = rows if rows.ndim == 1 else rows.reshape(len(rows), -1).mean(axis=1)
    return float(rows.mean() if sample_weight is None else np.average(rows, weights=_ratios(sample_weight)))


def _ratios(sample_weight: np.ndarray) -> np.ndarray:
    """Weights times a power of two: sums of 1e308 overflow, and products of 1e-308 are 0."""
    return baselines.near_one(np.asarray(sample_weight, np.float64))[0]


def pinball(y: np.ndarray, predicted: np.ndarray, level: float) -> float:
    """mean max(u (y - q), (u - 1) (y - q)) of a quantile q of level u, in units of the target."""
    error = np.asarray(y, np.float64) - predicted
    return float(np.maximum(level * error, (level - 1) * error).mean())


def coverage(y: np.ndarray, predicted: np.ndarray) -> float:
    """Fraction of targets that are not above the predicted quantile: its level, for one that is right."""
    return float((np.asarray(y) <= predicted).mean())


def gaussian_nll(y: np.ndarray, mean: np.ndarray, variance: np.ndarray) -> float:
    """mean (log(2 pi v) + (y - m)^2 / v) / 2, in nats a number, the target in its own units."""
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


@out_of_memory_hint("use fewer rows", doing="computing metrics")
def score(net: Network, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The metrics that belong to the net's task and loss, in the target's own units.

    Classes, also where they are two and the net has one output: accuracy, balanced_accuracy (not of several answers a
    row), log_loss, and roc_auc unless all rows are of one class. A regression: rmse, mae and r2 (of the quantile
    nearest to the median, where there are several); then for quantiles ``pinball_u`` and ``coverage_u`` of each level
    u, for gaussian_nll ``nll`` and ``coverage_0.9``, the fraction of targets within 1.645 deviations of the mean; for
    poisson and gamma ``deviance``.
    """
    if net.loss.task == "regress":
        return _score_of_regression(net, X, y)
    if net.loss.task == "classify":
        y = net.loss.check_targets(np.asarray(y))  # bool and whole float64, which are no positions to NumPy
    return score_classes(net.loss.task, y, np.asarray(net.predict(X)), np.asarray(net.predict_proba(X)))


def score_classes(task: Task, y: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """:func:`score` of what a net says: its ``predict`` and ``predict_proba``."""
    if task == "classify":
        found = {
            "accuracy": accuracy(y, predicted),
            "balanced_accuracy": balanced_accuracy(y, predicted),
            "log_loss": log_loss(y, probabilities),
            "roc_auc": roc_auc(y, probabilities),
        }
    else:
        y = y.reshape(predicted.shape)
        right = {"accuracy": accuracy(y > 0.5, predicted > 0)}
        if predicted.ndim == 1:  # one yes or no is two classes
            right["balanced_accuracy"] = balanced_accuracy(y > 0.5, predicted > 0)
        found = {
            **right,
            "log_loss": binary_log_loss(y, probabilities),
            "roc_auc": roc_auc(y, probabilities),
        }
    return {name: value for name, value in found.items() if not np.isnan(value)}


def point_prediction(net: Network, predicted: np.ndarray) -> np.ndarray:
    """One number a target of what ``predict`` says: of several quantiles the one nearest to the median."""
    if not isinstance(net.loss, Quantile):
        return predicted
    central: np.ndarray = predicted[..., int(np.argmin(np.abs(np.subtract(net.loss.levels, 0.5))))]
    return central


@np.errstate(over="ignore", invalid="ignore")  # gaussian_nll of targets beyond 1e154, and what is not finite
def _score_of_regression(net: Network, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    loss, own = net.loss, dict[str, float]()
    if isinstance(loss, GaussianNLL):
        predicted, variance = (np.asarray(part) for part in net.predict_distribution(X))
        y = y.reshape(predicted.shape)
        within = np.abs(y - predicted) <= CENTRAL_90 * np.sqrt(variance)
        own = {"nll": gaussian_nll(y, predicted, variance), "coverage_0.9": float(within.mean())}
    else:
        predicted = np.asarray(net.predict(X))
    if isinstance(loss, Quantile):
        y = y.reshape(predicted.shape[:-1])
        for j, level in enumerate(loss.levels):
            own[f"pinball_{level:g}"] = pinball(y, predicted[..., j], level)
            own[f"coverage_{level:g}"] = coverage(y, predicted[..., j])
        predicted = point_prediction(net, predicted)
    y = y.reshape(predicted.shape)
    if isinstance(loss, Poisson | Gamma):
        own = {"deviance": (poisson_deviance if isinstance(loss, Poisson) else gamma_deviance)(y, predicted)}
    return {"rmse": rmse(y, predicted), "mae": mae(y, predicted), "r2": r2(y, predicted), **own}
