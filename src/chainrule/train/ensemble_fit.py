"""What a fit of an ensemble does beside its training: rows are left out, and afterwards say how far to trust it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from chainrule.nn.columns.out_of_block import Positions, leave_out_own_block, told_apart
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.columns.target_columns import TargetColumns
from chainrule.nn.network import Network
from chainrule.train.feeding.class_weights import ClassWeight, ClassWeights
from chainrule.train.feeding.copied_rows import number_copies
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.linear_start import begins_with_ridge, start_from_ridge
from chainrule.train.out_of_fold.blocks import RowBlocks, leave_out_blocks
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
    """Blocks of rows for each member: whole copies and groups, stratified by class; of ``times`` the latest.

    Of a table with statistics of the target they are those of :func:`hide_own_targets`.
    """
    copies = _copies_of(table)
    mask = _deal(table, members, seed, copies, classes=classes, groups=groups, times=times, has_statistics=False).mask
    return LeftOutRows(mask if mask.any() else None, copies, groups)


def hide_own_targets(
    table: HostTable,
    encoder: TableEncoder,
    positions: Positions,
    target: TargetColumns,
    members: int,
    seed: int,
    *,
    classes: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    times: np.ndarray | None = None,
    is_another_fit: bool = False,
) -> LeftOutRows:
    """Overwrite the encoder's statistics of the target in X by those of rows of other blocks that no member leaves out;
    which rows members leave out.

    The blocks are as :func:`leave_out_rows` deals them: copies and groups are whole. Copies are of one category,
    whatever its statistics: those of a category of one row tell its target, and rows that have few other columns would
    all be copies of the rows with their target, which members leave out as a whole.

    Parameters
    ----------
    table : X as :meth:`TableEncoder.encode` makes it
    positions : of the rows' categories, by ``positions_of``
    target : of the rows
    members : that leave out blocks; 1 if rows are held out otherwise, or not at all
    is_another_fit : as for ``leave_out_own_block``
    """
    copies = _copies_of(table, *told_apart(encoder.columns, table.X, positions))
    block, mask = _deal(table, members, seed, copies, classes=classes, groups=groups, times=times, has_statistics=True)
    leave_out_own_block(
        encoder.columns,
        table.X,
        positions,
        target,
        block,
        table.weights,
        left_out=np.any(mask, axis=0),
        is_another_fit=is_another_fit,
    )
    return LeftOutRows(mask if mask.any() else None, copies, groups)


def _copies_of(table: HostTable, columns: Sequence[np.ndarray] = (), names: Sequence[int] = ()) -> np.ndarray:
    """(n,) the same number for copies of a row; -1 for rows of weight 0, which are as if they were not there.

    ``columns``: what makes rows differ, if it is not X; ``names`` those of names.
    """
    rows = _counted_rows(table)
    copies = np.full(len(table.y), -1)
    copies[rows] = number_copies([one[rows] for one in columns or table.X.T], table.y[rows], names=names)[0]
    return copies


def _deal(
    table: HostTable,
    members: int,
    seed: int,
    copies: np.ndarray,
    *,
    classes: np.ndarray | None,
    groups: np.ndarray | None,
    times: np.ndarray | None,
    has_statistics: bool,
) -> RowBlocks:
    """The block of each row that weighs anything, of the others 0; who leaves out which."""
    n, rows = len(table.y), _counted_rows(table)

    def of_rows(values: np.ndarray | None) -> np.ndarray | None:
        return None if values is None else values[rows]

    found = leave_out_blocks(
        len(copies[rows]),
        members,
        seed=seed,
        classes=of_rows(classes),
        groups=of_rows(groups),
        copies=of_rows(copies),
        times=of_rows(times),
        weights=of_rows(table.weights),
        has_statistics=has_statistics,
    )
    blocks = RowBlocks(np.zeros(n, found.block.dtype), np.zeros((members, n), bool))
    blocks.block[rows], blocks.mask[:, rows] = found
    return blocks


def _counted_rows(table: HostTable) -> slice | np.ndarray:
    if table.weights is None or table.weights.all():
        return slice(None)
    return np.flatnonzero(table.weights)


def begin_line(net: Network, settings: Settings, table: HostTable, left_out: LeftOutRows | None) -> None:
    """The straight line of a net for tables begins as a ridge regression, if the loss has one."""
    if settings.table is not None and settings.table.has_line and begins_with_ridge(net):
        mask = None if left_out is None else left_out.mask
        copies = None if left_out is None else left_out.copies
        start_from_ridge(net, table.X, table.y, weights=table.weights, left_out=mask, copies=copies)


def learn_from_left_out(
    net: Network,
    table: HostTable,
    run: Run,
    left_out: LeftOutRows,
    seed: int,
    class_weight: ClassWeight | None = None,
    *,
    shrinks: bool = True,
) -> LeftOutOutcome:
    """Judge a fitted ensemble by the rows that its members did not see; before that, unless told not to, shrink it."""
    weights, targets, parts = table.weights, net.preparation.targets, run.out_of_fold or []
    if class_weight is not None:
        weights = ClassWeights(net, class_weight, table.y, weights).of_rows(table.y, weights)
    found, score = None, None
    if shrinks:
        found, parts = shrink_ensemble(net, HostRows(net, table.X, table.y, weights), parts, copies=left_out.copies)
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
