"""Rows held out in turn, to learn how far to trust a net (:mod:`chainrule.train.shrinkage`)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.errors import DivergenceError
from chainrule.estimators.array_namespaces import on_host
from chainrule.estimators.solvers import trainer_of
from chainrule.train.feeding.class_weights import ClassWeights
from chainrule.train.feeding.copied_rows import number_copies
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.shrinkage.choose import choose_factors, to_the_constant
from chainrule.train.shrinkage.held_out import HeldOutPredictions, best_constant, constant_outputs, predict_held_out
from chainrule.train.shrinkage.shrink import shrink

if TYPE_CHECKING:
    from chainrule.estimators.base import BaseMLP
    from chainrule.train.records.run import Run

FOLDS = 5
ALL_FOLDS = 1_000  # rows, from which on one fold is enough to tell
MOST_HELD_OUT = 65_536  # rows, of a fold
LEAST_HELD_OUT = 2_048  # rows, however many outputs there are
MANY_OUTPUTS = 64  # for which MOST_HELD_OUT rows are no matter


def shrink_by_folds(
    estimator: BaseMLP, X: Array, y: np.ndarray, weights: np.ndarray | None, seed: int, *, after: Run
) -> float | None:
    """Draw the predictions of a fitted net to the best constant one by the factor that rows held out ask for.

    Each fold has a net of its own, trained on the other rows as the estimator's net was on all. None, and nothing is
    changed, if the constant is not known, there are no folds, or the training of one diverges or is interrupted.
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
    all_rows = HostRows(net, host_X, y, in_loss)  # X itself may be more than the device holds
    constant = best_constant(net, all_rows)
    if constant is None:
        return None
    fixed = constant_outputs(net, all_rows)
    if fixed.all():
        shrink(net, constant, to_the_constant(net.loss))
        return 0.0
    said: list[HeldOutPredictions] = []
    for rows, held_out, copies in folds(host_X, y, in_loss, seed, by_class=by_class, most=_most_held_out(net.n_out)):
        w = None if weights is None else weights[rows]
        copy = estimator._new_net(
            X[rows], y[rows], w, seed, device=net.backend, dtype=str(net.dtype), encoder=net.preparation.encoder
        )
        trainer, _ = trainer_of(estimator, copy, len(rows), seed, fold_epochs=after.history.epochs, fold_of=len(host_X))
        try:
            if trainer.fit(X[rows], y[rows], sample_weight=w, class_weight=class_weight).stopped == "interrupted":
                return None
        except DivergenceError:
            return None
        of_fold = best_constant(copy, HostRows(copy, host_X[rows], y[rows], by_class_too(rows, rows)))
        if of_fold is not None:
            part = predict_held_out(copy, of_fold, copy.upload_rows(X[held_out], y[held_out]))
            # As they are, so that the folds stand beside each other by their weights.
            said.append(part._replace(weights=by_class_too(held_out, rows), copies=copies))
    if not said:
        return None
    found = choose_factors(net.loss, said, fixed)
    shrink(net, constant, found)
    return found.factor


def _most_held_out(n_out: int) -> int:
    """Rows of a fold, so that the logits of many classes stay small."""
    return max(LEAST_HELD_OUT, MOST_HELD_OUT // max(1, n_out // MANY_OUTPUTS))


class Fold(NamedTuple):
    """Positions of rows, and for each of those held out a number, the same for copies of a row."""

    training: np.ndarray
    held_out: np.ndarray
    copies: np.ndarray


def folds(
    X: np.ndarray, y: np.ndarray, weights: np.ndarray | None, seed: int, *, by_class: bool, most: int = MOST_HELD_OUT
) -> Iterator[Fold]:
    """A fifth of the rows held out each in turn, from ``ALL_FOLDS`` rows up once.

    Copies of a row go together, and rows of weight 0 nowhere, so that a row of weight 2 is two rows here too.
    ``by_class`` deals the rows of each class of ``y`` evenly, and the only row of a class is never held out. Of fewer
    than two different rows there are no folds.
    """
    rows = np.arange(len(X)) if weights is None else np.flatnonzero(weights)
    group, count = number_copies(X[rows], y[rows])
    if count < 2:
        return
    order, alone = np.random.RandomState(seed).permutation(count), np.zeros(count, bool)
    if by_class:
        first = np.empty(count, np.int64)
        first[group[::-1]] = np.arange(len(rows))[::-1]
        _, of_class, sizes = np.unique(y[rows][first], return_inverse=True, return_counts=True)
        order = order[np.argsort(of_class[order], kind="stable")]
        alone = sizes[of_class] < 2
    order = order[~alone[order]]
    fold_of_group = np.full(count, -1)
    fold_of_group[order] = np.arange(len(order)) % FOLDS
    fold = fold_of_group[group]
    for number in range(min(FOLDS, len(order)) if len(rows) < ALL_FOLDS else 1):
        held_out = np.flatnonzero(fold == number)[:most]
        yield Fold(rows[fold != number], rows[held_out], group[held_out])
