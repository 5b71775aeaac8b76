"""The metrics that belong to a net's task and loss."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from chainrule.host_memory import out_of_memory_hint
from chainrule.nn import predictions
from chainrule.nn.answers_in_parts import answers_in_parts
from chainrule.nn.class_ranks import ClassRanks
from chainrule.nn.losses.names import Gamma, GaussianNLL, Loss, Poisson, Quantile, Task
from chainrule.nn.metrics import (
    accuracy,
    balanced_accuracy,
    binary_log_loss,
    coverage,
    gamma_deviance,
    gaussian_nll,
    log_loss,
    log_loss_of_own,
    mae,
    mean_area,
    pinball,
    poisson_deviance,
    r2,
    rmse,
    roc_auc,
)
from chainrule.nn.network import Network

PROBABILITIES_HELD = 1 << 25  # of all classes together, while the rows of each are ranked
CENTRAL_90 = (
    1.6448536269514722  # standard deviations to either side of the mean that contain 90 % of a normal distribution
)


@out_of_memory_hint("use fewer rows", doing="computing metrics")
def score(net: Network, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The metrics that belong to the net's task and loss, in the target's own units.

    Classes, two with a single output too: accuracy, balanced_accuracy (not with several answers per row), log_loss, and
    roc_auc unless all rows are of one class. A regression: rmse, mae and r2 (of the quantile nearest to the median, if
    there are several); then for quantiles ``pinball_u`` and ``coverage_u`` of each level u, for gaussian_nll ``nll``
    and ``coverage_0.9``, the fraction of targets within 1.645 standard deviations of the mean; for poisson and gamma
    ``deviance``.
    """
    if net.loss.task == "regress":
        return _score_of_regression(net, X, y)
    if net.loss.task == "classify":
        y = net.loss.check_targets(np.asarray(y))  # bool and whole float64, which are no positions to NumPy
        return score_labels(net, X, y)[0]
    return score_classes(net.loss.task, y, np.asarray(net.predict(X)), np.asarray(net.predict_proba(X)))


def score_labels(net: Network, X: np.ndarray, y: np.ndarray) -> tuple[dict[str, float], np.ndarray]:
    """:func:`score` of class numbers y, and the classes that the net predicts.

    Of n rows and k classes never more than 2^25 probabilities are in memory. If there are more, a second pass through
    the net ranks each row's probability of its own class among those of all rows.
    """
    be, loss = net.backend, net.loss
    answers = [
        predictions.prediction(be, loss, net.dtype, None),
        of_classes := predictions.probabilities(be, loss, net.dtype),
    ]
    n, rows_held = len(y), max(1, PROBABILITIES_HELD // loss.n_out)
    predicted, own = np.empty(n, answers[0].dtype), np.empty(n, of_classes.dtype)
    held = np.empty((n, loss.n_out), of_classes.dtype) if n <= rows_held else None
    for rows, (labels, p) in answers_in_parts(net, X, answers):
        predicted[rows], own[rows] = labels, p[np.arange(len(p)), y[rows]]
        if held is not None:
            held[rows] = p
    ranks = ClassRanks.of_labels(y, own)
    again = () if held is not None else (p for _, (p,) in answers_in_parts(net, X, [of_classes]))
    for block in _blocks(again, rows_held) if held is None else [held]:
        ranks.add(block)
    found = {
        "accuracy": accuracy(y, predicted),
        "balanced_accuracy": balanced_accuracy(y, predicted),
        "log_loss": log_loss_of_own(own),
        "roc_auc": mean_area(ranks.areas()),
    }
    return _defined(found), predicted


def _blocks(parts: Iterable[np.ndarray], rows: int) -> Iterator[np.ndarray]:
    """Parts put together, up to so many rows: the fewer blocks, the less often each class is looked up.

    All blocks are in the same memory.
    """
    block, n = np.empty((0, 0)), 0
    for part in parts:
        if n + len(part) > len(block):
            if n:
                yield block[:n]
            else:
                block = np.empty((max(rows, len(part)), part.shape[1]), part.dtype)
            n = 0
        block[n : n + len(part)] = part
        n += len(part)
    if n:
        yield block[:n]


def _defined(scores: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in scores.items() if not np.isnan(value)}


def score_classes(task: Task, y: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray) -> dict[str, float]:
    """:func:`score` from a net's ``predict`` and ``predict_proba``."""
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
    return _defined(found)


def point_prediction(net: Network, predicted: np.ndarray) -> np.ndarray:
    """One number per target from what ``predict`` returns: of several quantiles the one nearest to the median."""
    return _central(net.loss, predicted)


def _central(loss: Loss, predicted: np.ndarray) -> np.ndarray:
    if not isinstance(loss, Quantile):
        return predicted
    central: np.ndarray = predicted[..., int(np.argmin(np.abs(np.subtract(loss.levels, 0.5))))]
    return central


def _score_of_regression(net: Network, X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    if isinstance(net.loss, GaussianNLL):
        predicted, variance = (np.asarray(part) for part in net.predict_distribution(X))
        return score_numbers(net.loss, y, predicted, variance)
    return score_numbers(net.loss, y, np.asarray(net.predict(X)))


@np.errstate(over="ignore", invalid="ignore")  # gaussian_nll of targets beyond 1e154, and what is not finite
def score_numbers(
    loss: Loss, y: np.ndarray, predicted: np.ndarray, variance: np.ndarray | None = None
) -> dict[str, float]:
    """:func:`score` of a regression from a net's ``predict``, and the variance of its ``predict_distribution``."""
    own = dict[str, float]()
    if variance is not None:
        y = y.reshape(predicted.shape)
        within = np.abs(y - predicted) <= CENTRAL_90 * np.sqrt(variance)
        own = {"nll": gaussian_nll(y, predicted, variance), "coverage_0.9": float(within.mean())}
    if isinstance(loss, Quantile):
        y = y.reshape(predicted.shape[:-1])
        for j, level in enumerate(loss.levels):
            own[f"pinball_{level:g}"] = pinball(y, predicted[..., j], level)
            own[f"coverage_{level:g}"] = coverage(y, predicted[..., j])
        predicted = _central(loss, predicted)
    y = y.reshape(predicted.shape)
    if isinstance(loss, Poisson | Gamma):
        own = {"deviance": (poisson_deviance if isinstance(loss, Poisson) else gamma_deviance)(y, predicted)}
    return {"rmse": rmse(y, predicted), "mae": mae(y, predicted), "r2": r2(y, predicted), **own}
