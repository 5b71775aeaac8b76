"""What a column is, from its different cells: numbers, yes or no, or categories; or a refusal that names a cell."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from chainrule.errors import DataError
from chainrule.nn.table_columns import MISSING, Categorical, ColumnData
from chainrule.tables.cells import (
    BOOLEAN_NAMES,
    BOOLEANS,
    PLAIN,
    Notation,
    category_name,
    decimal_sign,
    first_of,
    kind_of,
    looks_grouped,
    notations_of,
)
from chainrule.tables.column_builder import Cells

Refuse = Callable[[int, str, str], DataError]  # row from 0, what was expected, a hint

LONGEST_CLASS_NAME = 200  # characters; NumPy gives every row of a text array the room of the longest
PLAINLY = "write it like 1234.5: a point before the decimals, nothing between the thousands"
OR_ELSE = "mark a hole as NA, or leave the column out (--drop), or take it as categories (--categorical)"
NO_DATES = "leave the column out (--drop), or write the date as numbers: days, or year, month and weekday"
NO_TARGET = "fill the cell or leave the row out: a row without its target teaches nothing"
NO_NUMBER = ("text", "date", "boolean")


def decide(cells: Cells, refuse: Refuse, *, wanted: str = "", decimals: Collection[str] = ()) -> ColumnData:
    """A column of features.

    Numbers where every cell that is not missing is one, in one notation; True and False, in any case, are 1 and 0;
    text is categories. A column in which most rows are numbers and some are not is refused, and so are dates.

    Parameters
    ----------
    wanted : "number" or "category" where this is already known
    decimals : decimal signs that other columns are sure to use: they decide what 1,234 is
    """
    texts, codes = cells.texts, cells.codes
    if wanted == "category":
        return categories(cells, decimals)
    kinds = [kind_of(text) for text in texts]
    present = [text for text in texts if text not in MISSING]
    if all(kind in {"missing", "boolean"} for kind in kinds):
        return _spread([BOOLEANS.get(text.lower(), np.nan) for text in texts], codes)
    notation = choose_notation(present, decimals)
    if notation is not None:
        return _spread([notation.number(text) for text in texts], codes)

    def refuse_first(expected: str, hint: str, *which: str) -> DataError:
        positions = [first_of(kinds, kind) for kind in which]
        return refuse(_row(codes, min(at for at in positions if at is not None)), expected, hint)

    if notations_of(present):
        raise refuse_first(
            "a number", f"1,234 may be 1234 or 1.234: {PLAINLY}", "miswritten" if "miswritten" in kinds else "number"
        )
    rows = np.bincount(codes, minlength=len(texts))
    n_text = sum(int(n) for n, kind in zip(rows, kinds, strict=True) if kind in NO_NUMBER)
    n_numbers = sum(int(n) for n, kind in zip(rows, kinds, strict=True) if kind in {"number", "miswritten", "infinite"})
    if wanted == "number" and n_text:
        raise refuse_first("a number as in training", "mark a hole as NA", *NO_NUMBER)
    if n_numbers >= n_text and n_text:
        raise refuse_first("a number as in most rows", OR_ELSE, *NO_NUMBER)
    if n_numbers >= n_text and "infinite" in kinds:
        raise refuse_first("a finite number", OR_ELSE, "infinite")
    if n_numbers >= n_text:
        raise refuse_first("a number", PLAINLY, "miswritten" if "miswritten" in kinds else "number")
    if set(kinds) <= {"date", "missing"}:
        raise refuse_first("a number or a category", NO_DATES, "date")
    return categories(cells, decimals)


def decide_target(cells: Cells, refuse: Refuse, *, decimals: Collection[str] = ()) -> np.ndarray:
    """A target: (n,) str where no cell is a number; int64 where all are whole numbers; else float64; no holes."""
    texts, codes = cells.texts, cells.codes
    kinds = [kind_of(text) for text in texts]
    missing = first_of(kinds, "missing")
    if missing is not None:
        raise refuse(_row(codes, missing), "a value in every row", NO_TARGET)
    if set(kinds) == {"boolean"}:
        return _spread([BOOLEAN_NAMES[int(BOOLEANS[text.lower()])] for text in texts], codes)
    if set(kinds) <= {*NO_NUMBER}:
        return decide_classes(cells, refuse)
    notation = choose_notation(texts, decimals)
    if notation is not None:
        values = np.array([notation.number(text) for text in texts])
        return _spread(_whole(values, texts if notation == PLAIN else []), codes)
    if not set(kinds) & {*NO_NUMBER}:
        infinite = first_of(kinds, "infinite")
        if infinite is not None:
            raise refuse(_row(codes, infinite), "a finite number", NO_TARGET)
        raise refuse(_row(codes, first_of(kinds, "miswritten") or 0), "a number", PLAINLY)
    rows = np.bincount(codes, minlength=len(texts))
    numeric = [kind not in NO_NUMBER for kind in kinds]
    most = 2 * sum(int(n) for n, number in zip(rows, numeric, strict=True) if number) >= len(codes)
    expected = f"{'a number' if most else 'text'} as in most rows"
    hint = "a target holds either numbers or names of classes; let such a name begin with a letter"
    raise refuse(_row(codes, numeric.index(not most)), expected, hint)


def whole_numbers(values: np.ndarray) -> np.ndarray:
    """int64 where all are whole numbers below 2**53, which float64 holds exactly; else as they are."""
    return values.astype(np.int64) if (values == np.floor(values)).all() and (abs(values) < 2**53).all() else values


def choose_notation(cells: Sequence[str], decimals: Collection[str]) -> Notation | None:
    """How the numbers are written, where every cell is one and there is no doubt; None else."""
    found = notations_of(cells) if cells else [PLAIN]
    if found == [PLAIN] and set(decimals) == {","} and looks_grouped(cells):
        found.append(Notation(",", "."))
    if len(found) > 1 and len(set(decimals)) == 1:
        found = [notation for notation in found if notation.decimal in decimals]
    return found[0] if len(found) == 1 else None


def sure_sign(texts: Sequence[str]) -> str:
    """The decimal sign that a column of these cells is sure to use; empty where that is open, or it holds text."""
    present = [text for text in texts if text not in MISSING]
    notation = choose_notation(present, ())
    if notation is None or (notation == PLAIN and looks_grouped(present)):
        return ""
    return decimal_sign(notation, present)


def decide_classes(cells: Cells, refuse: Refuse) -> np.ndarray:
    """A target that is text and stays text, (n,) str: no holes, no dates, no very long names."""
    texts, codes = cells.texts, cells.codes
    missing = next((i for i, text in enumerate(texts) if text in MISSING), None)
    if missing is not None:
        raise refuse(_row(codes, missing), "a value in every row", NO_TARGET)
    if all(kind_of(text) == "date" for text in texts):
        raise refuse(0, "a number or a class, and no date,", NO_DATES)
    longest = max(range(len(texts)), key=lambda i: len(texts[i]))
    if len(texts[longest]) > LONGEST_CLASS_NAME:
        raise refuse(_row(codes, longest), f"a class name of at most {LONGEST_CLASS_NAME} characters", "")
    return _spread(texts, codes)


def categories(cells: Cells, decimals: Collection[str] = ()) -> Categorical:
    """The cells as categories."""
    names: dict[str, int] = {}
    sign = "," if set(decimals) == {","} else "."
    code = [-1 if text in MISSING else names.setdefault(category_name(text, sign), len(names)) for text in cells.texts]
    return Categorical(np.array(code, np.int32)[cells.codes], tuple(names))


def _whole(values: np.ndarray, texts: Sequence[str]) -> np.ndarray:
    """As :func:`whole_numbers`; beyond 2**53, where float64 merges neighbours that may be classes, from the text."""
    found = whole_numbers(values)
    if found.dtype == np.int64 or (values != np.floor(values)).any():
        return found
    try:
        return np.array([int(text) for text in texts], np.int64) if texts else found
    except (ValueError, OverflowError):
        return found


def _spread(values: Sequence[float] | Sequence[str] | np.ndarray, codes: np.ndarray) -> np.ndarray:
    spread: np.ndarray = np.asarray(values).take(codes)
    return spread


def _row(codes: np.ndarray, code: int) -> int:
    """The first row that holds this text."""
    return int((codes == code).argmax())
