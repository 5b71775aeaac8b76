"""The ensemble of an estimator: which rows its members leave out, and what is learnt from these."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from chainrule.estimators.array_namespaces import on_host
from chainrule.estimators.fit_rows import FitRows
from chainrule.nn.network import Network
from chainrule.train.feeding.class_weights import ClassWeight, ClassWeights
from chainrule.train.feeding.copied_rows import number_copies
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.linear_start import begins_with_ridge, start_from_ridge
from chainrule.train.out_of_fold.blocks import leave_out_blocks
from chainrule.train.out_of_fold.score import OutOfFoldScore, score_out_of_fold
from chainrule.train.out_of_fold.shrink_ensemble import predictions_for_rows, shrink_ensemble
from chainrule.train.recipe import Settings
from chainrule.train.records.run import Run


class LeftOutRows(NamedTuple):
    """What members of an ensemble leave out.

    Parameters
    ----------
    mask : (k, n) bool, as for ``Trainer.fit``; None if they leave out nothing
    copies : (n,) the same number for copies of a row
    """

    mask: np.ndarray | None
    copies: np.ndarray


class OutOfFold(NamedTuple):
    """What an ensemble predicts for rows that some of its members never saw.

    Parameters
    ----------
    shrinkage : the factor of its predictions; None if nothing was changed
    predictions : (n, n_out), nan for rows that every member saw
    score : None if there are no such rows
    """

    shrinkage: float | None
    predictions: np.ndarray
    score: OutOfFoldScore | None


def leave_out(rows: FitRows, settings: Settings, seed: int, *, by_class: bool) -> LeftOutRows:
    """Blocks of the rows for each member, whole copies of a row, stratified ``by_class``."""
    copies, _ = number_copies(on_host(rows.X), rows.y)
    classes = rows.y.reshape(-1) if by_class else None
    found = leave_out_blocks(
        len(rows.y), settings.members, seed=seed, classes=classes, copies=copies, weights=rows.weights
    )
    return LeftOutRows(found.mask if found.mask.any() else None, copies)


def begin(net: Network, rows: FitRows, settings: Settings, left_out: LeftOutRows) -> None:
    """The straight line of a net for tables, where it is known in closed form."""
    if settings.table is not None and settings.table.has_line and begins_with_ridge(net):
        start_from_ridge(net, rows.X, rows.y, weights=rows.weights, left_out=left_out.mask)


def learn_from_left_out(
    net: Network, rows: FitRows, run: Run, left_out: LeftOutRows, seed: int, class_weight: ClassWeight | None
) -> OutOfFold:
    """Shrink a fitted ensemble, and judge it, by the rows that members did not see."""
    weights = rows.weights
    if class_weight is not None:
        weights = ClassWeights(net, class_weight, rows.y, weights).of_rows(rows.y, weights)
    found, parts = shrink_ensemble(
        net, HostRows(net, on_host(rows.X), rows.y, weights), run.out_of_fold or [], copies=left_out.copies
    )
    targets = net.preparation.targets
    predictions, score = predictions_for_rows(net.loss, parts, len(rows.y), targets), None
    if parts:
        score = score_out_of_fold(
            net.loss, parts, members=net.members, targets=targets, seed=seed, copies=left_out.copies
        )
    return OutOfFold(None if found is None else found.factor, predictions, score)
