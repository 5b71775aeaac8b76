"""Rows held out in turn, to learn how far to trust a net (:mod:`chainrule.train.shrinkage`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.backends.base import Array
from chainrule.errors import DivergenceError
from chainrule.estimators.homes import on_host
from chainrule.estimators.solvers import trainer_of
from chainrule.train.class_weights import ClassWeights
from chainrule.train.host_rows import HostRows
from chainrule.train.shrinkage import FACTORS, best_constant, losses_by_factor, shrink

if TYPE_CHECKING:
    from chainrule.estimators.base import BaseMLP
    from chainrule.train.run import Run

FOLDS = 5
ALL_FOLDS = 1_000  # rows, from which on one fold is enough to tell
MOST_HELD_OUT = 65_536  # rows, of a fold
MANY = 16_384  # rows, from which on duplicates are not looked for


def shrink_by_folds(
    estimator: BaseMLP, X: Array, y: np.ndarray, weights: np.ndarray | None, seed: int, *, after: Run
) -> float | None:
    """Draw the predictions of a fitted net to the best constant one by the factor that rows held out ask for.

    Each fold has a net of its own, trained on the other rows as the estimator's net was on all. None, and nothing is
    changed, where the constant is not known, there are no folds, or the training of one diverges or is interrupted.
    """
    net, by_class, class_weight = estimator._net, estimator._is_of_classes(), estimator._class_weights()
    if after.stopped == "interrupted":
        return None

    def by_class_too(rows: Any, trained_on: Any) -> np.ndarray | None:
        """What these rows weigh in the loss, where "balanced" goes by the rows that are trained on."""
        own = None if weights is None else weights[rows]
        if class_weight is None:
            return own
        of_training = None if weights is None else weights[trained_on]
        return ClassWeights(net, class_weight, y[trained_on], of_training).of_rows(y[rows], own)

    host_X, everything = on_host(X), slice(None)
    in_loss = by_class_too(everything, everything)
    constant = best_constant(net, HostRows(net, host_X, y, in_loss))  # X itself may be more than the device holds
    if constant is None:
        return None
    losses, weight = np.zeros(len(FACTORS)), 0.0
    for rows, held_out in folds(host_X, y, in_loss, seed, by_class=by_class):
        if by_class and len(np.unique(y[rows])) < len(np.unique(y)):
            continue  # these rows have the only ones of a class: the others say nothing of it
        w = None if weights is None else weights[rows]
        twin = estimator._new_net(
            X[rows], y[rows], w, seed, device=net.backend, dtype=str(net.dtype), encoder=net.preparation.encoder
        )
        trainer, _ = trainer_of(estimator, twin, len(rows), seed, fold_epochs=after.history.epochs)
        try:
            if trainer.fit(X[rows], y[rows], sample_weight=w, class_weight=class_weight).stopped == "interrupted":
                return None
        except DivergenceError:
            return None
        of_fold = best_constant(twin, HostRows(twin, host_X[rows], y[rows], by_class_too(rows, rows)))
        if of_fold is not None:
            held_rows = twin.upload_rows(X[held_out], y[held_out], by_class_too(held_out, rows))
            found = losses_by_factor(twin, of_fold, held_rows)
            losses, weight = losses + found[0], weight + found[1]
    return shrink(net, constant, losses, weight) if weight else None


def folds(
    X: np.ndarray, y: np.ndarray, weights: np.ndarray | None, seed: int, *, by_class: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(rows to train on, rows held out) of each fold: a fifth each in turn, from ``ALL_FOLDS`` rows up once.

    Equal rows go together, and rows of weight 0 nowhere, so that a row of weight 2 is two rows here too. ``by_class``
    deals the rows of each class of ``y`` evenly. Of fewer than two different rows there are no folds.
    """
    rows = np.arange(len(X)) if weights is None else np.flatnonzero(weights)
    group, count = _equal_rows(X[rows], y[rows]) if len(rows) < MANY else (np.arange(len(rows)), len(rows))
    if count < 2:
        return
    order = np.random.RandomState(seed).permutation(count)
    if by_class:
        first = np.empty(count, np.int64)
        first[group[::-1]] = np.arange(len(rows))[::-1]
        order = order[np.argsort(y[rows][first][order], kind="stable")]
    fold_of_group = np.empty(count, np.int64)
    fold_of_group[order] = np.arange(count) % FOLDS
    fold = fold_of_group[group]
    for number in range(min(FOLDS, count) if len(rows) < ALL_FOLDS else 1):
        yield rows[fold != number], rows[fold == number][:MOST_HELD_OUT]


def _equal_rows(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, int]:
    """(n,) a number for each row, the same for equal ones, and how many there are; their order is that of the bytes,
    so that it does not depend on the order of the rows."""
    table = np.ascontiguousarray(np.column_stack([X, y]).astype(np.float64))
    different, group = np.unique(table.view(np.dtype((np.void, table.shape[1] * 8))).ravel(), return_inverse=True)
    return group, len(different)
