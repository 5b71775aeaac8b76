"""Metrics of predictions that are already on the host; in the target's own units.

y (n,) or (n, k) what is true, p what the net says, w (n,) the weights of the rows, all ones where None is given; means
over rows are sum_i w_i x_i / sum_i w_i. Each returns a float, nan where it is not defined.
"""

from __future__ import annotations

import numpy as np

from chainrule.nn.network import Network

Weights = np.ndarray | None


def accuracy(y: np.ndarray, predicted: np.ndarray, sample_weight: Weights = None) -> float:
    """Fraction of rows that are right; of rows right in every column where there are several."""
    right = np.asarray(y) == np.asarray(predicted)
    return _mean(right if right.ndim == 1 else right.all(axis=1), sample_weight)


def balanced_accuracy(labels: np.ndarray, predicted: np.ndarray, sample_weight: Weights = None) -> float:
    """Mean over the classes in ``labels`` of the fraction of their rows that are right: chance is 1 / k for any mix."""
    labels = np.asarray(labels)
    _, classes = np.unique(labels, return_inverse=True)
    weights = np.ones(len(labels)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    rows = np.bincount(classes, weights)
    right = np.bincount(classes, weights * (labels == predicted))
    return float((right[rows > 0] / rows[rows > 0]).mean()) if rows.any() else np.nan


def log_loss(labels: np.ndarray, probabilities: np.ndarray, sample_weight: Weights = None) -> float:
    """-mean_i log p_i[label_i], in nats; p is kept above the smallest normal number, so a sure error stays finite."""
    p = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return _mean(-np.log(np.maximum(p, np.finfo(np.float64).tiny)), sample_weight)


def binary_log_loss(y: np.ndarray, probabilities: np.ndarray, sample_weight: Weights = None) -> float:
    """-mean( y log p + (1 - y) log(1 - p) ), in nats, over rows and columns."""
    p = np.clip(probabilities.astype(np.float64), np.finfo(np.float32).eps, 1 - np.finfo(np.float32).eps)
    return _mean(-(y * np.log(p) + (1 - y) * np.log1p(-p)), sample_weight)


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
    """sqrt(mean (p - y)^2), in units of the target; over all columns together."""
    return float(np.sqrt(_mean((predicted - y) ** 2, sample_weight)))


def mae(y: np.ndarray, predicted: np.ndarray, sample_weight: Weights = None) -> float:
    """mean |p - y|, in units of the target."""
    return _mean(np.abs(predicted - y), sample_weight)


def r2(y: np.ndarray, predicted: np.ndarray, sample_weight: Weights = None) -> float:
    """1 - sum (p - y)^2 / sum (y - mean y)^2, all columns together; 0 where y never changes."""
    y = np.asarray(y, np.float64)
    spread = _mean((y - np.average(y, axis=0, weights=sample_weight)) ** 2, sample_weight)
    return float(1 - _mean((predicted - y) ** 2, sample_weight) / spread) if spread > 0 else 0.0


def _mean(values: np.ndarray, sample_weight: Weights) -> float:
    """The mean over rows and columns, rows by their weights."""
    rows = np.asarray(values, np.float64)
    rows = rows if rows.ndim == 1 else rows.reshape(len(rows), -1).mean(axis=1)
    return float(rows.mean() if sample_weight is None else np.average(rows, weights=sample_weight))


def score(net: Network, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The metrics that belong to the net's task: accuracy and log_loss, or rmse, mae and r2."""
    predicted = np.asarray(net.predict(X))
    if net.loss.task == "regress":
        y = y.reshape(predicted.shape)
        return {"rmse": rmse(y, predicted), "mae": mae(y, predicted), "r2": r2(y, predicted)}
    probabilities = np.asarray(net.predict_proba(X))
    if net.loss.task == "classify":
        return {"accuracy": accuracy(y, predicted), "log_loss": log_loss(y, probabilities)}
    y = y.reshape(predicted.shape)
    return {"accuracy": accuracy(y > 0.5, predicted > 0), "log_loss": binary_log_loss(y, probabilities)}
