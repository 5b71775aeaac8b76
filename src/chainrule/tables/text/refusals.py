"""The errors for a column that cannot be read: each names the first cell that is wrong, and says what to do."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from chainrule.errors import DataError
from chainrule.nn.columns.notation import Notation
from chainrule.nn.columns.units import split_unit
from chainrule.tables.text.column_builder import Cells
from chainrule.tables.text.infer_notation import first_mismatch, notations_of
from chainrule.tables.text.parsing import first_position

Refuse = Callable[[int, str, str], DataError]  # row from 0, what was expected, a hint

NOT_NUMERIC = ("text", "date", "boolean")  # kinds of cells, see cell_kind
# Hints.
WRITE_PLAIN = "write it like 1234.5: a point before the decimals, nothing between the thousands"
WRITE_ALIKE = "write all numbers of a column in one way: all with a decimal comma, or all with a decimal point"
MARK_DROP_OR_CATEGORICAL = (
    "mark a hole as NA, or leave the column out (--drop), or take it as categories (--categorical)"
)
MARK_HOLE = "mark a hole as NA"
ONE_UNIT = f"write all numbers of a column with one sign or unit, or all without; {MARK_DROP_OR_CATEGORICAL}"
NO_DATES = "leave the column out (--drop), or write the date as numbers: days, or year, month and weekday"
NO_TARGET = "fill the cell or leave the row out: a row without its target teaches nothing"
NUMBERS_WANTED = (
    "write numbers, all with one known sign or unit or all without, or name another --target; "
    "names of classes are for --task classify"
)
NOT_EXACT = "float64 cannot tell it from another one: write labels as text that begins with a letter, divide quantities"
NUMBERS_OR_NAMES = "a target holds either numbers or names of classes; let such a name begin with a letter"
AS_TRAINED = {
    ",": "the model learned this column from numbers with a decimal comma: write them so, or train anew",
    ".": "the model learned this column from numbers with a decimal point: write them so, or train anew",
}


def row_of_code(cells: Cells, code: int) -> int:
    """The first row that holds the text of this code."""
    return int((cells.codes == code).argmax())


def rows_of_codes(cells: Cells) -> np.ndarray:
    """How many rows hold each of the texts."""
    counts: np.ndarray = np.bincount(cells.codes, minlength=len(cells.texts))
    return counts


def refuse_other_notation(refuse: Refuse, row: int, known: Notation) -> DataError:
    """The error for a number that is written otherwise than the model knows it."""
    return refuse(row, f"a number written as in training, such as {known.example}", AS_TRAINED[known.decimal])


def refuse_other_unit(refuse: Refuse, row: int, unit: str, known: Notation | None) -> DataError:
    """The error for a number with a unit that the model does not know, or in another notation than the known one."""
    if known is not None and unit == known.unit:
        return refuse_other_notation(refuse, row, known)
    if known is not None and known.unit:
        expected = f"a number with {known.unit!r}, or with nothing beside it, as in training"
        return refuse(row, expected, f"convert it, and write it with {known.unit!r}")
    return refuse(row, "a number with nothing beside it, as in training", "write it in the unit of the training rows")


def refuse_ambiguous(cells: Cells, code: int, refuse: Refuse) -> DataError:
    """The error for 1,234 in a file that does not say whether its comma is a decimal one."""
    return refuse(row_of_code(cells, code), "a number", f"1,234 may be 1234 or 1.234: {WRITE_PLAIN}")


def refuse_mixed_notations(cells: Cells, refuse: Refuse) -> DataError:
    """The error for numbers in several notations: it names a cell that is not written as most rows are."""
    notation, code = first_mismatch(cells.texts, rows_of_codes(cells).tolist())
    row = row_of_code(cells, code)
    if notation.decimal == ".":
        return refuse(row, "a number", WRITE_PLAIN)
    return refuse(row, f"a number written as in most rows, such as {notation.example}", WRITE_ALIKE)


def refuse_cell(known: Notation, code: int, cells: Cells, kinds: Sequence[str], refuse: Refuse) -> DataError:
    """The error for a cell that is no number in the ``known`` notation of its column."""
    row = row_of_code(cells, code)
    if unit := split_unit(cells.texts[code])[0]:
        return refuse_other_unit(refuse, row, unit, known)
    if kinds[code] in NOT_NUMERIC:
        return refuse(row, "a number as in training", MARK_HOLE)
    if kinds[code] == "infinite":
        return refuse(row, "a finite number", MARK_DROP_OR_CATEGORICAL)
    return refuse_other_notation(refuse, row, known)


def feature_error(
    cells: Cells, kinds: Sequence[str], present: Sequence[str], wanted: str, refuse: Refuse
) -> DataError | None:
    """The error for a feature that is no column of numbers; None if it is one of categories.

    Parameters
    ----------
    kinds : of the different texts, see :func:`~chainrule.tables.text.parsing.cell_kind`
    present : the texts that are not missing
    wanted : "number" if the column had numbers in training, else empty
    """

    def refuse_first(expected: str, hint: str, *which: str) -> DataError:
        positions = [first_position(kinds, kind) for kind in which]
        return refuse(row_of_code(cells, min(at for at in positions if at is not None)), expected, hint)

    if notations_of(present):
        doubtful = "miswritten" if "miswritten" in kinds else "number"
        return refuse_ambiguous(cells, first_position(kinds, doubtful) or 0, refuse)
    rows = rows_of_codes(cells)
    n_text = sum(int(n) for n, kind in zip(rows, kinds, strict=True) if kind in NOT_NUMERIC)
    n_numbers = sum(int(n) for n, kind in zip(rows, kinds, strict=True) if kind in {"number", "miswritten", "infinite"})
    if wanted == "number" and n_text:
        for code, text in enumerate(cells.texts):
            if unit := split_unit(text)[0]:
                return refuse_other_unit(refuse, row_of_code(cells, code), unit, None)
        return refuse_first("a number as in training", MARK_HOLE, *NOT_NUMERIC)
    if n_numbers >= n_text and n_text:
        return refuse_first("a number as in most rows", MARK_DROP_OR_CATEGORICAL, *NOT_NUMERIC)
    if n_numbers >= n_text and "infinite" in kinds:
        return refuse_first("a finite number", MARK_DROP_OR_CATEGORICAL, "infinite")
    if n_numbers >= n_text:
        return refuse_mixed_notations(cells, refuse)
    if set(kinds) <= {"date", "missing"}:
        return refuse_first("a number or a category", NO_DATES, "date")
    return None


def refuse_text(refuse: Refuse) -> DataError:
    """The error for a target of text of which numbers are wanted."""
    return refuse(0, "a number, since the task is a regression", NUMBERS_WANTED)


def target_error(cells: Cells, kinds: Sequence[str], refuse: Refuse) -> DataError:
    """The error for a target that is neither all numbers nor all names of classes."""
    if not set(kinds) & {*NOT_NUMERIC}:
        infinite = first_position(kinds, "infinite")
        if infinite is not None:
            return refuse(row_of_code(cells, infinite), "a finite number", NO_TARGET)
        if not notations_of(cells.texts):
            return refuse_mixed_notations(cells, refuse)
        return refuse_ambiguous(cells, first_position(kinds, "miswritten") or 0, refuse)
    numeric = [kind not in NOT_NUMERIC for kind in kinds]
    n_numbers = sum(int(n) for n, number in zip(rows_of_codes(cells), numeric, strict=True) if number)
    most = 2 * n_numbers >= len(cells.codes)
    expected = f"{'a number' if most else 'text'} as in most rows"
    return refuse(row_of_code(cells, numeric.index(not most)), expected, NUMBERS_OR_NAMES)
