"""Tables from Parquet, Arrow and Feather files, and from DataFrames of any library.

What their columns mean: :mod:`chainrule.tables.frames.typed_columns`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, DataError, first_line
from chainrule.host_memory import free_host_memory
from chainrule.nn.columns.column_data import TableColumns
from chainrule.nn.columns.notation import PLAIN
from chainrule.plain_text import show
from chainrule.tables.choose_columns import choose_columns, show_names
from chainrule.tables.frames.arrow_files import ColumnsOfFile, IpcColumns, ParquetColumns
from chainrule.tables.frames.foreign_columns import NO_CELL, arrow_module, convert_arrow, convert_series
from chainrule.tables.frames.typed_columns import read_feature, read_target
from chainrule.tables.selection import Selection
from chainrule.tables.table import Table
from chainrule.tables.text.column_builder import Cells
from chainrule.tables.text.infer_target import Target
from chainrule.tables.text.infer_type import InferredType
from chainrule.tables.text.refusals import Refuse

MAX_COMPRESSION = 1000  # bytes that one byte of a compressed file may stand for
# Name of a column and whether whole numbers must be exact -> numbers, booleans, dates or objects; or text.
ReadColumn = Callable[[str, bool], "np.ndarray | Cells"]


def is_frame(data: Any) -> bool:
    """Whether this is a DataFrame or an Arrow table, of whatever library."""
    return any(hasattr(data, name) for name in ("__arrow_c_stream__", "__dataframe__")) and not isinstance(data, str)


def read_frame(data: Any, selection: Selection) -> Table:
    """The table of a DataFrame (pandas, Polars, ...) or of any ``__arrow_c_stream__``; an index is ignored."""
    source = f"the {type(data).__module__.partition('.')[0]} {type(data).__name__}"
    if hasattr(data, "to_numpy") and not hasattr(data, "columns"):
        raise DataError(f"expected a DataFrame or a table, got {source}", hint="its to_frame() is one")
    if not hasattr(data, "to_numpy"):
        if hasattr(data, "__arrow_c_stream__"):
            return _from_arrow(arrow_module("pyarrow").table(data), source, selection)
        return _from_arrow(arrow_module("pyarrow.interchange").from_dataframe(data), source, selection)
    names = dict(zip(_names(source, data.columns), data.columns, strict=True))
    return _table(
        source, list(names), len(data), lambda name, exact: convert_series(data[names[name]], exact=exact), selection
    )


def read_arrow_file(path: Path, selection: Selection) -> Table:
    """The table of a .parquet, .arrow or .feather file; pyarrow reads it (extra ``tables``)."""
    pa = arrow_module("pyarrow")
    try:
        with path.open("rb") as file:
            kind = ParquetColumns if path.suffix.lower() == ".parquet" else IpcColumns
            opened: ColumnsOfFile = kind(file, str(path))
            chosen, target = choose_columns(str(path), _names(str(path), opened.column_names), selection)
            opened.choose([*chosen, *([] if target is None else [target])], doing=f"reading {path}")
            return _from_arrow(opened, str(path), selection)
    except (ChainruleError, FileNotFoundError, PermissionError):
        raise
    except MemoryError as error:
        if not _claims_too_much(error, path.stat().st_size):
            raise
        raise DataError(f"{path} is no valid {path.suffix} file: {first_line(error)[:120]}") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no valid {path.suffix} file: {first_line(error)[:120]}") from error


def _claims_too_much(error: MemoryError, size: int) -> bool:
    """Whether Arrow ran out of memory because a file of ``size`` bytes claims more than it can hold."""
    most = MAX_COMPRESSION * size
    asked = re.search(r"of size (-?\d+)", str(error))
    if asked is not None:
        return not 0 <= int(asked[1]) <= most
    free = free_host_memory()  # the error does not say how much was asked for
    return free is not None and most < free


def _names(source: str, given: Sequence[Any]) -> list[str]:
    """The names without surrounding spaces, as in a text file; DataError if one is empty or not unique."""
    names = [str(name).strip() for name in given]
    if "" in names or len(set(names)) < len(names):
        count = dict.fromkeys(names, 0)
        for name in names:
            count[name] += 1
        twice = [name for name in count if not name or count[name] > 1]
        raise DataError(
            f"{source}: columns without a name of their own: {show_names(twice)}",
            hint="give each column a name of its own",
        )
    return names


def _from_arrow(content: Any, source: str, selection: Selection) -> Table:
    at = {name: i for i, name in enumerate(_names(source, content.column_names))}

    def read(name: str, exact: bool) -> np.ndarray | Cells:
        data = convert_arrow(content.column(at[name]), exact=exact)
        if isinstance(content, ColumnsOfFile) and isinstance(data, Cells):  # its text comes as codes too
            return replace(data, levels=content.column_names[at[name]] not in content.texts)
        if isinstance(content, ColumnsOfFile) and isinstance(data, np.ndarray) and not data.flags.owndata:
            return data.copy()  # Arrow's memory is freed, and an array of its own can be resized
        return data

    return _table(source, list(at), content.num_rows, read, selection)


def _table(source: str, names: list[str], n: int, read: ReadColumn, selection: Selection) -> Table:
    chosen, target = choose_columns(source, names, selection)
    if not n:
        raise DataError(f"{source}: expected at least one row, got none")
    target_name = "" if target is None else names[target]
    features: dict[str, InferredType | None] = {}  # None until other columns have said what 1,234 is
    undecided: dict[str, np.ndarray | Cells] = {}

    def feature(name: str, data: np.ndarray | Cells, decimals: Collection[str] | None) -> InferredType | None:
        known, notation = selection.texts.get(name), selection.notations.get(name)
        refuse = _refusal(source, name, data)
        return read_feature(data, refuse, selection.kind(name), known, notation, decimals, learned=selection.learned)

    for name in (names[i] for i in chosen):
        with _named_in_errors(source, name):
            data = read(name, selection.kind(name) == "category")
            features[name] = feature(name, data, None)
        if features[name] is None:
            undecided[name] = data
    y = None
    if target is not None:
        with _named_in_errors(source, target_name):
            data = read(target_name, True)
            y = read_target(data, _refusal(source, target_name, data), selection, None)
    if undecided or (target is not None and y is None):
        decimals = _decimals([column for column in (*features.values(), y) if column is not None])
        features |= {name: feature(name, column, decimals) for name, column in undecided.items()}
        if target is not None and y is None:
            y = read_target(data, _refusal(source, target_name, data), selection, decimals)
    found = {name: column for name, column in features.items() if column is not None}
    return _with_notes(found, y, target_name, source)


def _decimals(columns: Sequence[InferredType | Target]) -> set[str]:
    """The decimal signs that columns of a frame are certain to use; that of its numbers is the point."""
    decimals = {column.notation.decimal for column in columns if column.unit and column.notation is not None}
    for column in columns:
        values = column.values if isinstance(column, Target) else column.data
        if not column.unit and isinstance(values, np.ndarray) and values.dtype.kind == "f":
            decimals |= {"."} if (values % 1 > 0).any() else set()  # nan is not above 0
    return decimals


def _with_notes(features: Mapping[str, InferredType], y: Target | None, target_name: str, source: str) -> Table:
    """The table, with the notations of numbers with units, and what should be said of them."""
    inferred: dict[str, InferredType | Target] = {**features, **({} if y is None else {target_name: y})}
    notations = {
        name: replace(column.notation or PLAIN, unit=column.unit) for name, column in inferred.items() if column.unit
    }
    columns = TableColumns(
        {name: column.data for name, column in features.items()},
        notations={name: notation for name, notation in notations.items() if name in features},
        target=notations.get(target_name),
    )
    notes = [f"column {name!r:.60}: {column.note}" for name, column in inferred.items() if column.note]
    return Table.from_columns(columns, None if y is None else y.values, target_name, source, notes)


@contextmanager
def _named_in_errors(source: str, name: str) -> Iterator[None]:
    """An error of another library, as a DataError that names the column."""
    try:
        yield
    except (ChainruleError, MemoryError, OSError):
        raise
    except Exception as error:  # libraries have exceptions of their own
        reason = first_line(error)[:120] or type(error).__name__
        raise DataError(f"{source}, column {show(name)} cannot be read: {reason}", hint=NO_CELL) from error


def _refusal(source: str, name: str, data: np.ndarray | Cells) -> Refuse:
    def refuse(row: int, expected: str, hint: str) -> DataError:
        value = data[row] if isinstance(data, np.ndarray) else data.texts[data.codes[row]]
        return DataError(
            f"{source}, column {show(name)}, row {row} (from 0): expected {expected}, got {show(str(value))}",
            hint=hint,
        )

    return refuse
