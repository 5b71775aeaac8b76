"""A few rows of a pandas DataFrame whose columns are known.

A column of one cell takes pandas as long as one of thousands, and a row of hundreds of cells hardly longer than a cell.
So a few rows are read row by row, if all cells are what is expected: numbers in columns of numbers, text in columns of
categories. Whatever else there is, :mod:`chainrule.tables.frames.frame_reader` reads or refuses.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from chainrule.nn.columns.column_data import KnownTexts
from chainrule.nn.columns.notation import Notation
from chainrule.tables.frames.foreign_columns import is_null
from chainrule.tables.selection import Selection
from chainrule.tables.text.infer_type import category_of

MOST_ROWS = 8
Cells: TypeAlias = "list[float] | list[str | None]"
TEXT = frozenset({"object", "str", "string", "category"})  # names of dtypes whose cells may be text


def has_few_rows(data: Any) -> bool:
    """Whether this is a DataFrame of pandas of so few rows."""
    pandas = sys.modules.get("pandas")  # of whoever has a DataFrame it is loaded
    return pandas is not None and type(data) is pandas.DataFrame and 0 < len(data) <= MOST_ROWS


def read_few_rows(frame: Any, known: Selection) -> dict[str, Cells] | None:
    """{name: cells}: numbers, nan for a hole, or the names of categories, None for a hole; None if others are needed.

    They are what :func:`~chainrule.tables.frames.frame_reader.read_frame` makes of the columns.

    Parameters
    ----------
    frame : of which :func:`has_few_rows` is true
    known : ``feature_names`` are all columns of the frame in their order, with their ``kinds`` and ``texts``
    """
    names, dtypes = known.feature_names, frame.dtypes.tolist()
    # All of them first: a row has the dtype that its columns have in common, in which cells of one column may change
    # because of another.
    if not all(_is_known(dtype, known.kinds[name]) for name, dtype in zip(names, dtypes, strict=True)):
        return None
    rows = [frame.iloc[i].tolist() for i in range(len(frame))]
    found: dict[str, Cells] = {}
    for name, *cells in zip(names, *rows, strict=True):
        of_column: Cells | None
        if known.kinds[name] == "number":
            of_column = _numbers(cells)
        else:
            of_column = _categories(cells, known.texts[name], known.notations.get(name))
        if of_column is None:
            return None
        found[name] = of_column
    return found


def _is_known(dtype: Any, kind: str) -> bool:
    """Whether a column of this dtype is one of numbers without nulls, or may be one of text, as is asked for."""
    return isinstance(dtype, np.dtype) and dtype.kind in "biuf" if kind == "number" else dtype.name in TEXT


def _numbers(cells: Sequence[Any]) -> list[float] | None:
    numbers = list(map(float, cells))
    return None if any(map(math.isinf, numbers)) else numbers


def _categories(cells: Sequence[Any], known: KnownTexts, notation: Notation | None) -> list[str | None] | None:
    """Text in a column that has nulls of its own."""
    sign, typed, names = "." if notation is None else notation.decimal, known.marks is not None, []
    for cell in cells:
        if isinstance(cell, str):
            names.append(category_of(cell.strip(), known.kept, sign, typed=typed))
        elif is_null(cell):
            names.append(None)
        else:
            return None
    return names
