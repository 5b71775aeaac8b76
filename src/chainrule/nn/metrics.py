"""Metrics of predictions that are already on the host; in the target's own units.

y (n,) or (n, k) what is true, p what the net says. Each returns a float.
"""

from __future__ import annotations

import numpy as np

from chainrule.nn.network import Network


def accuracy(y: np.ndarray, predicted: np.ndarray) -> float:
    """Fraction of rows that are right; of rows right in every column where there are several."""
    right = np.asarray(y) == np.asarray(predicted)
    return float((right if right.ndim == 1 else right.all(axis=1)).mean())


def log_loss(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """-mean_i log p_i[label_i], in nats; p is kept above the smallest normal number, so a sure error stays finite."""
    p = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return float(-np.log(np.maximum(p, np.finfo(np.float64).tiny)).mean())


def binary_log_loss(y: np.ndarray, probabilities: np.ndarray) -> float:
    """-mean( y log p + (1 - y) log(1 - p) ), in nats, over rows and columns."""
    p = np.clip(probabilities.astype(np.float64), np.finfo(np.float32).eps, 1 - np.finfo(np.float32).eps)
    return float(-(y * np.log(p) + (1 - y) * np.log1p(-p)).mean())


def rmse(y: np.ndarray, predicted: np.ndarray) -> float:
    """sqrt(mean (p - y)^2), in units of the target."""
    return float(np.sqrt(np.mean((predicted - y) ** 2, dtype=np.float64)))


def mae(y: np.ndarray, predicted: np.ndarray) -> float:
    """mean |p - y|, in units of the target."""
    return float(np.mean(np.abs(predicted - y), dtype=np.float64))


def r2(y: np.ndarray, predicted: np.ndarray) -> float:
    """1 - sum (p - y)^2 / sum (y - mean y)^2, all columns together; 0 where y never changes."""
    y = np.asarray(y, np.float64)
    spread = float(((y - y.mean(axis=0)) ** 2).sum())
    return float(1 - ((predicted - y) ** 2).sum() / spread) if spread > 0 else 0.0


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
