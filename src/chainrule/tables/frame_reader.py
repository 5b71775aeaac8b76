"""Tables from columns that have a type already: Parquet, Arrow and Feather files, and DataFrames of any library.

A column keeps the kind that it has: numbers and booleans are numbers, text is categories even where it looks like
numbers, dates are refused. In a column of Python objects each value counts as the cell of a text file would.
"""

from __future__ import annotations

import datetime
import importlib
import re
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import ChainruleError, DataError, OptionError, first_line
from chainrule.nn.table_columns import MISSING, NOTHING, ColumnData
from chainrule.tables.cells import BOOLEAN_NAMES, kind_of
from chainrule.tables.column_builder import Cells
from chainrule.tables.columns import choose_columns, show, show_names
from chainrule.tables.decide import (
    NO_DATES,
    NO_TARGET,
    Refuse,
    categories,
    decide,
    decide_classes,
    decide_target,
    whole_numbers,
)
from chainrule.tables.selection import Selection
from chainrule.tables.table import Table

CELLS = (int, float, Decimal, np.bool_, np.integer, np.floating, datetime.date)  # besides text; dates for their refusal
CELLS_AT_ONCE = 1 << 22  # of a Parquet file, beside the columns that are made of them
MOST_PACKED = 1000  # bytes that one of a compressed file may stand for
NO_CELL = "write it as numbers or text, or leave the column out (--drop)"
Read = Callable[[str], "np.ndarray | Cells"]  # a column by its name: numbers, booleans, dates or objects; or text


def is_frame(data: Any) -> bool:
    """Whether this is a DataFrame or an Arrow table, of whatever library."""
    return any(hasattr(data, name) for name in ("__arrow_c_stream__", "__dataframe__")) and not isinstance(data, str)


def read_frame(data: Any, selection: Selection) -> Table:
    """The table of a DataFrame (pandas, Polars, ...) or of any ``__arrow_c_stream__``; an index is ignored."""
    source = f"the {type(data).__module__.partition('.')[0]} {type(data).__name__}"
    if not hasattr(data, "to_numpy"):
        if hasattr(data, "__arrow_c_stream__"):
            return _from_arrow(_arrow("pyarrow").table(data), source, selection)
        return _from_arrow(_arrow("pyarrow.interchange").from_dataframe(data), source, selection)
    names = dict(zip(_names(source, data.columns), data.columns, strict=True))
    return _table(source, list(names), len(data), lambda name: _of_series(data[names[name]]), selection)


def read_arrow_file(path: Path, selection: Selection) -> Table:
    """The table of a .parquet, .arrow or .feather file; pyarrow reads it (extra ``tables``)."""
    pa = _arrow("pyarrow")
    try:
        with path.open("rb") as file:
            if path.suffix.lower() == ".parquet":
                parquet = _arrow("pyarrow.parquet").ParquetFile(file)
                names = _names(str(path), parquet.schema_arrow.names)
                chosen, target = choose_columns(str(path), names, selection)
                order = [*chosen, *([] if target is None else [target])]
                return _from_arrow(ParquetColumns(parquet, order), str(path), selection)
            ipc = _arrow("pyarrow.ipc")
            try:
                content = ipc.open_file(file).read_all()
            except pa.ArrowInvalid:
                file.seek(0)
                content = ipc.open_stream(file).read_all()
            content.validate(full=True)  # Arrow believes the offsets of text in such a file, and reads where they point
            return _from_arrow(content, str(path), selection)
    except (ChainruleError, FileNotFoundError, PermissionError):
        raise
    except MemoryError as error:
        asked = re.search(r"of size (-?\d+)", str(error))
        if asked is None or 0 <= int(asked[1]) <= MOST_PACKED * path.stat().st_size:
            raise  # else the file claims what it cannot hold
        raise DataError(f"{path} is no valid {path.suffix} file: {first_line(error)[:120]}") from error
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} is no valid {path.suffix} file: {first_line(error)[:120]}") from error


class ParquetColumns:
    """The columns of a Parquet file, read when they are asked for: a few at a time, each of them once.

    Parameters
    ----------
    order : positions of those that will be asked for, in that order; others are not read
    """

    def __init__(self, parquet: Any, order: Sequence[int]) -> None:
        self.column_names: list[str] = parquet.schema_arrow.names
        self.num_rows: int = parquet.metadata.num_rows
        self._parquet, self._order = parquet, list(order)
        self._at_once = max(1, CELLS_AT_ONCE // max(1, self.num_rows))
        self._read: dict[int, Any] = {}

    def column(self, position: int) -> Any:
        """The column of this position, which is not held here any longer."""
        if position not in self._read:
            first = self._order.index(position)
            wanted = self._order[first : first + self._at_once]
            names = [self.column_names[i] for i in wanted]
            _arrow("pyarrow").default_memory_pool().release_unused()  # it keeps what was freed, half a table in the end
            content = self._parquet.read(columns=names)  # "a" also reads what is called "a.b"
            self._read = {i: content.column(name) for i, name in zip(wanted, names, strict=True)}
        return self._read.pop(position)


def _arrow(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        raise OptionError(
            "Parquet, Arrow and Feather need pyarrow, which is not installed", hint='pip install "chainrule[tables]"'
        ) from None


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

    def read(name: str) -> np.ndarray | Cells:
        data = _of_arrow(content.column(at[name]))
        if isinstance(content, ParquetColumns) and isinstance(data, np.ndarray) and not data.flags.owndata:
            return data.copy()  # Arrow's memory goes, and this can be shortened
        return data

    return _table(source, list(at), content.num_rows, read, selection)


def _table(source: str, names: list[str], n: int, read: Read, selection: Selection) -> Table:
    chosen, target = choose_columns(source, names, selection)
    if not n:
        raise DataError(f"{source} has no rows")
    features: dict[str, ColumnData] = {}
    for name in (names[i] for i in chosen):
        data = read(name)
        features[name] = _feature(data, _refusal(source, name, data), selection.kind(name))
    y = None
    if target is not None:
        data = read(names[target])
        y = _target(data, _refusal(source, names[target], data))
    return Table.of_columns(features, y, "" if target is None else names[target], source)


def _refusal(source: str, name: str, data: np.ndarray | Cells) -> Refuse:
    def refuse(row: int, expected: str, hint: str) -> DataError:
        value = data[row] if isinstance(data, np.ndarray) else data.texts[data.codes[row]]
        return DataError(
            f"{source}, column {show(name)}, row {row} (from 0): {show(str(value))} came, {expected} was expected",
            hint=hint,
        )

    return refuse


# ---- a column of another library ------------------------------------------------------------------


def _of_arrow(column: Any) -> np.ndarray | Cells:
    pa = _arrow("pyarrow")
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.cast(kind.value_type).cast(pa.large_string())
        kind = column.type
    if any(test(kind) for test in (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)):
        encoded = column.cast(pa.large_string()).combine_chunks().dictionary_encode()
        codes = np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), np.int32)
        return _cells(codes, encoded.dictionary.to_pylist())
    if pa.types.is_decimal(kind) or pa.types.is_null(kind) or (pa.types.is_integer(kind) and column.null_count):
        column = column.cast(pa.float64())
    return np.asarray(column.to_numpy())


def _of_series(series: Any) -> np.ndarray | Cells:
    if str(series.dtype) == "category":  # of pandas: categories, also where they are numbers
        return _cells(series.cat.codes.to_numpy(), [str(name) for name in series.cat.categories])
    values = np.asarray(series.to_numpy())
    return np.array(values.tolist(), object) if values.dtype.kind in "UT" else values


def _cells(codes: np.ndarray, texts: Sequence[str]) -> Cells:
    """Codes of texts, -1 for none, as cells: stripped, each once, and "" for none."""
    at: dict[str, int] = {}
    nothing = [""] if (codes < 0).any() else []  # last, where -1 finds it
    renumbered = [at.setdefault(text.strip(), len(at)) for text in [*texts, *nothing]]
    return Cells(np.array(renumbered, np.int32)[codes], list(at))


def _of_objects(values: np.ndarray, refuse: Refuse) -> tuple[Cells, bool]:
    """The cells that these Python values would be in a text file; whether all that are there are text.

    What a text file has no cell for, a list or bytes, is refused.
    """
    at: dict[str, int] = {}
    codes, text = np.empty(len(values), np.int32), True
    for i, value in enumerate(values.tolist()):
        if isinstance(value, str):
            cell = value.strip()
        else:
            cell = "" if str(value) in NOTHING else str(value)
            text = text and cell in MISSING
            if cell and not isinstance(value, CELLS):
                raise refuse(i, f"a number or text, and no {type(value).__name__},", NO_CELL)
        codes[i] = at.setdefault(cell, len(at))
    return Cells(codes, list(at)), text


# ---- what it means ----------------------------------------------------------------------------------


def _feature(data: np.ndarray | Cells, refuse: Refuse, wanted: str) -> ColumnData:
    if wanted == "category" and isinstance(data, np.ndarray) and data.dtype.kind == "M":
        texts, codes = np.unique(np.datetime_as_string(data), return_inverse=True)
        return categories(Cells(codes, ["" if text in NOTHING else text for text in texts.tolist()]))
    text = isinstance(data, Cells)
    if isinstance(data, np.ndarray) and (
        data.dtype.kind == "O" or (wanted == "category" and data.dtype.kind in "biuf")
    ):
        data, text = _of_objects(data.astype(object), refuse)
    if isinstance(data, Cells):
        numbers = not text or wanted == "number" or {kind_of(cell) for cell in data.texts} <= {"date", "missing"}
        return decide(data, refuse, wanted=wanted) if numbers else categories(data)
    return _numbers(data, refuse)


def _numbers(data: np.ndarray, refuse: Refuse) -> np.ndarray:
    if data.dtype.kind in "mM":
        raise refuse(0, "a number or a category, and no date,", NO_DATES)
    if data.dtype.kind not in "biuf" or data.ndim != 1:
        raise refuse(0, f"a number or text, and no {data.dtype},", "leave the column out (--drop)")
    values = np.ascontiguousarray(data, np.float64)
    if np.isinf(values).any():
        raise refuse(int(np.isinf(values).argmax()), "a finite number", "mark a hole as missing")
    return values


def _target(data: np.ndarray | Cells, refuse: Refuse) -> np.ndarray:
    text = isinstance(data, Cells)
    if isinstance(data, np.ndarray) and data.dtype.kind == "O":
        data, text = _of_objects(data, refuse)
    if isinstance(data, np.ndarray):
        if data.dtype.kind == "b":
            return np.array(BOOLEAN_NAMES)[data.astype(np.int64)]
        values = _numbers(data, refuse)
        if np.isnan(values).any():
            raise refuse(int(np.isnan(values).argmax()), "a value in every row", NO_TARGET)
        return data.astype(np.int64) if data.dtype.kind in "iu" and data.dtype != np.uint64 else whole_numbers(values)
    return decide_classes(data, refuse) if text else decide_target(data, refuse)
