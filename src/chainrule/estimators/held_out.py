"""Rows held out in turn, to learn how far to trust a net (:mod:`chainrule.train.shrinkage`)."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import NamedTuple, TypeAlias

import numpy as np

from chainrule.errors import DivergenceError
from chainrule.estimators.array_namespaces import on_host
from chainrule.estimators.fit_rows import FitRows
from chainrule.nn.network import Network
from chainrule.train.feeding.class_weights import ClassWeight, ClassWeights
from chainrule.train.feeding.copied_rows import number_copies
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.shrinkage.choose import choose_factors, to_the_constant
from chainrule.train.shrinkage.held_out import HeldOutPredictions, best_constant, constant_outputs, predict_held_out
from chainrule.train.shrinkage.shrink import shrink
from chainrule.train.side_by_side import bytes_of_fit, side_by_side
from chainrule.train.trainer import Trainer

Positions: TypeAlias = np.ndarray | slice
WeightsInLoss: TypeAlias = Callable[[Positions, Positions], np.ndarray | None]

EVERYTHING = slice(None)

FOLDS = 5
ALL_FOLDS = 1_000  # rows, from which on one fold is enough to tell
MOST_HELD_OUT = 65_536  # rows, of a fold
LEAST_HELD_OUT = 2_048  # rows, however many outputs there are
MANY_OUTPUTS = 64  # for which MOST_HELD_OUT rows are no matter


class FoldTraining(NamedTuple):
    """How the nets of folds are made.

    Parameters
    ----------
    new_net : a net with its first weights, prepared for rows of a fold
    trainer : what trains it on so many rows, as the net of the fit was trained
    class_weight : of the fit
    by_class : whether folds keep the shares of classes
    threads : that may train folds at the same time, as for :func:`chainrule.cross_validate`
    """

    new_net: Callable[[FitRows], Network]
    trainer: Callable[[Network, int], Trainer]
    class_weight: ClassWeight | None
    by_class: bool
    threads: int | None = None


def shrink_by_folds(net: Network, rows: FitRows, seed: int, training: FoldTraining) -> float | None:
    """Shrink the predictions of a fitted net towards the best constant prediction, by a factor chosen on held-out rows.

    Each fold has a net of its own, trained on the other rows as ``net`` was on all. None, and nothing is changed, if
    the constant is not known, there are no folds, or the training of one diverges or is interrupted.
    """
    host_X = on_host(rows.X)
    in_loss = _weights_in_loss(net, rows, training.class_weight)
    all_rows = HostRows(
        net, host_X, rows.y, in_loss(EVERYTHING, EVERYTHING)
    )  # X itself may be more than the device holds
    constant = best_constant(net, all_rows)
    if constant is None:
        return None
    fixed = constant_outputs(net, all_rows)
    if fixed.all():
        shrink(net, constant, to_the_constant(net.loss))
        return 0.0
    held_out = _held_out_of_folds(net, rows, host_X, seed, training, in_loss)
    if not held_out:
        return None
    found = choose_factors(net.loss, held_out, fixed)
    shrink(net, constant, found)
    return found.factor


def _held_out_of_folds(
    net: Network, rows: FitRows, host_X: np.ndarray, seed: int, training: FoldTraining, in_loss: WeightsInLoss
) -> list[HeldOutPredictions]:
    """The predictions of each fold's net for its held-out rows; none if the training of one fails."""

    def part_of(fold: Fold) -> HeldOutPredictions | None:
        part = rows.take(fold.training)
        fold_net, own = _trained_on(part, training), in_loss(fold.training, fold.training)
        constant = best_constant(fold_net, HostRows(fold_net, on_host(part.X), part.y, own))
        del part  # most of the rows, whose memory those held out can have
        if constant is None:
            return None
        uploaded = fold_net.upload_rows(rows.X[fold.held_out], rows.y[fold.held_out])
        predicted = predict_held_out(fold_net, constant, uploaded)
        # Not rescaled: the folds count by the sums of their weights.
        return predicted._replace(weights=in_loss(fold.held_out, fold.training), copies=fold.copies)

    weights, most = in_loss(EVERYTHING, EVERYTHING), _most_held_out(net.n_out)
    dealt = folds(host_X, rows.y, weights, seed, by_class=training.by_class, most=most)
    tasks = [functools.partial(part_of, fold) for fold in dealt]
    try:
        parts = side_by_side(tasks, net.backend, threads=training.threads, bytes_each=bytes_of_fit(net, len(rows.y)))
    except _FailedFoldError:
        return []
    return [part for part in parts if part is not None]


class _FailedFoldError(Exception):
    """The training of a fold diverged or was interrupted: the others are not needed."""


def _trained_on(part: FitRows, training: FoldTraining) -> Network:
    """The net of a fold, whose training rows these are; _FailedFoldError if its training diverges or is interrupted."""
    net = training.new_net(part)
    trainer = training.trainer(net, len(part.y))
    try:
        run = trainer.fit(part.X, part.y, sample_weight=part.weights, class_weight=training.class_weight)
    except DivergenceError as error:
        raise _FailedFoldError from error
    if run.stopped == "interrupted":
        raise _FailedFoldError
    return net


def _weights_in_loss(net: Network, rows: FitRows, class_weight: ClassWeight | None) -> WeightsInLoss:
    """What rows weigh in the loss of a net: a function of their positions and of those that it is trained on.

    The latter decide what "balanced" is.
    """

    def weights_of(chosen: Positions, trained_on: Positions) -> np.ndarray | None:
        own = None if rows.weights is None else rows.weights[chosen]
        if class_weight is None:
            return own
        of_training = None if rows.weights is None else rows.weights[trained_on]
        return ClassWeights(net, class_weight, rows.y[trained_on], of_training).of_rows(rows.y[chosen], own)

    return weights_of


def _most_held_out(n_out: int) -> int:
    """Rows of a fold, so that the logits of many classes stay small."""
    return max(LEAST_HELD_OUT, MOST_HELD_OUT // max(1, n_out // MANY_OUTPUTS))


class Fold(NamedTuple):
    """Positions of rows; ``copies`` is a number for each row held out, the same for copies of a row."""

    training: np.ndarray
    held_out: np.ndarray
    copies: np.ndarray


def folds(
    X: np.ndarray, y: np.ndarray, weights: np.ndarray | None, seed: int, *, by_class: bool, most: int = MOST_HELD_OUT
) -> Iterator[Fold]:
    """Hold out each fifth of the rows in turn, from ``ALL_FOLDS`` rows only one.

    Copies of a row stay together, and rows of weight 0 are left out, so that a row of weight 2 is two rows here too.
    ``by_class`` deals the rows of each class of ``y`` evenly, and the only row of a class is never held out. Fewer
    than two different rows have no folds.
    """
    rows = np.arange(len(X)) if weights is None else np.flatnonzero(weights)
    group, count = number_copies(X, y) if weights is None else number_copies(X[rows], y[rows])
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
