"""What a column with a type is: numbers, categories or a target.

A column keeps its type: numbers and booleans are numbers, text is categories even if it looks like numbers, dates are
refused. It has nulls of its own, so that the text "NA" is text (Namibia); only empty text is a hole. In a column of
Python objects of several types each value is read as the cell of a text file would be.
"""

from __future__ import annotations

import numpy as np

from chainrule.nn.columns.column_data import ColumnData, KnownTexts
from chainrule.nn.columns.notation import MISSING, NOTHING, Notation
from chainrule.tables.frames.foreign_columns import NO_CELL, cells_of_objects, is_null
from chainrule.tables.selection import TIME, Selection
from chainrule.tables.text.column_builder import Cells
from chainrule.tables.text.infer_notation import match_known_notation
from chainrule.tables.text.infer_target import first_rounded, infer_classes, infer_target, whole_numbers
from chainrule.tables.text.infer_type import encode_categories, infer_type
from chainrule.tables.text.parsing import BOOLEAN_NAMES, cell_kind
from chainrule.tables.text.refusals import NO_DATES, NO_TARGET, NOT_EXACT, Refuse, refuse_other_notation
from chainrule.tables.text_arrays import take_texts


def read_feature(
    data: np.ndarray | Cells, refuse: Refuse, wanted: str, known: KnownTexts | None, notation: Notation | None
) -> ColumnData:
    """A column of features; DataError by ``refuse`` for the first value that does not fit.

    Parameters
    ----------
    wanted : "number", "category" or "time" if this is already known, else empty
    known : categories that the column had in training
    notation : how the model knows its numbers to be written
    """
    if wanted == TIME:
        return _times(data, refuse)
    if wanted == "category" and isinstance(data, np.ndarray) and data.dtype.kind == "M":
        texts, codes = np.unique(np.datetime_as_string(data), return_inverse=True)
        data = Cells(codes, ["" if text in NOTHING else text for text in texts.tolist()])
        return encode_categories(data, known=known, typed=True)
    levels, typed = isinstance(data, Cells), not isinstance(data, Cells) or not data.named
    if isinstance(data, np.ndarray) and (
        data.dtype.kind == "O" or (wanted == "category" and data.dtype.kind in "biuf")
    ):
        data, typed = cells_of_objects(_with_plain_numbers(data.astype(object), notation, refuse), refuse)
    if not isinstance(data, Cells):
        return _numbers(data, refuse)
    if (typed or levels) and wanted != "number" and (wanted or not _is_dates_or_nothing(data)):
        signs = notation.decimal if notation is not None and typed else ()  # only if all of it is text
        return encode_categories(data, signs, known=known, typed=typed)
    # Only text has a notation: text among numbers has been rewritten as Python writes numbers.
    return infer_type(data, refuse, wanted=wanted, known=known, notation=notation if typed else None).data


def _times(data: np.ndarray | Cells, refuse: Refuse) -> ColumnData:
    """Dates as microseconds since 1970, int64, or float64 with holes; numbers unchanged; all else as categories."""
    if isinstance(data, np.ndarray) and data.dtype.kind == "M":
        moments, holes = data.astype("M8[us]").astype(np.int64), np.isnat(data)
        return np.where(holes, np.nan, moments) if holes.any() else moments
    if isinstance(data, np.ndarray) and data.dtype.kind in "iuf":
        return _numbers(data, refuse)
    return read_feature(data, refuse, "category", None, None)


def _with_plain_numbers(values: np.ndarray, notation: Notation | None, refuse: Refuse) -> np.ndarray:
    """Objects of which some are numbers, with numbers that are text rewritten from ``notation`` as Python writes them.

    The whole column then has one decimal sign. A column of text alone, or without a notation, is returned unchanged.
    """
    objects = values.tolist()
    if notation is None or all(isinstance(value, str) or is_null(value) for value in objects):
        return values
    values = values.copy()
    for i, cell in ((i, value.strip()) for i, value in enumerate(objects) if isinstance(value, str)):
        found = None if cell in MISSING else match_known_notation(notation, cell)
        if found is None and cell_kind(cell) in {"number", "miswritten"}:
            raise refuse_other_notation(refuse, i, notation)
        values[i] = cell if found is None else found.plain(cell)
    return values


def _is_dates_or_nothing(cells: Cells) -> bool:
    kinds = {cell_kind(cell) for cell in cells.texts if cell}
    return kinds <= {"date", "missing"} and (not kinds or "date" in kinds)


def _numbers(data: np.ndarray, refuse: Refuse) -> np.ndarray:
    if data.dtype.kind in "mM":
        raise refuse(0, "a number or a category, and no date", NO_DATES)
    if data.dtype.kind not in "biuf" or data.ndim != 1:
        given = data.dtype if data.ndim == 1 else "array of them"
        raise refuse(0, f"a number or text, and no {given}", NO_CELL)
    values = np.ascontiguousarray(data, np.float64)
    if np.isinf(values).any():
        raise refuse(int(np.isinf(values).argmax()), "a finite number", "mark a hole as missing")
    return values


def read_target(data: np.ndarray | Cells, refuse: Refuse, selection: Selection) -> np.ndarray:
    """The target: numbers, whole ones exactly, or names of classes; DataError for holes and what is neither."""
    text, classes = isinstance(data, Cells), selection.classes
    if isinstance(data, np.ndarray) and data.dtype.kind == "O":
        data = _with_plain_numbers(data, None if classes else selection.target_notation, refuse)
        data, text = cells_of_objects(data, refuse, labels=True)
    if isinstance(data, np.ndarray):
        if data.dtype.kind == "b":
            return take_texts(BOOLEAN_NAMES, data.astype(np.int8))
        values = _numbers(data, refuse)
        if np.isnan(values).any():
            raise refuse(int(np.isnan(values).argmax()), "a value in every row", NO_TARGET)
        if (row := first_rounded(data, values)) is not None:
            raise refuse(row, "a whole number that float64 holds", NOT_EXACT)
        return whole_numbers(data if data.dtype.kind in "iu" else values)
    return infer_classes(data, refuse, typed=True) if text else infer_target(data, refuse, classes=classes).values
