"""The rows that ``chainrule train`` trains on: read, planned, split, and made a matrix."""

from __future__ import annotations

import argparse
import math
from itertools import chain
from typing import NamedTuple

import numpy as np

from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.cli.options import column_names, positive_int
from chainrule.errors import DataError, OptionError
from chainrule.nn.losses import LOSSES
from chainrule.nn.table_columns import MAX_CATEGORIES, MAX_VECTORS, Categorical
from chainrule.nn.table_encoder import TableEncoder
from chainrule.random import Purpose, stream
from chainrule.tables.readers import read_table
from chainrule.tables.table import Table
from chainrule.tables.targets import TargetPlan, encode_target, plan_target

DEFAULT_LOSS = {"classify": "softmax_cross_entropy", "multilabel": "sigmoid_cross_entropy", "regress": "squared_error"}
TASKS = ("auto", "classify", "regress")
NAMES_SHOWN = 4  # columns of each kind


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say what a table means."""
    add = parser.add_argument
    add("--target", metavar="COLUMN", help="the column to predict (CSV), or the array (npz: y)")
    add("--task", choices=TASKS, default="auto", help="what the target is for (auto: what its values look like)")
    add("--drop", type=column_names, action="append", default=[], metavar="A,B", help="columns to leave out")
    add(
        "--categorical", type=column_names, action="append", default=[], metavar="A,B",
        help="columns whose numbers are names of categories: postcodes, codes",
    )  # fmt: skip
    add(
        "--max-categories", type=positive_int, metavar="N",
        help=f"of a column of text; the rarer ones count as one ({MAX_CATEGORIES}; embedded {MAX_VECTORS:,})",
    )  # fmt: skip
    add(
        "--embed-above", type=positive_int, metavar="N",
        help="learn a vector for each category of columns with more than N of them (none)",
    )  # fmt: skip
    add("--valid", default="0.2", metavar="X", help="fraction of the rows to hold out, or a file; 0: none (0.2)")


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


def read_training_data(args: argparse.Namespace) -> Data:
    """The table of ``args.data``, split by ``args.valid``; only training rows decide how it is encoded."""
    drop, categorical = [list(chain.from_iterable(lists)) for lists in (args.drop, args.categorical)]
    table = read_table(args.data, target=args.target, drop=drop, categorical=categorical)
    if table.target is None:
        raise DataError(f"{table.source} has no target", hint="name it with --target")
    plan = plan_target(table.target, loss=_loss(args), source=table.source)
    training, validation, other = _split(args, table)
    encoder = None
    if table.matrix is None:
        encoder = TableEncoder.fit(
            table.columns, rows=training, max_categories=args.max_categories, embed_above=args.embed_above
        )
    X = _matrix(table, encoder, training)
    y, valid = plan.y, None
    if other is not None and other.target is not None:
        y_other = encode_target(other.target, plan.task, plan.classes, source=other.source)
        valid = _matrix(other, encoder, None), y_other
    elif validation is not None:
        valid = _matrix(table, encoder, validation), y[validation]
    return Data(
        X, y if training is None else y[training], valid, plan, encoder, table.source, len(table),
        table.feature_names if encoder is None else encoder.names, table.target_name, describe_columns(table),
        (*table.notes, *_doubts(table, args.max_categories or MAX_CATEGORIES)),
    )  # fmt: skip


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
    if encoder is not None:
        return encoder.encode(table.columns, rows=rows)
    return table.features if rows is None else table.features[rows]


def _split(args: argparse.Namespace, table: Table) -> tuple[np.ndarray | None, np.ndarray | None, Table | None]:
    """Training rows and validation rows (None for all and none), or another table to validate on."""
    try:
        fraction = float(args.valid)
    except ValueError:
        kinds = {name: "category" if isinstance(c, Categorical) else "number" for name, c in table.columns.items()}
        other = read_table(
            args.valid, target=table.target_name or args.target, feature_names=table.feature_names, kinds=kinds
        )
        same = other.width == table.width and (other.matrix is None) == (table.matrix is None)
        if other.target is None or not same:
            raise DataError(f"{other.source} does not have the columns of {table.source}") from None
        return None, None, other
    if not 0 <= fraction < 1:
        raise OptionError(f"--valid {args.valid} came, a fraction in [0, 1) or a file was expected")
    if fraction == 0:
        return None, None, None
    if len(table) < 2:
        raise DataError(f"{table.source} has one row, too few to hold any out", hint="--valid 0")
    order = np.empty(len(table), np.int64)
    NumPyBackend().permutation(*stream(args.seed, Purpose.SPLIT), out=order)
    held_out = min(math.ceil(fraction * len(table)), len(table) - 1)
    return np.sort(order[held_out:]), np.sort(order[:held_out]), None


def describe_columns(table: Table) -> str:
    """How many columns are numbers and categories, which, and where the holes are; empty for a matrix."""
    texts = {name: data for name, data in table.columns.items() if isinstance(data, Categorical)}
    numbers = {name: data for name, data in table.columns.items() if not isinstance(data, Categorical)}
    holes = {name: int(np.isnan(data).sum()) for name, data in numbers.items()}
    holes |= {name: int((data.codes < 0).sum()) for name, data in texts.items()}
    parts = [f"{len(numbers)} number{'s' * (len(numbers) != 1)}"] if numbers else []
    if texts:
        shown = _listed([f"{name} ({len(data.names)})" for name, data in texts.items()])
        parts.append(f"{len(texts)} {'categories' if len(texts) > 1 else 'category'}: {shown}")
    if any(holes.values()):
        parts.append(f"holes: {_listed([f'{name} ({n:,})' for name, n in holes.items() if n])}")
    return "; ".join(parts)


def _doubts(table: Table, most: int) -> list[str]:
    """Columns of text in which hardly any two rows are the same, names and remarks, and columns without any value."""
    empty = [
        f"column {name!r:.60} is empty"
        for name, data in table.columns.items()
        if (data.codes < 0 if isinstance(data, Categorical) else np.isnan(data)).all()
    ]
    return empty + [
        f"column {name!r:.60} has {len(data.names):,} different texts in {len(data):,} rows: perhaps --drop it"
        for name, data in table.columns.items()
        if isinstance(data, Categorical) and len(data.names) > max(most, len(data) // 2)
    ]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
