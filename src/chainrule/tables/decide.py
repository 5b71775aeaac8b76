"""What a column is, from its different cells: numbers, yes or no, or categories; or a refusal that names a cell."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from chainrule.errors import DataError
from chainrule.nn.table_columns import MISSING, Categorical, ColumnData, KnownTexts
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
LARGE = "float64 cannot tell it from another one: write labels as text that begins with a letter, divide quantities"
NO_NUMBER = ("text", "date", "boolean")


def decide(
    cells: Cells, refuse: Refuse, *, wanted: str = "", decimals: Collection[str] = (), known: KnownTexts | None = None
) -> ColumnData:
    """A column of features.

    Numbers where every cell that is not missing is one, in one notation; True and False, in any case, are 1 and 0;
    text is categories. A column in which most rows are numbers and some are not is refused, and so are dates.

    Parameters
    ----------
    wanted : "number" or "category" where this is already known
    decimals : decimal signs that other columns are sure to use: they decide what 1,234 is
    known : categories that the column had before
    """
    texts, codes = cells.texts, cells.codes
    if wanted == "category":
        return categories(cells, decimals, known=known)
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
    return categories(cells, decimals, known=known)


def decide_target(
    cells: Cells, refuse: Refuse, *, decimals: Collection[str] = (), classes: Collection[str] = ()
) -> np.ndarray:
    """A target: (n,) str where no cell is a number; whole numbers exactly, as int64 or uint64; else float64; no holes.

    Where the names of the ``classes`` are known and every cell is one of them, it is these names, and so it is if they
    are text that no number could be.
    """
    texts, codes = cells.texts, cells.codes
    named = [text if text in classes else category_name(text) for text in texts]
    if classes and (set(named) <= set(classes) or _are_words(classes)):
        unnamed = next((i for i, text in enumerate(texts) if text in MISSING and text not in classes), None)
        if unnamed is not None:
            raise refuse(_row(codes, unnamed), "a value in every row", NO_TARGET)
        return _spread(named, codes)
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
        return _spread(_exact(notation, cells, refuse), codes)
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


def _are_words(classes: Collection[str]) -> bool:
    """Whether these names of classes are not those of numbers or truths."""
    folded = {category_name(name) for name in classes}
    return len(folded) < len(classes) or any(kind_of(name) not in {"number", "boolean"} for name in classes)


def whole_numbers(values: np.ndarray) -> np.ndarray:
    """Whole numbers as int64, or as uint64 if only that has room for all of them; other numbers as they are."""
    if values.dtype.kind == "f":
        if not (values == np.floor(values)).all():
            return values
        values = values.astype(np.float64, copy=False)  # in whose halves 2**63 would be infinite
    low, high = values.min().item(), values.max().item()
    if low >= -(2**63) and high < 2**63:
        return values.astype(np.int64)
    return values.astype(np.uint64) if low >= 0 and high < 2**64 else values


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


def decide_classes(cells: Cells, refuse: Refuse, *, typed: bool = False) -> np.ndarray:
    """A target that is text and stays text, (n,) str: no holes, no dates, no very long names.

    In a ``typed`` column, which has nulls of its own, only empty text is a hole.
    """
    texts, codes = cells.texts, cells.codes
    holes = {""} if typed else MISSING
    missing = next((i for i, text in enumerate(texts) if text in holes), None)
    if missing is not None:
        raise refuse(_row(codes, missing), "a value in every row", NO_TARGET)
    if all(kind_of(text) == "date" for text in texts):
        raise refuse(0, "a number or a class, and no date,", NO_DATES)
    longest = max(range(len(texts)), key=lambda i: len(texts[i]))
    if len(texts[longest]) > LONGEST_CLASS_NAME:
        raise refuse(_row(codes, longest), f"a class name of at most {LONGEST_CLASS_NAME} characters", "")
    return _spread(texts, codes)


def categories(
    cells: Cells, decimals: Collection[str] = (), *, known: KnownTexts | None = None, typed: bool = False
) -> Categorical:
    """The cells as categories.

    In a ``typed`` column, which has nulls of its own, text is what it is: only empty text is a hole, and 7.0 is not 7.
    Elsewhere a word for a hole is one, unless the column was typed when it was ``known`` and had that word as text; and
    7.0 is 7, unless 7.0 is a category that is known. A column that was not typed then is read as it was then.
    """
    names: dict[str, int] = {}
    sign = "," if set(decimals) == {","} else "."
    typed = typed and (known is None or known.marks is not None)
    kept = known.names | (known.marks or frozenset()) if known is not None else frozenset()

    def code_of(text: str) -> int:
        if not text or not (typed or text in kept or text not in MISSING):
            return -1
        return names.setdefault(text if typed or text in kept else category_name(text, sign), len(names))

    code = [code_of(text) for text in cells.texts]
    return Categorical(np.array(code, np.int32)[cells.codes], tuple(names), typed)


def _exact(notation: Notation, cells: Cells, refuse: Refuse) -> np.ndarray:
    """The numbers of the different texts; whole ones from the text, as float64 would merge neighbours beyond 2**53."""
    values = np.array([notation.number(text) for text in cells.texts])
    if (values != np.floor(values)).any() or (abs(values) < 2**53).all():
        return whole_numbers(values)
    whole = [notation.whole(text) for text in cells.texts]
    if None in whole:
        return values
    numbers = [number for number in whole if number is not None]
    low, high = min(numbers), max(numbers)
    if low >= -(2**63) and high < 2**64 and (low >= 0 or high < 2**63):
        return np.array(numbers, np.int64 if high < 2**63 else np.uint64)
    first: dict[float, int] = {}
    for i, (value, number) in enumerate(zip(values.tolist(), numbers, strict=True)):
        if first.setdefault(value, number) != number:
            raise refuse(_row(cells.codes, i), "a whole number of at most 64 bits", LARGE)
    return values


def _spread(values: Sequence[float] | Sequence[str] | np.ndarray, codes: np.ndarray) -> np.ndarray:
    spread: np.ndarray = np.asarray(values).take(codes)
    return spread


def _row(codes: np.ndarray, code: int) -> int:
    """The first row that holds this text."""
    return int((codes == code).argmax())
