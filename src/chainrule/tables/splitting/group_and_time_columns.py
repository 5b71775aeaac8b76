"""Columns of groups and of times: they say how to split rows, and are no features."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from chainrule.errors import DataError
from chainrule.nn.columns.column_data import Categorical, ColumnData
from chainrule.plain_text import show
from chainrule.tables.readers import read_table
from chainrule.tables.selection import BUILT_IN, TIME

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def read_groups(source: Any, name: str) -> np.ndarray:
    """(n,) int32: the group of each row, by its cell in this column; DataError if a cell is empty."""
    column = _read(source, name, "category")
    if not isinstance(column, Categorical):
        raise DataError(f"{_source(source)}: column {show(name)}: expected text or numbers, got what is neither")
    return column.codes


def read_times(source: Any, name: str) -> np.ndarray:
    """(n,) float64 numbers, or int64 microseconds since 1970, in the order of the times of this column.

    The cells are all numbers, or all dates in ISO 8601 (2026-11-23, 2026-11-23T10:30, with or without a time zone);
    nothing is guessed. DataError naming the first row that is neither.
    """
    column = _read(source, name, TIME)
    if isinstance(column, np.ndarray):
        return column
    texts = column.names
    moments, zones = [], set()
    for code, text in enumerate(texts):
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            row = int((column.codes == code).argmax())
            raise DataError(
                f"{_source(source)}: row {row} (from 0) of column {show(name)}: "
                f"expected a number or a date such as 2026-11-23, got {show(text)}",
                hint="write all of them as numbers, or all as year-month-day",
            ) from None
        zones.add(moment.tzinfo is not None)
        moments.append(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))
    if len(zones) > 1:
        raise DataError(
            f"{_source(source)}: column {show(name)}: expected times with or without a time zone, got both",
            hint="write all of them with a time zone, or none",
        )
    microseconds = [(moment - EPOCH) // timedelta(microseconds=1) for moment in moments]
    return np.array(microseconds, np.int64).take(column.codes)


def _read(source: Any, name: str, kind: str) -> ColumnData:
    """The column, read as this ``kind``; DataError if it has a hole."""
    if isinstance(source, str | os.PathLike) and (
        str(source) in BUILT_IN or str(source).lower().endswith((".npy", ".npz"))
    ):
        raise DataError(f"{source}: expected a column called {show(name)}, got an array without names")
    column = read_table(source, feature_names=[name], need_target=False, kinds={name: kind}).columns[name]
    holes = column.codes < 0 if isinstance(column, Categorical) else np.isnan(column)
    if holes.any():
        row = int(holes.argmax())
        raise DataError(
            f"{_source(source)}: row {row} (from 0) of column {show(name)}: expected a value, got an empty cell"
        )
    return column


def _source(source: Any) -> str:
    return str(source) if isinstance(source, str | os.PathLike) else f"the {type(source).__name__}"
