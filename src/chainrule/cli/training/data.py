"""The rows that a net is trained and validated on: a table split, and made matrices."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from chainrule.cli.console.column_notes import describe_columns
from chainrule.cli.options.data import FRACTION, DataOptions
from chainrule.cli.options.train_options import TrainingOptions
from chainrule.cli.training.settings import settings_of
from chainrule.cli.training.table import TrainingTable, hold_out_rows, read_training_table
from chainrule.errors import DataError, OptionError
from chainrule.files.regular_file import mode_of
from chainrule.nn.columns.notation import Notation
from chainrule.nn.columns.out_of_block import Positions, positions_of
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.columns.target_columns import TargetColumns
from chainrule.nn.inputs.preparation import Preparation
from chainrule.tables.arrays.split_without_copy import split_without_copy
from chainrule.tables.readers import read_table
from chainrule.tables.splitting.splits import Split
from chainrule.tables.table import Table
from chainrule.tables.targets import TargetPlan, encode_target
from chainrule.train.ensemble_fit import HostTable, LeftOutRows, hide_own_targets


class TrainingData(NamedTuple):
    """What a net is trained and validated on, before standardisation.

    Parameters
    ----------
    X, y : (n, n_in) and (n,) or (n, k) to train on
    valid : the same of the held-out rows; None without
    plan : what the target is
    encoder : made X, if the table had names
    source : of the table, for messages
    rows : of the whole table
    feature_names, target_name : "" and () if they have none
    columns : what they are, in words
    notes : what should be said about them
    target_notation : how numbers of the target are written
    groups, times : (n,) of the rows to train on, if a column says which belong together or when they were
    left_out : who leaves out which of these rows, if that is known from their statistics of the target
    """

    X: np.ndarray
    y: np.ndarray
    valid: tuple[np.ndarray, np.ndarray] | None
    plan: TargetPlan
    encoder: TableEncoder | None
    source: str
    rows: int
    feature_names: tuple[str, ...]
    target_name: str
    columns: str
    notes: tuple[str, ...]
    target_notation: Notation | None
    groups: np.ndarray | None = None
    times: np.ndarray | None = None
    left_out: LeftOutRows | None = None

    @property
    def classes(self) -> np.ndarray | None:
        """(n,) the class of each row to train on, if a row has one."""
        is_class = self.plan.task == "classify" or len(self.plan.classes) == 2
        return self.y.reshape(-1) if is_class else None


def read_training_data(options: TrainingOptions) -> TrainingData:
    """The table of ``options.data``, split by its ``valid``; only training rows decide how it is encoded."""
    read = read_training_table(options)
    if isinstance(options.data.valid, str):
        return _validated_on(_other_table(options.data, options.data.valid, read.table), options, read)
    split = _split(options, FRACTION if options.data.valid is None else options.data.valid, read)
    if split is not None:
        read = read._replace(notes=(*read.notes, *read.missing_classes(split.training)))
    return split_data(options, read, split, release=True)


def _validated_on(other: Table, options: TrainingOptions, read: TrainingTable) -> TrainingData:
    """All rows of a table to train on, and those of another table to validate on."""
    encoder = _fit_encoder(options, read, None)
    positions = _positions(encoder, read.table, None)
    y = encode_target(_target(other), read.plan.task, read.plan.classes, source=other.source)
    about = _about(read, encoder)
    X, _ = _released(read.table, encoder, None)
    data = TrainingData(X, read.plan.y, (_matrix(other, encoder, None), y), *about)
    return _own_targets_hidden(options, data, positions)


def split_data(
    options: TrainingOptions, read: TrainingTable, split: Split | None, *, release: bool = False
) -> TrainingData:
    """What is trained on with this split of a table's rows; None to hold none out.

    With ``release`` the table gives its memory for it, and is of no use afterwards.
    """
    table, y = read.table, read.plan.y
    training = None if split is None else split.training
    encoder = _fit_encoder(options, read, training)
    positions = _positions(encoder, table, training)
    about = _about(read, encoder)
    if release:
        X, held_out = _released(table, encoder, split)
    else:
        X = _matrix(table, encoder, training)
        held_out = None if split is None else _matrix(table, encoder, split.held_out)
    groups, times = (v if v is None or training is None else v[training] for v in (read.groups, read.times))
    if split is None or held_out is None:
        data = TrainingData(X, y, None, *about, groups, times)
    else:
        valid = (held_out, y[split.held_out]) if len(held_out) else None
        data = TrainingData(X, y[split.training], valid, *about, groups, times)
    return _own_targets_hidden(options, data, positions)


def _about(
    read: TrainingTable, encoder: TableEncoder | None
) -> tuple[TargetPlan, TableEncoder | None, str, int, tuple[str, ...], str, str, tuple[str, ...], Notation | None]:
    """The fields of :class:`TrainingData` beside the rows."""
    table = read.table
    names = table.feature_names if encoder is None else encoder.names
    about, notation = describe_columns(table), table.columns.target_notation
    return read.plan, encoder, table.source, len(table), names, table.target_name, about, read.notes, notation


def _fit_encoder(options: TrainingOptions, read: TrainingTable, rows: np.ndarray | None) -> TableEncoder | None:
    """Of the training rows; None for a matrix. A preset has statistics of the target for rarer categories."""
    data, table = options.data, read.table
    if table.matrix is not None:
        return None
    y = read.plan.y if rows is None else read.plan.y[rows]
    target = None if options.preset is None else _target_columns(read.plan, y, table.target_name)
    most, above = data.max_categories, data.embed_above
    return TableEncoder.fit(table.columns, rows=rows, max_categories=most, embed_above=above, target=target)


def _target_columns(plan: TargetPlan, y: np.ndarray, name: str) -> TargetColumns | None:
    """What categories have statistics of; None for too many classes or targets."""
    return TargetColumns.of_classes(y, plan.classes) if plan.classes else TargetColumns.of_numbers(y, name)


def _positions(encoder: TableEncoder | None, table: Table, rows: np.ndarray | None) -> Positions | None:
    """What the statistics of the training rows need of the table; None without statistics."""
    if encoder is None or not encoder.has_statistics:
        return None
    return positions_of(encoder.columns, table.columns, slice(None) if rows is None else rows)


def _own_targets_hidden(options: TrainingOptions, data: TrainingData, positions: Positions | None) -> TrainingData:
    """With statistics of the training rows by rows of other blocks that no member leaves out, in the same memory."""
    if positions is None or data.encoder is None:
        return data
    target = _target_columns(data.plan, data.y, data.target_name)
    assert target is not None  # else there would be no statistics
    settings = settings_of(options, len(data.y), data.plan.task)
    left_out = hide_own_targets(
        HostTable(data.X, data.y),
        data.encoder,
        positions,
        target,
        settings.members if data.valid is None else 1,
        options.device.seed,
        classes=data.classes,
        groups=data.groups,
        times=data.times,
    )
    return data._replace(left_out=left_out)


def _target(table: Table) -> np.ndarray:
    if table.target is None:
        raise DataError(f"{table.source} has no target")
    return table.target


def _matrix(table: Table, encoder: TableEncoder | None, rows: np.ndarray | None) -> np.ndarray:
    if encoder is not None and table.columns:
        return encoder.encode(table.columns, rows=rows, compact=True)
    if encoder is not None:  # other rows, in a matrix: its columns are those of the training by position
        return Preparation(encoder=encoder).encode(table, compact=True)
    return table.features if rows is None else table.features[rows]


def _released(table: Table, encoder: TableEncoder | None, split: Split | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The rows to train on, by default all, and those held out, made in the memory of a table that ends with it."""
    if encoder is not None:
        sets = (np.arange(len(table)),) if split is None else split
        X, *others = encoder.encode_and_release(table.columns, sets, compact=True)
        return X, others[0] if others else None
    if split is None:
        return table.features, None
    return split_without_copy(table.features, split.training, split.held_out)


def _split(options: TrainingOptions, fraction: float, read: TrainingTable) -> Split | None:
    """Which rows are held out; None for none."""
    if not 0 <= fraction < 1:
        raise OptionError(f"--valid: expected a fraction in [0, 1) or a file, got {fraction:g}")
    if fraction == 0:
        return None
    if len(read.table) < 2:
        raise DataError(f"{read.table.source} has one row, too few to hold any out", hint="--valid 0")
    return hold_out_rows(options, read, fraction)


def _other_table(data: DataOptions, path: str, table: Table) -> Table:
    """Another table, to validate on."""
    if data.group is not None or data.time is not None:
        raise OptionError(
            "--valid: expected a fraction beside --group or --time, got a file",
            hint="a fraction for --valid, or leave --group and --time out",
        )
    _refuse_column(path, table)
    other = read_table(path, target=table.target_name or data.target, like=table)
    if other.target is None or other.width != table.width:
        raise DataError(f"{other.source} does not have the columns of {table.source}")
    return other


def _refuse_column(valid: str, table: Table) -> None:
    """OptionError if ``valid`` is a column, and no file of this name exists."""
    name = valid.removeprefix("group:").removeprefix("time:")
    if mode_of(valid) is None and (name != valid or Path(name).name in table.columns):
        name = Path(name).name
        raise OptionError(
            f"--valid: expected a fraction or a file, got {valid}",
            hint=f"--group {name} holds out whole groups, --time {name} the latest rows",
        )
