"""What a column with a type is: numbers, categories or a target.

A column keeps its type: numbers and booleans are numbers, text is categories even if it looks like numbers, dates are
refused. Text that is numbers with one sign or unit in every row ($5) is numbers. It has nulls of its own, so that the
text "NA" is text (Namibia); only empty text is a hole, beside numbers with a unit also such a word. In a column of
Python objects of several types each value is read as the cell of a text file would be.
"""

from __future__ import annotations

from collections.abc import Collection

import numpy as np

from chainrule.nn.columns.column_data import ColumnData, KnownTexts
from chainrule.nn.columns.notation import MISSING, NOTHING, Notation
from chainrule.nn.columns.units import without_common_unit
from chainrule.tables.frames.foreign_columns import NO_CELL, cells_of_objects, is_null
from chainrule.tables.selection import TIME, Selection
from chainrule.tables.text.column_builder import Cells
from chainrule.tables.text.infer_notation import certain_decimal_sign, match_known_notation
from chainrule.tables.text.infer_target import (
    Target,
    first_rounded,
    infer_classes,
    infer_quantities_of_target,
    infer_target,
    whole_numbers,
)
from chainrule.tables.text.infer_type import InferredType, encode_categories, infer_quantities, infer_type
from chainrule.tables.text.parsing import BOOLEAN_NAMES, cell_kind
from chainrule.tables.text.refusals import NO_DATES, NO_TARGET, NOT_EXACT, Refuse, refuse_other_notation, refuse_text
from chainrule.tables.text_arrays import take_texts


def read_feature(
    data: np.ndarray | Cells,
    refuse: Refuse,
    wanted: str,
    known: KnownTexts | None,
    notation: Notation | None,
    decimals: Collection[str] | None = (),
    *,
    learned: bool = False,
) -> InferredType | None:
    """A column of features; DataError by ``refuse`` for the first value that does not fit.

    None if ``decimals`` are None and would decide what its numbers are.

    Parameters
    ----------
    wanted : "number", "category" or "time" if this is already known, else empty
    known : categories that the column had in training
    notation : how the model knows its numbers to be written
    decimals : decimal signs that other columns are certain to use; None if that is not known yet
    learned : a model knows the column, and the unit of its numbers if they have one
    """
    if wanted == TIME:
        return InferredType(_times(data, refuse))
    if wanted == "category" and isinstance(data, np.ndarray) and data.dtype.kind == "M":
        texts, codes = np.unique(np.datetime_as_string(data), return_inverse=True)
        data = Cells(codes, ["" if text in NOTHING else text for text in texts.tolist()])
        return InferredType(encode_categories(data, known=known, typed=True))
    levels, typed = isinstance(data, Cells), not isinstance(data, Cells) or not data.named
    if isinstance(data, np.ndarray) and (
        data.dtype.kind == "O" or (wanted == "category" and data.dtype.kind in "biuf")
    ):
        data, typed = cells_of_objects(_with_plain_numbers(data.astype(object), notation, refuse), refuse)
    if not isinstance(data, Cells):
        return InferredType(_numbers(data, refuse))
    if typed and wanted != "category" and not (learned or data.levels):
        if decimals is None and _is_ambiguous(data):
            return None
        if (quantities := infer_quantities(data, refuse, decimals or ())) is not None:
            return quantities
    if (typed or levels) and wanted != "number" and (wanted or not _is_dates_or_nothing(data)):
        signs = notation.decimal if notation is not None and typed else ()  # only if all of it is text
        return InferredType(encode_categories(data, signs, known=known, typed=typed))
    # Only text has a notation: text among numbers has been rewritten as Python writes numbers.
    notation = notation if typed else None
    return infer_type(data, refuse, wanted=wanted, known=known, notation=notation, learned=learned)


def _times(data: np.ndarray | Cells, refuse: Refuse) -> ColumnData:
    """Dates as microseconds since 1970, int64, or float64 with holes; numbers unchanged; all else as categories."""
    if isinstance(data, np.ndarray) and data.dtype.kind == "M":
        moments, holes = data.astype("M8[us]").astype(np.int64), np.isnat(data)
        return np.where(holes, np.nan, moments) if holes.any() else moments
    if isinstance(data, np.ndarray) and data.dtype.kind in "iuf":
        return _numbers(data, refuse)
    found = read_feature(data, refuse, "category", None, None)
    assert found is not None
    return found.data


def _is_ambiguous(cells: Cells) -> bool:
    """Whether these are numbers with a unit, and other columns decide which: $1,234 may be 1234 or 1.234."""
    present = [text for text in cells.texts if text not in MISSING]
    bare = without_common_unit(present)
    return bare != present and certain_decimal_sign(bare) is None


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


def read_target(
    data: np.ndarray | Cells, refuse: Refuse, selection: Selection, decimals: Collection[str] | None = ()
) -> Target | None:
    """The target: numbers, whole ones exactly, or names of classes; DataError for holes and what is neither.

    None if ``decimals``, as of :func:`read_feature`, are None and would decide what its numbers are.
    """
    text, classes = isinstance(data, Cells), selection.classes
    if isinstance(data, np.ndarray) and data.dtype.kind == "O":
        data = _with_plain_numbers(data, None if classes else selection.target_notation, refuse)
        data, text = cells_of_objects(data, refuse, labels=True)
    if isinstance(data, np.ndarray):
        if data.dtype.kind == "b":
            return Target(take_texts(BOOLEAN_NAMES, data.astype(np.int8)))
        values = _numbers(data, refuse)
        if np.isnan(values).any():
            raise refuse(int(np.isnan(values).argmax()), "a value in every row", NO_TARGET)
        if (row := first_rounded(data, values)) is not None:
            raise refuse(row, "a whole number that float64 holds", NOT_EXACT)
        return Target(whole_numbers(data if data.dtype.kind in "iu" else values))
    if not text:
        return infer_target(data, refuse, classes=classes, wanted=selection.kind_of_target, learned=selection.learned)
    notation = selection.target_notation
    if not classes and notation is not None and notation.unit:
        return infer_target(data, refuse, notation=notation)
    if not (classes or selection.learned or data.levels):
        if decimals is None and _is_ambiguous(data):
            return None
        if (quantities := infer_quantities_of_target(data, refuse, decimals or ())) is not None:
            return quantities
    if selection.kind_of_target == "number":
        raise refuse_text(refuse)
    return Target(infer_classes(data, refuse, typed=True))
