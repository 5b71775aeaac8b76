"""Metrics of predictions that are already on the host; in the target's own units.

y (n,) or (n, k) what is true, p what the net says. Each returns a float.
"""

from __future__ import annotations

import numpy as np

from chainrule.nn.losses import Gamma, GaussianNLL, Poisson, Quantile
from chainrule.nn.network import Network

CENTRAL_90 = 1.6448536269514722  # deviations on either side of the mean that hold nine tenths of a normal distribution


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


def score(net: Network, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The metrics that belong to the net's task and loss, in the target's own units.

    Classes: accuracy and log_loss. A regression: rmse, mae and r2 (of the quantile nearest to the median, where there
    are several); then for quantiles ``pinball_u`` and ``coverage_u`` of each level u, for gaussian_nll ``nll`` and
    ``coverage_0.9``, the fraction of targets within 1.645 deviations of the mean; for poisson and gamma ``deviance``.
    """
    if net.loss.task == "regress":
        return _score_of_regression(net, X, y)
    predicted, probabilities = np.asarray(net.predict(X)), np.asarray(net.predict_proba(X))
    if net.loss.task == "classify":
        return {"accuracy": accuracy(y, predicted), "log_loss": log_loss(y, probabilities)}
    y = y.reshape(predicted.shape)
    return {"accuracy": accuracy(y > 0.5, predicted > 0), "log_loss": binary_log_loss(y, probabilities)}


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
        predicted = predicted[..., int(np.argmin(np.abs(np.subtract(loss.levels, 0.5))))]
    y = y.reshape(predicted.shape)
    if isinstance(loss, Poisson | Gamma):
        own = {"deviance": (poisson_deviance if isinstance(loss, Poisson) else gamma_deviance)(y, predicted)}
    return {"rmse": rmse(y, predicted), "mae": mae(y, predicted), "r2": r2(y, predicted), **own}
