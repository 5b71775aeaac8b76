"""A column of another library (pandas, Polars, Arrow) as an array or as cells, without loss.

Levels of a categorical that no row has are ignored.
"""

from __future__ import annotations

import datetime
import importlib
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import numpy as np

from chainrule.errors import OptionError
from chainrule.nn.columns.notation import NOTHING
from chainrule.tables.text.column_builder import Cells
from chainrule.tables.text.parsing import label_name
from chainrule.tables.text.refusals import Refuse

CELLS = (int, float, Decimal, np.bool_, np.integer, np.floating, datetime.date)  # besides text; dates are refused later
NO_CELL = "write it as numbers or text, or leave the column out (--drop)"
NO_MIXTURE = "write all labels as text, or none"
PRINTED_NULLS = NOTHING | {"nan", "NaN"}  # of values that are no text
WHOLE = re.compile(r"u?int\d+", re.IGNORECASE)
LEVELS = ("Categorical", "Enum")  # types of Polars
WIDE = "Int128"  # and UInt128, of Polars: NumPy has no such array, and older versions panic


def arrow_module(module: str) -> Any:
    """A module of pyarrow; OptionError if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError:
        raise OptionError(
            "Parquet, Arrow and Feather need pyarrow, which is not installed", hint='pip install "chainrule[tables]"'
        ) from None


def convert_arrow(column: Any, *, exact: bool) -> np.ndarray | Cells:
    """A chunked array of Arrow as numbers, booleans, dates or objects; text and dictionaries as cells.

    Parameters
    ----------
    exact : keep whole and decimal numbers beyond 2**53 as Python objects; else they are rounded to float64
    """
    pa = arrow_module("pyarrow")
    types, kind = pa.types, column.type
    if types.is_run_end_encoded(kind):
        decode = arrow_module("pyarrow.compute").run_end_decode
        column = pa.chunked_array([decode(chunk) for chunk in column.chunks], kind.value_type)
        kind = column.type
    if isinstance(kind, pa.BaseExtensionType) and kind.extension_name not in {"arrow.bool8", "arrow.json"}:
        raise TypeError(f"expected numbers or text, got {kind}")
    if isinstance(kind, pa.BaseExtensionType):
        storage = pa.bool_() if kind.extension_name == "arrow.bool8" else kind.storage_type
        column = pa.chunked_array([chunk.storage for chunk in column.chunks], kind.storage_type).cast(storage)
        kind = storage
    if types.is_dictionary(kind) or is_arrow_text(kind):
        cells = _of_dictionary(pa.chunked_array([dictionary_encoded(chunk) for chunk in column.chunks]))
        return replace(cells, levels=types.is_dictionary(kind))
    if types.is_decimal(kind) or (types.is_integer(kind) and column.null_count):
        if exact:
            return _objects(column.to_pylist())
        column = column.cast(pa.float64(), safe=False)
    if types.is_null(kind):
        return np.full(len(column), np.nan)
    return np.asarray(column.to_numpy())


def is_arrow_text(kind: Any) -> bool:
    """Whether a type of Arrow's is text."""
    types = arrow_module("pyarrow").types
    return any(test(kind) for test in (types.is_string, types.is_large_string, types.is_string_view))


def dictionary_encoded(chunk: Any) -> Any:
    """An array of text as a dictionary of its different texts and codes; any other array unchanged."""
    if not is_arrow_text(chunk.type):
        return chunk
    pa = arrow_module("pyarrow")
    return (chunk.cast(pa.large_string()) if pa.types.is_string_view(chunk.type) else chunk).dictionary_encode()


def _of_dictionary(column: Any) -> Cells:
    pa, whole = arrow_module("pyarrow"), column.unify_dictionaries()
    indices = [chunk.indices.cast(pa.int32()).fill_null(-1).to_numpy(zero_copy_only=False) for chunk in whole.chunks]
    levels = whole.chunk(0).dictionary
    codes = np.concatenate(indices)
    return _of_levels(codes, lambda used: levels.take(pa.array(used)).to_pylist(), text=is_arrow_text(levels.type))


def convert_series(series: Any, *, exact: bool) -> np.ndarray | Cells:
    """A column of a DataFrame, as :func:`convert_arrow`."""
    dtype = str(series.dtype)
    if dtype == "category":  # of pandas: categories, even if they are numbers
        cells = _of_levels(series.cat.codes.to_numpy(), lambda used: series.cat.categories.take(used).tolist())
        return replace(cells, levels=True)
    if dtype.startswith(LEVELS):
        names = series.to_list()
        at = {name: i for i, name in enumerate(dict.fromkeys(name for name in names if name is not None))}
        codes = np.fromiter((at.get(name, -1) for name in names), np.int32, len(names))
        return replace(_cells(codes, list(at)), levels=True)
    values = _objects(_python_values(series)) if WIDE in dtype else np.asarray(series.to_numpy())
    if exact and values.dtype.kind == "f" and WHOLE.search(dtype):  # floats only because of nulls
        values = _objects(_python_values(series))
    return _objects(values.tolist()) if values.dtype.kind in "UT" else values


def _python_values(series: Any) -> list[Any]:
    values: list[Any] = series.to_list() if hasattr(series, "to_list") else series.tolist()
    return values


def _objects(values: Sequence[Any]) -> np.ndarray:
    return np.fromiter(values, object, len(values))


def _of_levels(codes: np.ndarray, levels_at: Callable[[np.ndarray], list[Any]], *, text: bool = False) -> Cells:
    """The cells of a categorical; ``codes`` are -1 for nulls.

    ``levels_at`` gets the positions of the levels that some row has. ``text``: all of them are text, or None.
    """
    is_used = np.zeros(int(codes.max(initial=-1)) + 2, bool)  # -1 indexes the last
    is_used[codes] = True
    used = np.flatnonzero(is_used[:-1])
    position = np.full(len(is_used), -1, np.int32)
    position[used] = np.arange(len(used))
    values = levels_at(used)
    if text:
        return _cells(position[codes], values)
    return _cells(position[codes], _names_of(values), named=not all(isinstance(value, str) for value in values))


def _names_of(levels: Sequence[Any]) -> list[str]:
    """The names of levels of a categorical, "" for null; TypeError for two levels of one name, and for containers."""
    wrong = next((level for level in levels if isinstance(level, bytes | list | dict | tuple | set)), None)
    if wrong is not None:
        raise TypeError(f"expected categories of numbers or text, got {type(wrong).__name__}")
    names = ["" if is_null(level) else label_name(level) for level in levels]
    kind: dict[str, type] = {}
    for name, level in zip(names, levels, strict=True):
        if kind.setdefault(name.strip(), type(level)) is not type(level) and name:
            types = f"{kind[name.strip()].__name__} and as {type(level).__name__}"
            raise TypeError(f"expected categories with different names, got {name:.60} as {types}")
    return names


def is_null(value: Any) -> bool:
    """Whether a value is a null of some library: None, nan, NA, NaT."""
    return not isinstance(value, str) and str(value) in PRINTED_NULLS


def _cells(codes: np.ndarray, texts: Sequence[str | None], *, named: bool = False) -> Cells:
    """Codes of texts (-1 for null) as cells: stripped, each text once, and "" for null."""
    at: dict[str, int] = {}
    null = [""] if (codes < 0).any() else []  # last: -1 indexes it
    renumbered = [at.setdefault((text or "").strip(), len(at)) for text in [*texts, *null]]
    return Cells(np.array(renumbered, np.int32)[codes], list(at), named)


def cells_of_objects(values: np.ndarray, refuse: Refuse, *, labels: bool = False) -> tuple[Cells, bool]:
    """The cells that these Python values would be in a text file; and whether all values besides nulls are text.

    A value that no cell can hold, a list or bytes, is refused; among ``labels`` also a text and another value of the
    same name.
    """
    at: dict[str, int] = {}
    is_text: list[bool] = []
    codes = np.empty(len(values), np.int32)
    for i, value in enumerate(values.tolist()):
        if isinstance(value, str):
            cell = value.strip()
        elif is_null(value):
            cell = ""
        elif isinstance(value, CELLS):
            cell = label_name(value)
        else:
            raise refuse(i, f"a number or text, and no {type(value).__name__}", NO_CELL)
        codes[i] = code = at.setdefault(cell, len(at))
        if code == len(is_text):
            is_text.append(isinstance(value, str) or not cell)
        elif labels and cell and is_text[code] != isinstance(value, str):
            raise refuse(i, "either text or a number of this name, not both", NO_MIXTURE)
    return Cells(codes, list(at)), all(is_text)
