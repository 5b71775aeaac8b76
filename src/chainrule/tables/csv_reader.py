"""Tables from delimited text: what the cells mean.

Read with the csv module and ``float``. ``np.loadtxt`` was measured against it (100,000 x 30 numbers of 17 digits,
56 MiB: 0.6 s against 1.0 s) and not taken: it cuts and skips rows in silence, and its errors name no column.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Sequence
from operator import itemgetter
from pathlib import Path

import numpy as np

from chainrule.errors import DataError
from chainrule.tables.columns import find_target, select_features, show_names
from chainrule.tables.csv_text import CsvText
from chainrule.tables.table import Table

NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
MISWRITTEN = re.compile(r"[+-]?(?:\d{1,3}(?:[., '\xa0\u202f\u2019_]\d{3})+(?:[.,]\d+)?|\d+,\d+(?:[eE][+-]?\d+)?)")
LONGEST_CLASS_NAME = 200  # characters; NumPy gives every row of a text array the room of the longest

FILL_IN = "fill the cell or leave the row out: missing values are not read yet"
REFUSALS = {  # what a cell can be instead of a number: what was expected, and what to do
    "empty": ("a number", FILL_IN),
    "infinite": ("a finite number", FILL_IN),
    "miswritten": ("a number", "write it like 1234.5: a point before the decimals, nothing between the thousands"),
    "text": ("a number", "leave the column out, or code it as numbers"),
}


def read_csv(path: Path, *, target: str | None, feature_names: Sequence[str], need_target: bool) -> Table:
    """The table of a text file; the parameters are those of :func:`chainrule.tables.readers.read_table`.

    The delimiter is found in the header. Cells may be quoted, also across lines; spaces around them do not count.
    Empty lines between rows are skipped. There is no comment sign. The file is held in memory beside the numbers.

    Raises
    ------
    DataError     naming line (from 1, the header included) and column of what cannot be read.
    OptionError   if ``target`` is not there, or is needed and was not said; lists the columns.
    """
    text = CsvText(str(path), path.read_bytes())
    names = text.names
    if not feature_names:
        _refuse_missing_header(text, names)
    column = find_target(text.source, names, target, need_target=need_target, selected=bool(feature_names))
    chosen = select_features(text.source, names, feature_names, column)
    if not feature_names and column is not None and target != names[column]:
        _refuse_missing_header(text, [names[i] for i in chosen])
    features, cells = _read_columns(text, chosen, column)
    return Table(
        features=features,
        feature_names=tuple(names[i] for i in chosen),
        target=None if column is None else _read_target(text, cells, column),
        target_name="" if column is None else names[column],
        source=text.source,
    )


def _read_columns(text: CsvText, chosen: Sequence[int], target: int | None) -> tuple[np.ndarray, list[str]]:
    """The columns ``chosen`` as an (n, d) float64 array, and the cells of the target column, stripped."""
    values, targets = array("d"), []
    pick = itemgetter(*chosen) if len(chosen) > 1 else lambda row: (row[chosen[0]],)
    for line, row in text.rows():
        try:
            values.extend(_to_numbers(pick(row)))
        except ValueError:
            raise _refuse_number(text, line, row, chosen) from None
        if target is not None:
            targets.append(row[target].strip())
    if not values:
        raise text.refuse(f"line {text.header_line}: a header came and no rows")
    features = np.frombuffer(values).reshape(-1, len(chosen))
    bad = ~np.isfinite(features).all(axis=1)
    if bad.any():  # the quick way takes it, the strict one does not
        raise _refuse_number(text, *text.row(int(bad.argmax())), chosen)
    return features, targets


def _to_numbers(cells: Sequence[str]) -> list[float]:
    """What :func:`to_number` makes of the cells, only that it may let inf and nan pass.

    That is all that ``float``, which is several times as fast, takes too much of ASCII without underscores; what it
    refuses has its second chance.
    """
    joined = "".join(cells)
    if joined.isascii() and "_" not in joined:
        try:
            return list(map(float, cells))
        except ValueError:
            pass
    return list(map(to_number, cells))


def to_number(cell: str) -> float:
    """The number that a cell holds; ValueError where there is none or it is not finite.

    Stricter than ``float``, which also takes 1_000, nan, and the digits of every script.
    """
    text = cell.strip()
    if not NUMBER.fullmatch(text) or not math.isfinite(value := float(text)):
        raise ValueError("no finite number")
    return value


def kind_of(cell: str) -> str:
    """What a cell holds: "number", or what it is instead, a key of ``REFUSALS``."""
    text = cell.strip()
    if not text:
        return "empty"
    try:
        value = float(text)
    except ValueError:
        return "miswritten" if MISWRITTEN.fullmatch(text) else "text"
    if not math.isfinite(value):
        return "infinite"
    return "number" if NUMBER.fullmatch(text) else "miswritten"


def _refuse_number(text: CsvText, line: int, row: list[str], columns: Sequence[int]) -> DataError:
    """The error for the first of the cells at ``columns`` that holds no number."""
    column = next(i for i in columns if kind_of(row[i]) != "number")
    expected, hint = REFUSALS[kind_of(row[column])]
    return text.refuse_cell(line, row, column, expected, hint)


def _refuse_missing_header(text: CsvText, names: Sequence[str]) -> None:
    """A header of numbers alone is most likely the first row, which would be lost."""
    if all(kind_of(name) != "text" for name in names):
        raise text.refuse(
            f"line {text.header_line}: numbers came ({show_names(names[:3])}{', ...' * (len(names) > 3)}), "
            "the names of the columns were expected",
            "let the first line name the columns, and give the target by its name",
        )


def _read_target(text: CsvText, cells: list[str], column: int) -> np.ndarray:
    """Text where no cell is a number; int64 where all are whole numbers; else float64."""
    kinds = [kind_of(cell) for cell in cells]
    for kind in ("empty", "infinite", "miswritten"):
        if kind in kinds and (kind == "empty" or "text" not in kinds):
            raise _refuse_number(text, *text.row(kinds.index(kind)), [column])
    numeric = [kind != "text" for kind in kinds]
    if not any(numeric):
        return _read_classes(text, cells, column)
    if not all(numeric):
        most = 2 * sum(numeric) >= len(cells)
        expected = f"{'a number' if most else 'text'} as in most rows"
        hint = "a target holds either numbers or names of classes; let such a name begin with a letter"
        raise text.refuse_cell(*text.row(numeric.index(not most)), column, expected, hint)
    values = np.array([float(cell) for cell in cells])
    if (values != np.floor(values)).any():
        return values
    if (np.abs(values) < 2**53).all():
        return values.astype(np.int64)
    try:  # beyond 2**53 float64 would merge neighbours, which may be different classes
        return np.array([int(cell) for cell in cells], np.int64)
    except (ValueError, OverflowError):
        return values


def _read_classes(text: CsvText, cells: list[str], column: int) -> np.ndarray:
    longest = max(range(len(cells)), key=lambda i: len(cells[i]))
    if len(cells[longest]) > LONGEST_CLASS_NAME:
        expected = f"a class name of at most {LONGEST_CLASS_NAME} characters"
        raise text.refuse_cell(*text.row(longest), column, expected)
    return np.array(cells)
