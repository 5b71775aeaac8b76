"""Tables from columns that have a type already: Parquet, Arrow and Feather files, and DataFrames of any library.

A column keeps the kind that it has: numbers and booleans are numbers, text is categories even where it looks like
numbers, dates are refused. Such a column has nulls of its own, so that the text "NA" is text (Namibia); empty text is a
hole. In a column of Python objects of several kinds each value counts as the cell of a text file would.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, DataError, first_line
from chainrule.host_memory import free_on_host
from chainrule.nn.columns.column_data import ColumnData, KnownTexts, TableColumns
from chainrule.nn.columns.notation import MISSING, NOTHING, Notation
from chainrule.tables.columns import choose_columns, show, show_names
from chainrule.tables.frames.arrow_files import ColumnsOfFile, IpcColumns, ParquetColumns
from chainrule.tables.frames.foreign_columns import (
    NO_CELL,
    arrow_module,
    cells_of_objects,
    is_nothing,
    of_arrow,
    of_series,
)
from chainrule.tables.selection import TIME, Selection
from chainrule.tables.table import Table
from chainrule.tables.text.column_builder import Cells
from chainrule.tables.text.infer_type import (
    LARGE,
    NO_DATES,
    NO_TARGET,
    Refuse,
    categories,
    first_rounded,
    infer_classes,
    infer_target,
    infer_type,
    refuse_contradiction,
    whole_numbers,
)
from chainrule.tables.text.notations import notation_as_known
from chainrule.tables.text.parsing import BOOLEAN_NAMES, kind_of
from chainrule.tables.text_labels import spread_texts

MOST_PACKED = 1000  # bytes that one of a compressed file may stand for
# A column by its name, and whether whole numbers must be exact: numbers, booleans, dates or objects; or text.
Read = Callable[[str, bool], "np.ndarray | Cells"]


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
        source, list(names), len(data), lambda name, exact: of_series(data[names[name]], exact=exact), selection
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
        if not _is_too_much(error, path.stat().st_size):
            raise
        raise DataError(f"{path} is no valid {path.suffix} file: {first_line(error)[:120]}") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no valid {path.suffix} file: {first_line(error)[:120]}") from error


def _is_too_much(error: MemoryError, size: int) -> bool:
    """Whether Arrow ran out of memory because a file of ``size`` bytes claims what it cannot hold."""
    most = MOST_PACKED * size
    asked = re.search(r"of size (-?\d+)", str(error))
    if asked is not None:
        return not 0 <= int(asked[1]) <= most
    free = free_on_host()  # where it does not say how much it asked for
    return free is not None and most < free


def _names(source: str, there: Sequence[Any]) -> list[str]:
    """The columns stripped of spaces, as in a text file; DataError where one has no name, or not one of its own."""
    names = [str(name).strip() for name in there]
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
        data = of_arrow(content.column(at[name]), exact=exact)
        if isinstance(content, ColumnsOfFile) and isinstance(data, np.ndarray) and not data.flags.owndata:
            return data.copy()  # Arrow's memory goes, and this can be shortened
        return data

    return _table(source, list(at), content.num_rows, read, selection)


def _table(source: str, names: list[str], n: int, read: Read, selection: Selection) -> Table:
    chosen, target = choose_columns(source, names, selection)
    if not n:
        raise DataError(f"{source} has no rows")
    features: dict[str, ColumnData] = {}
    for name in (names[i] for i in chosen):
        wanted = selection.kind(name)
        with _readable(source, name):
            data = read(name, wanted == "category")
            known, notation = selection.texts.get(name), selection.notations.get(name)
            features[name] = _feature(data, _refusal(source, name, data), wanted, known, notation)
    y = None
    if target is not None:
        with _readable(source, names[target]):
            data = read(names[target], True)
            y = _target(data, _refusal(source, names[target], data), selection)
    return Table.of_columns(TableColumns(features), y, "" if target is None else names[target], source)


@contextmanager
def _readable(source: str, name: str) -> Iterator[None]:
    """What another library cannot do with a column of its own is said of this column."""
    try:
        yield
    except (ChainruleError, MemoryError, OSError):
        raise
    except Exception as error:  # libraries have exceptions of their own
        said = first_line(error)[:120] or type(error).__name__
        raise DataError(f"{source}, column {show(name)} cannot be read: {said}", hint=NO_CELL) from error


def _refusal(source: str, name: str, data: np.ndarray | Cells) -> Refuse:
    def refuse(row: int, expected: str, hint: str) -> DataError:
        value = data[row] if isinstance(data, np.ndarray) else data.texts[data.codes[row]]
        return DataError(
            f"{source}, column {show(name)}, row {row} (from 0): expected {expected}, got {show(str(value))}",
            hint=hint,
        )

    return refuse


# ---- what it means ----------------------------------------------------------------------------------


def _feature(
    data: np.ndarray | Cells, refuse: Refuse, wanted: str, known: KnownTexts | None, notation: Notation | None
) -> ColumnData:
    if wanted == TIME:
        return _times(data, refuse)
    if wanted == "category" and isinstance(data, np.ndarray) and data.dtype.kind == "M":
        texts, codes = np.unique(np.datetime_as_string(data), return_inverse=True)
        data = Cells(codes, ["" if text in NOTHING else text for text in texts.tolist()])
        return categories(data, known=known, typed=True)
    levels, typed = isinstance(data, Cells), not isinstance(data, Cells) or not data.named
    if isinstance(data, np.ndarray) and (
        data.dtype.kind == "O" or (wanted == "category" and data.dtype.kind in "biuf")
    ):
        data, typed = cells_of_objects(_texts_in_plain(data.astype(object), notation, refuse), refuse)
    if not isinstance(data, Cells):
        return _numbers(data, refuse)
    if (typed or levels) and wanted != "number" and (wanted or not _is_dates_or_nothing(data)):
        signs = notation.decimal if notation is not None and typed else ()  # of what is text altogether
        return categories(data, signs, known=known, typed=typed)
    # Only text is written in some notation: among numbers it is in that of Python by now.
    return infer_type(data, refuse, wanted=wanted, known=known, notation=notation if typed else None).data


def _times(data: np.ndarray | Cells, refuse: Refuse) -> ColumnData:
    """Dates as microseconds since 1970, int64, or with holes float64; numbers; what else there is as categories."""
    if isinstance(data, np.ndarray) and data.dtype.kind == "M":
        moments, holes = data.astype("M8[us]").astype(np.int64), np.isnat(data)
        return np.where(holes, np.nan, moments) if holes.any() else moments
    if isinstance(data, np.ndarray) and data.dtype.kind in "iuf":
        return _numbers(data, refuse)
    return _feature(data, refuse, "category", None, None)


def _texts_in_plain(values: np.ndarray, notation: Notation | None, refuse: Refuse) -> np.ndarray:
    """Objects of which some are numbers: the text among them, written as ``notation`` says, as Python writes numbers.

    One decimal sign is then that of the whole column. What is text alone, or was in no notation, stays as it is.
    """
    objects = values.tolist()
    if notation is None or all(isinstance(value, str) or is_nothing(value) for value in objects):
        return values
    values = values.copy()
    for i, cell in ((i, value.strip()) for i, value in enumerate(objects) if isinstance(value, str)):
        found = None if cell in MISSING else notation_as_known(notation, cell)
        if found is None and kind_of(cell) in {"number", "miswritten"}:
            raise refuse_contradiction(refuse, i, notation)
        values[i] = cell if found is None else found.plain(cell)
    return values


def _is_dates_or_nothing(cells: Cells) -> bool:
    kinds = {kind_of(cell) for cell in cells.texts if cell}
    return kinds <= {"date", "missing"} and (not kinds or "date" in kinds)


def _numbers(data: np.ndarray, refuse: Refuse) -> np.ndarray:
    if data.dtype.kind in "mM":
        raise refuse(0, "a number or a category, and no date", NO_DATES)
    if data.dtype.kind not in "biuf" or data.ndim != 1:
        came = data.dtype if data.ndim == 1 else "array of them"
        raise refuse(0, f"a number or text, and no {came}", NO_CELL)
    values = np.ascontiguousarray(data, np.float64)
    if np.isinf(values).any():
        raise refuse(int(np.isinf(values).argmax()), "a finite number", "mark a hole as missing")
    return values


def _target(data: np.ndarray | Cells, refuse: Refuse, selection: Selection) -> np.ndarray:
    text, classes = isinstance(data, Cells), selection.classes
    if isinstance(data, np.ndarray) and data.dtype.kind == "O":
        data = _texts_in_plain(data, None if classes else selection.target_notation, refuse)
        data, text = cells_of_objects(data, refuse, labels=True)
    if isinstance(data, np.ndarray):
        if data.dtype.kind == "b":
            return spread_texts(BOOLEAN_NAMES, data.astype(np.int8))
        values = _numbers(data, refuse)
        if np.isnan(values).any():
            raise refuse(int(np.isnan(values).argmax()), "a value in every row", NO_TARGET)
        if (row := first_rounded(data, values)) is not None:
            raise refuse(row, "a whole number that float64 holds", LARGE)
        return whole_numbers(data if data.dtype.kind in "iu" else values)
    return infer_classes(data, refuse, typed=True) if text else infer_target(data, refuse, classes=classes).values
