"""The rows that ``chainrule train`` trains on: read, planned, split, and made a matrix."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np

from chainrule.cli.console.column_notes import describe_columns, doubts
from chainrule.cli.options.parser import Listed, OptionGroup
from chainrule.cli.options.types import column_names, held_out, positive_int, source
from chainrule.errors import DataError, OptionError
from chainrule.files.regular_file import mode_of
from chainrule.nn.columns.category_columns import MAX_CATEGORIES
from chainrule.nn.columns.notation import Notation
from chainrule.nn.columns.table_columns import MAX_VECTORS
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.inputs.preparation import Preparation
from chainrule.nn.losses.names import LOSSES
from chainrule.plain_text import show
from chainrule.tables.arrays.split_without_copy import split_without_copy
from chainrule.tables.choose_columns import show_names
from chainrule.tables.readers import read_table
from chainrule.tables.splitting.group_and_time_columns import read_groups, read_times
from chainrule.tables.splitting.splits import Split, hold_out
from chainrule.tables.table import Table
from chainrule.tables.targets import TargetPlan, encode_target, plan_target
from chainrule.tables.unchanged import unchanged

DEFAULT_LOSS = {"classify": "softmax_cross_entropy", "multilabel": "sigmoid_cross_entropy", "regress": "squared_error"}
TASKS = ("auto", "classify", "regress")
FRACTION = 0.2  # held out by default


def add_arguments(parser: OptionGroup) -> None:
    """The options that say what a table means."""
    add = parser.add_argument
    add("data", type=source, nargs="?", metavar="DATA", help="a table (.csv, .parquet, .npy, ...), or `digits`")
    add("--target", metavar="COLUMN", help="the column to predict (CSV), or the array (npz: y)")
    add("--task", choices=TASKS, default="auto", help="what the target is for (auto: what its values look like)")
    add("--drop", type=column_names, action=Listed, extend=True, metavar="A,B", help="columns to leave out")
    add(
        "--categorical",
        type=column_names,
        action=Listed,
        extend=True,
        metavar="A,B",
        help="columns whose numbers are names of categories: postcodes, codes",
    )
    add(
        "--max-categories",
        type=positive_int,
        metavar="N",
        help=f"of a column of text; the rarer ones count as one ({MAX_CATEGORIES}; embedded {MAX_VECTORS:,})",
    )
    add(
        "--embed-above",
        type=positive_int,
        metavar="N",
        help="learn a vector for each category of columns with more than N of them (none)",
    )
    add(
        "--valid",
        type=held_out,
        default=FRACTION,
        metavar="X",
        help=f"fraction of the rows to hold out, or a file; 0: none ({FRACTION})",
    )
    add(
        "--group",
        metavar="COLUMN",
        help="rows with the same cell in it stay together: --valid is a fraction of the groups; no feature",
    )
    add("--time", metavar="COLUMN", help="hold out the latest rows by this column, numbers or ISO dates; no feature")


class Data(NamedTuple):
    """What a net is trained and validated on, before standardisation.

    ``encoder`` made X, where the table had names; ``rows`` counts all; ``columns`` says what they are, and ``notes``
    what should be said about them.
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


class TrainingTable(NamedTuple):
    """A table whose target is coded, and what says which of its rows belong together."""

    table: Table
    plan: TargetPlan
    groups: np.ndarray | None
    times: np.ndarray | None
    notes: tuple[str, ...]

    @property
    def classes(self) -> np.ndarray | None:
        """(n,) the class of each row, where a row has one."""
        return self.plan.y if self.plan.task == "classify" or len(self.plan.classes) == 2 else None

    def without_rows(self, training: np.ndarray) -> list[str]:
        """A note where no row of some class is trained on, which groups and times cannot rule out."""
        if self.classes is None:
            return []
        there = np.isin(np.unique(self.classes), self.classes[training])
        lacking = [name for name, known in zip(self.plan.classes, there, strict=True) if not known]
        return [f"no training row of {show_names(lacking)}: which rows are held out is said by a column"] * bool(
            lacking
        )


def read_training_table(args: argparse.Namespace) -> TrainingTable:
    """The table of ``args.data``."""
    if args.data is None:
        raise OptionError(
            "expected a table, DATA, got none", hint="chainrule train FILE.csv --target COLUMN, or digits"
        )
    beside = [name for name in (args.group, args.time) if name is not None]
    if len(beside) > 1:
        raise OptionError("expected --group or --time, got both")
    for name in beside:
        if name == args.target:
            raise OptionError(f"the target {show(name)} is also to say which rows are held out")
    drop = list(dict.fromkeys([*args.drop, *beside]))
    with unchanged(args.data):  # these rows belong to each other
        groups = None if args.group is None else read_groups(args.data, args.group)
        times = None if args.time is None else read_times(args.data, args.time)
        table = read_table(args.data, target=args.target, drop=drop, categorical=args.categorical)
    if table.target is None:
        raise DataError(f"{table.source} has no target", hint="name it with --target")
    plan = plan_target(table.target, loss=_loss(args), source=table.source)
    notes = [*table.notes, *doubts(table, args.max_categories or MAX_CATEGORIES)]
    notes += [f"column {name!r:.60} says which rows are held out, and is no feature" for name in beside]
    return TrainingTable(table, plan, groups, times, tuple(notes))


def read_training_data(args: argparse.Namespace) -> Data:
    """The table of ``args.data``, split by ``args.valid``; only training rows decide how it is encoded."""
    read = read_training_table(args)
    table, plan = read.table, read.plan
    split, other = _split(args, read)
    if other is None:
        notes = () if split is None else read.without_rows(split.training)
        read = read._replace(notes=(*read.notes, *notes))
        return data_of(args, read, split, release=True)
    encoder = None if table.matrix is not None else _fit(args, table, None)
    y = encode_target(_target(other), plan.task, plan.classes, source=other.source)
    about = _about(read, encoder)
    X, _ = _released(table, encoder, None)
    return Data(X, plan.y, (_matrix(other, encoder, None), y), *about)


def data_of(args: argparse.Namespace, read: TrainingTable, split: Split | None, *, release: bool = False) -> Data:
    """What is trained on with this split of a table's rows; None to hold none out.

    With ``release`` the table gives its memory for it, and is of no use afterwards.
    """
    table, y = read.table, read.plan.y
    training = None if split is None else split.training
    encoder = None if table.matrix is not None else _fit(args, table, training)
    about = _about(read, encoder)
    if release:
        X, held_out = _released(table, encoder, split)
    else:
        X = _matrix(table, encoder, training)
        held_out = None if split is None else _matrix(table, encoder, split.held_out)
    if split is None or held_out is None:
        return Data(X, y, None, *about)
    return Data(X, y[split.training], (held_out, y[split.held_out]) if len(held_out) else None, *about)


def _about(
    read: TrainingTable, encoder: TableEncoder | None
) -> tuple[TargetPlan, TableEncoder | None, str, int, tuple[str, ...], str, str, tuple[str, ...], Notation | None]:
    """The fields of :class:`Data` beside the rows."""
    table = read.table
    names = table.feature_names if encoder is None else encoder.names
    about, notation = describe_columns(table), table.columns.target_notation
    return read.plan, encoder, table.source, len(table), names, table.target_name, about, read.notes, notation


def _fit(args: argparse.Namespace, table: Table, rows: np.ndarray | None) -> TableEncoder:
    return TableEncoder.fit(table.columns, rows=rows, max_categories=args.max_categories, embed_above=args.embed_above)


def _target(table: Table) -> np.ndarray:
    if table.target is None:
        raise DataError(f"{table.source} has no target")
    return table.target


def _loss(args: argparse.Namespace) -> str | None:
    """The loss that decides the task; None where the values shall."""
    if args.task == "auto":
        return args.loss  # type: ignore[no-any-return]
    if args.loss is None:
        return DEFAULT_LOSS[args.task]
    if (LOSSES[args.loss].task == "regress") != (args.task == "regress"):
        raise OptionError(f"--task {args.task} came with --loss {args.loss}, which is not for it", hint="leave one out")
    return args.loss  # type: ignore[no-any-return]


def _matrix(table: Table, encoder: TableEncoder | None, rows: np.ndarray | None) -> np.ndarray:
    if encoder is not None and table.columns:
        return encoder.encode(table.columns, rows=rows)
    if encoder is not None:  # other rows, in a matrix: its columns are those of the training by position
        return Preparation(encoder=encoder).encode(table)
    return table.features if rows is None else table.features[rows]


def _released(table: Table, encoder: TableEncoder | None, split: Split | None) -> tuple[np.ndarray, np.ndarray | None]:
    """The rows to train on, by default all, and those held out, made in the memory of a table that ends with it."""
    if encoder is not None:
        X, *others = encoder.encode_and_release(table.columns, (np.arange(len(table)),) if split is None else split)
        return X, others[0] if others else None
    if split is None:
        return table.features, None
    return split_without_copy(table.features, split.training, split.held_out)


def _split(args: argparse.Namespace, read: TrainingTable) -> tuple[Split | None, Table | None]:
    """Which rows are held out (None for none), or another table to validate on."""
    table = read.table
    if isinstance(args.valid, str):
        if args.group is not None or args.time is not None:
            raise OptionError(
                "a file to validate on came with --group or --time, which say what to hold out",
                hint="a fraction for --valid, or leave them out",
            )
        _refuse_column(args.valid, table)
        other = read_table(args.valid, target=table.target_name or args.target, like=table)
        if other.target is None or other.width != table.width:
            raise DataError(f"{other.source} does not have the columns of {table.source}")
        return None, other
    if not 0 <= args.valid < 1:
        raise OptionError(f"--valid: expected a fraction in [0, 1) or a file, got {args.valid:g}")
    if args.valid == 0:
        return None, None
    if len(table) < 2:
        raise DataError(f"{table.source} has one row, too few to hold any out", hint="--valid 0")
    with named(args, table):
        return hold_out(
            len(table), args.valid, seed=args.seed, classes=read.classes, groups=read.groups, times=read.times
        ), None


def _refuse_column(valid: str, table: Table) -> None:
    """Where a column came, and no file of this name is there."""
    name = valid.removeprefix("group:").removeprefix("time:")
    if mode_of(valid) is None and (name != valid or Path(name).name in table.columns):
        name = Path(name).name
        raise OptionError(
            f"--valid: expected a fraction or a file, got {valid}",
            hint=f"--group {name} holds out whole groups, --time {name} the latest rows",
        )


@contextmanager
def named(args: argparse.Namespace, table: Table) -> Iterator[None]:
    """What is wrong with groups or times is said of their column."""
    try:
        yield
    except DataError as error:
        column = args.group or args.time
        where = f"{table.source}, column {show(column)}" if column else table.source
        raise DataError(f"{where}: {error.message}", hint=error.hint) from None
