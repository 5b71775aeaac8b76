"""What a fit of an ensemble does beside its training: rows are left out, and afterwards say how far to trust it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

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


class HostTable(NamedTuple):
    """The rows of a fit on the host.

    Parameters
    ----------
    X : (n, n_in) before standardisation
    y : (n,) or (n, k) as the loss takes it
    weights : (n,) from 0 up, or None
    """

    X: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None = None


class LeftOutRows(NamedTuple):
    """What members of an ensemble leave out.

    Parameters
    ----------
    mask : (k, n) bool, as for ``Trainer.fit``; None if they leave out nothing
    copies : (n,) the same number for copies of a row
    groups : (n,) the same number for rows that belong together, or None
    """

    mask: np.ndarray | None
    copies: np.ndarray
    groups: np.ndarray | None


@dataclass(frozen=True)
class LeftOutOutcome:
    """What the rows that members left out say of a fitted ensemble.

    Parameters
    ----------
    factor : by which its predictions were shrunk, or made surer; None if nothing was changed
    predictions : (n, n_out) probabilities or numbers of the target, nan for rows that every member saw
    score : None if there are no such rows
    """

    factor: float | None
    predictions: np.ndarray
    score: OutOfFoldScore | None


def leave_out_rows(
    table: HostTable,
    members: int,
    seed: int,
    *,
    classes: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    times: np.ndarray | None = None,
) -> LeftOutRows:
    """Blocks of rows for each member: whole copies and groups, stratified by class; of ``times`` the latest."""
    copies, _ = number_copies(table.X, table.y)
    mask = leave_out_blocks(
        len(table.y),
        members,
        seed=seed,
        classes=classes,
        groups=groups,
        copies=copies,
        times=times,
        weights=table.weights,
    ).mask
    if table.weights is not None:
        mask = mask & (table.weights > 0)  # rows of weight 0 are none
    return LeftOutRows(mask if mask.any() else None, copies, groups)


def begin_line(net: Network, settings: Settings, table: HostTable, left_out: LeftOutRows | None) -> None:
    """The straight line of a net for tables begins as a ridge regression, if the loss has one."""
    if settings.table is not None and settings.table.has_line and begins_with_ridge(net):
        mask = None if left_out is None else left_out.mask
        start_from_ridge(net, table.X, table.y, weights=table.weights, left_out=mask)


def learn_from_left_out(
    net: Network, table: HostTable, run: Run, left_out: LeftOutRows, seed: int, class_weight: ClassWeight | None = None
) -> LeftOutOutcome:
    """Shrink a fitted ensemble, and judge it, by the rows that its members did not see."""
    weights, targets, parts = table.weights, net.preparation.targets, run.out_of_fold or []
    if class_weight is not None:
        weights = ClassWeights(net, class_weight, table.y, weights).of_rows(table.y, weights)
    found, parts = shrink_ensemble(net, HostRows(net, table.X, table.y, weights), parts, copies=left_out.copies)
    score = None
    if parts:
        score = score_out_of_fold(
            net.loss,
            parts,
            members=net.members,
            targets=targets,
            seed=seed,
            groups=left_out.groups,
            copies=left_out.copies,
        )
    predictions = predictions_for_rows(net.loss, parts, len(table.y), targets)
    return LeftOutOutcome(None if found is None else found.factor, predictions, score)
