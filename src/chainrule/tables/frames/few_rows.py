"""A few rows of a pandas DataFrame whose columns are known.

A column of one cell takes pandas as long as one of thousands, and a row of hundreds of cells hardly longer than a cell.
So a few rows are read row by row, if all cells are what is expected: numbers in columns of numbers, text in columns of
categories. Whatever else there is, :mod:`chainrule.tables.frames.frame_reader` reads or refuses.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.nn.columns.column_data import Categorical, ColumnData, KnownTexts
from chainrule.nn.columns.notation import Notation
from chainrule.tables.frames.foreign_columns import is_null
from chainrule.tables.selection import Selection
from chainrule.tables.text.column_builder import Cells
from chainrule.tables.text.infer_type import encode_categories

MOST_ROWS = 8
TEXT = frozenset({"object", "str", "string", "category"})  # names of dtypes whose cells may be text


def has_few_rows(data: Any) -> bool:
    """Whether this is a DataFrame of pandas of so few rows."""
    pandas = sys.modules.get("pandas")  # of whoever has a DataFrame it is loaded
    return pandas is not None and type(data) is pandas.DataFrame and 0 < len(data) <= MOST_ROWS


def read_few_rows(frame: Any, known: Selection) -> dict[str, ColumnData] | None:
    """The columns as :func:`~chainrule.tables.frames.frame_reader.read_frame` has them; None for others than expected.

    Parameters
    ----------
    frame : of which :func:`has_few_rows` is true
    known : ``feature_names`` are all columns of the frame in their order, with their ``kinds`` and ``texts``
    """
    rows = [frame.iloc[i].tolist() for i in range(len(frame))]
    found: dict[str, ColumnData] = {}
    for name, dtype, *cells in zip(known.feature_names, frame.dtypes.tolist(), *rows, strict=True):
        data: ColumnData | None
        if known.kinds[name] == "number":
            data = _numbers(dtype, cells)
        else:
            data = _categories(dtype, cells, known.texts[name], known.notations.get(name))
        if data is None:
            return None
        found[name] = data
    return found


def _numbers(dtype: Any, cells: Sequence[Any]) -> np.ndarray | None:
    if not isinstance(dtype, np.dtype) or dtype.kind not in "biuf":
        return None
    numbers = list(map(float, cells))
    return None if any(map(math.isinf, numbers)) else np.array(numbers)


def _categories(
    dtype: Any, cells: Sequence[Any], known: KnownTexts, notation: Notation | None
) -> Categorical | None:
    if dtype.name not in TEXT:
        return None
    at: dict[str, int] = {}
    codes = []
    for cell in cells:
        if isinstance(cell, str):
            codes.append(at.setdefault(cell.strip(), len(at)))
        elif is_null(cell):
            codes.append(at.setdefault("", len(at)))
        else:
            return None
    signs = () if notation is None else notation.decimal
    return encode_categories(Cells(np.array(codes, np.int32), list(at)), signs, known=known, typed=True)
