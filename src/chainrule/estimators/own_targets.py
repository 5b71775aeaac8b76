"""No training row of an estimator sees its own target in the statistics of rarer categories."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from chainrule.estimators.array_namespaces import on_host
from chainrule.estimators.fit_rows import FitRows
from chainrule.estimators.validation import ValidatedRows
from chainrule.nn.columns.out_of_block import are_of, positions_of
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.columns.target_columns import TargetColumns
from chainrule.train.ensemble_fit import HostTable, LeftOutRows, hide_own_targets


def own_targets_hidden(
    training: FitRows,
    rows: ValidatedRows,
    train: np.ndarray | None,
    encoder: TableEncoder,
    target: TargetColumns,
    members: int,
    seed: int,
    *,
    by_class: bool,
    first: bool,
    one_epoch: bool,
) -> LeftOutRows | None:
    """Overwrite the statistics of the target in X by those of rows of other blocks; which rows members leave out, None
    if the statistics stay.

    The rows of a later ``partial_fit`` are no part of the statistics unless they are those of the first call; those of
    a warm start may be in part, and have statistics by each other.

    Parameters
    ----------
    training : the rows that are trained on, as the net takes them
    rows, train : all rows of the fit as they were given, and which of them these are; None for all
    target : of the training rows
    members : that leave out rows; 1 if none does
    by_class : whether a row has one class
    first, one_epoch : whether the net is a new one, and whether it is a ``partial_fit``
    """
    assert isinstance(rows.X, Mapping)  # arrays have no categories
    table = host_table(training)
    positions = positions_of(encoder.columns, rows.X, slice(None) if train is None else train)
    if one_epoch and not first and not are_of(encoder.columns, positions, target, training.weights):
        return None
    classes = table.y.reshape(-1) if by_class else None
    return hide_own_targets(table, encoder, positions, target, members, seed, classes=classes, is_another_fit=not first)


def host_table(rows: FitRows) -> HostTable:
    """The rows of a fit on the host."""
    return HostTable(on_host(rows.X), rows.y, rows.weights)
