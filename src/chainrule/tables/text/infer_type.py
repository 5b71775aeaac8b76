"""What a column is, from its different cells: numbers, yes or no, or categories; or a refusal that names a cell."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

import numpy as np

from chainrule.errors import DataError
from chainrule.nn.columns.column_data import Categorical, ColumnData, KnownTexts
from chainrule.nn.columns.notation import MISSING, Notation
from chainrule.tables.selection import TIME
from chainrule.tables.text.column_builder import Cells
from chainrule.tables.text.notations import choose_notation, notation_as_known, notations_of, odd_one_out, shown
from chainrule.tables.text.parsing import BOOLEAN_NAMES, BOOLEANS, category_name, first_of, kind_of
from chainrule.tables.text_labels import spread_texts

Refuse = Callable[[int, str, str], DataError]  # row from 0, what was expected, a hint

LONGEST_CLASS_NAME = 200  # characters: longer text is prose, and no name of a class
EITHER = "1,234 may be 1234 or 1.234: "
PLAINLY = "write it like 1234.5: a point before the decimals, nothing between the thousands"
ALIKE = "write all numbers of a column in one way: all with a decimal comma, or all with a decimal point"
OR_ELSE = "mark a hole as NA, or leave the column out (--drop), or take it as categories (--categorical)"
NO_DATES = "leave the column out (--drop), or write the date as numbers: days, or year, month and weekday"
NO_TARGET = "fill the cell or leave the row out: a row without its target teaches nothing"
LARGE = "float64 cannot tell it from another one: write labels as text that begins with a letter, divide quantities"
NO_NUMBER = ("text", "date", "boolean")
WRITTEN = {
    ",": "the model learned this column from numbers with a decimal comma: write them so, or train anew",
    ".": "the model learned this column from numbers with a decimal point: write them so, or train anew",
}


class InferredType(NamedTuple):
    """A column, and how its numbers (also those that are names of categories) are written if a cell says so."""

    data: ColumnData
    notation: Notation | None = None


def infer_type(
    cells: Cells,
    refuse: Refuse,
    *,
    wanted: str = "",
    decimals: Collection[str] = (),
    known: KnownTexts | None = None,
    notation: Notation | None = None,
) -> InferredType:
    """A column of features.

    Numbers if every cell that is not missing is one, in one notation; True and False, in any case, are 1 and 0;
    text is categories. A column in which most rows are numbers and some are not is refused, and so are dates.

    Parameters
    ----------
    wanted : "number", "category" or "time" if this is already known; of times what are no numbers are categories
    decimals : decimal signs that the columns of the file are sure to use: they decide what 1,234 is
    known : categories that the column had before
    notation : how the numbers of the column were written before: a cell that contradicts it is refused
    """
    texts, codes = cells.texts, cells.codes
    signs = set(decimals) if notation is None else {notation.decimal}
    folded_by = Notation(*signs) if len(signs) == 1 else None
    if wanted == "category":
        return InferredType(categories(cells, signs, known=known), folded_by)
    kinds = [kind_of(text) for text in texts]
    present = [text for text in texts if text not in MISSING]
    if wanted != TIME and all(kind in {"missing", "boolean"} for kind in kinds):
        return InferredType(_spread([BOOLEANS.get(text.lower(), np.nan) for text in texts], codes))
    if notation is not None:
        return InferredType(_spread(_as_known(notation, cells, kinds, refuse), codes))
    found = choose_notation(present, decimals)
    if found is not None:
        return InferredType(_spread([found.number(text) for text in texts], codes), shown(found, present))
    if wanted == TIME:
        return InferredType(categories(cells))
    _refuse_no_numbers(cells, kinds, present, wanted, refuse)
    return InferredType(categories(cells, signs, known=known), folded_by)


def _refuse_no_numbers(cells: Cells, kinds: Sequence[str], present: Sequence[str], wanted: str, refuse: Refuse) -> None:
    """An error, unless the column is categories; it names the first cell that keeps it from being numbers."""

    def refuse_first(expected: str, hint: str, *which: str) -> DataError:
        positions = [first_of(kinds, kind) for kind in which]
        return refuse(_row(cells.codes, min(at for at in positions if at is not None)), expected, hint)

    if notations_of(present):
        raise refuse_first("a number", f"{EITHER}{PLAINLY}", "miswritten" if "miswritten" in kinds else "number")
    rows = np.bincount(cells.codes, minlength=len(cells.texts))
    n_text = sum(int(n) for n, kind in zip(rows, kinds, strict=True) if kind in NO_NUMBER)
    n_numbers = sum(int(n) for n, kind in zip(rows, kinds, strict=True) if kind in {"number", "miswritten", "infinite"})
    if wanted == "number" and n_text:
        raise refuse_first("a number as in training", "mark a hole as NA", *NO_NUMBER)
    if n_numbers >= n_text and n_text:
        raise refuse_first("a number as in most rows", OR_ELSE, *NO_NUMBER)
    if n_numbers >= n_text and "infinite" in kinds:
        raise refuse_first("a finite number", OR_ELSE, "infinite")
    if n_numbers >= n_text:
        raise _refuse_odd_one(cells, refuse)
    if set(kinds) <= {"date", "missing"}:
        raise refuse_first("a number or a category", NO_DATES, "date")


def _refuse_odd_one(cells: Cells, refuse: Refuse) -> DataError:
    """The error for numbers in more than one notation: it names a cell that is not written as most rows are."""
    rows = np.bincount(cells.codes, minlength=len(cells.texts)).tolist()
    notation, code = odd_one_out(cells.texts, rows)
    if notation.decimal == ".":
        return refuse(_row(cells.codes, code), "a number", PLAINLY)
    return refuse(_row(cells.codes, code), f"a number written as in most rows, such as {notation.example}", ALIKE)


def _as_known(known: Notation, cells: Cells, kinds: Sequence[str], refuse: Refuse) -> list[float]:
    """The numbers of the different texts by the notation of the training; the first that contradicts it is refused."""
    numbers = []
    for code, text in enumerate(cells.texts):
        found = known if text in MISSING else notation_as_known(known, text)
        if found is None:
            raise _refuse_cell(known, code, cells, kinds, refuse)
        numbers.append(found.number(text))
    return numbers


def _refuse_cell(known: Notation, code: int, cells: Cells, kinds: Sequence[str], refuse: Refuse) -> DataError:
    row = _row(cells.codes, code)
    if kinds[code] in NO_NUMBER:
        return refuse(row, "a number as in training", "mark a hole as NA")
    if kinds[code] == "infinite":
        return refuse(row, "a finite number", OR_ELSE)
    return refuse_contradiction(refuse, row, known)


def refuse_contradiction(refuse: Refuse, row: int, known: Notation) -> DataError:
    """The error for a number that is written in another notation than the known one."""
    return refuse(row, f"a number written as in training, such as {known.example}", WRITTEN[known.decimal])


class Target(NamedTuple):
    """A target column, and how its numbers are written if a cell says so."""

    values: np.ndarray
    notation: Notation | None = None


def infer_target(
    cells: Cells,
    refuse: Refuse,
    *,
    decimals: Collection[str] = (),
    classes: Collection[str] = (),
    notation: Notation | None = None,
) -> Target:
    """A target: (n,) text if no cell is a number; whole numbers exactly, as int64 or uint64; else float64; no holes.

    If the names of the ``classes`` are known and every cell is one of them, it is these names, and so it is if they
    are text that no number could be. ``notation`` is that of the training, if it is known.
    """
    texts, codes = cells.texts, cells.codes
    sign = "." if notation is None else notation.decimal
    named = [text if text in classes else category_name(text, sign) for text in texts]
    if classes and (set(named) <= set(classes) or _are_words(classes)):
        unnamed = next((i for i, text in enumerate(texts) if text in MISSING and text not in classes), None)
        if unnamed is not None:
            raise refuse(_row(codes, unnamed), "a value in every row", NO_TARGET)
        return Target(spread_texts(named, codes))
    kinds = [kind_of(text) for text in texts]
    missing = first_of(kinds, "missing")
    if missing is not None:
        raise refuse(_row(codes, missing), "a value in every row", NO_TARGET)
    if set(kinds) == {"boolean"}:
        return Target(spread_texts([BOOLEAN_NAMES[int(BOOLEANS[text.lower()])] for text in texts], codes))
    if set(kinds) <= {*NO_NUMBER}:
        return Target(infer_classes(cells, refuse))
    if notation is not None and not set(kinds) & {*NO_NUMBER}:
        _as_known(notation, cells, kinds, refuse)  # refuses what contradicts it
        notations = [notation_as_known(notation, text) or notation for text in texts]
        return Target(_spread(_exact(notations, cells, refuse), codes))
    found = choose_notation(texts, decimals)
    if found is not None:
        return Target(_spread(_exact([found] * len(texts), cells, refuse), codes), shown(found, texts))
    raise _no_target(cells, kinds, refuse)


def _no_target(cells: Cells, kinds: Sequence[str], refuse: Refuse) -> DataError:
    """The error for a target that is neither numbers nor names of classes."""
    if not set(kinds) & {*NO_NUMBER}:
        infinite = first_of(kinds, "infinite")
        if infinite is not None:
            return refuse(_row(cells.codes, infinite), "a finite number", NO_TARGET)
        if not notations_of(cells.texts):
            return _refuse_odd_one(cells, refuse)
        return refuse(_row(cells.codes, first_of(kinds, "miswritten") or 0), "a number", f"{EITHER}{PLAINLY}")
    rows = np.bincount(cells.codes, minlength=len(cells.texts))
    numeric = [kind not in NO_NUMBER for kind in kinds]
    most = 2 * sum(int(n) for n, number in zip(rows, numeric, strict=True) if number) >= len(cells.codes)
    expected = f"{'a number' if most else 'text'} as in most rows"
    hint = "a target holds either numbers or names of classes; let such a name begin with a letter"
    return refuse(_row(cells.codes, numeric.index(not most)), expected, hint)


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


def first_rounded(values: np.ndarray, rounded: np.ndarray) -> int | None:
    """The position of the first whole number that changed when long doubles became float64; None if there is none."""
    if values.dtype.kind != "f" or values.dtype.itemsize <= 8:
        return None
    changed = ((rounded != values) & (values == np.floor(values)) & np.isfinite(rounded)).reshape(-1)
    return int(changed.argmax()) if changed.any() else None


def infer_classes(cells: Cells, refuse: Refuse, *, typed: bool = False) -> np.ndarray:
    """A target that is text and stays text: no holes, no dates, no very long names.

    In a ``typed`` column, which has nulls of its own, only empty text is a hole.
    """
    texts, codes = cells.texts, cells.codes
    holes = {""} if typed else MISSING
    missing = next((i for i, text in enumerate(texts) if text in holes), None)
    if missing is not None:
        raise refuse(_row(codes, missing), "a value in every row", NO_TARGET)
    if all(kind_of(text) == "date" for text in texts):
        raise refuse(0, "a number or a class, and no date", NO_DATES)
    longest = max(range(len(texts)), key=lambda i: len(texts[i]))
    if len(texts[longest]) > LONGEST_CLASS_NAME:
        raise refuse(_row(codes, longest), f"a class name of at most {LONGEST_CLASS_NAME} characters", "")
    return spread_texts(texts, codes)


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


def _exact(notations: Sequence[Notation], cells: Cells, refuse: Refuse) -> np.ndarray:
    """The numbers of the different texts, each in its notation; whole ones from the text, exactly.

    As float64 neighbours beyond 2**53 would merge. If no 64 bits hold all of them, those that float64 cannot hold are
    refused, unless they are written as a quantity (1e25).
    """
    values = np.array([notation.number(text) for notation, text in zip(notations, cells.texts, strict=True)])
    if (values != np.floor(values)).any() or (abs(values) < 2**53).all():
        return whole_numbers(values)
    whole = [notation.whole(text) for notation, text in zip(notations, cells.texts, strict=True)]
    if None in whole:
        return values
    numbers = [number for number in whole if number is not None]
    low, high = min(numbers), max(numbers)
    if low >= -(2**63) and high < 2**64 and (low >= 0 or high < 2**63):
        return np.array(numbers, np.int64 if high < 2**63 else np.uint64)
    first: dict[float, int] = {}
    for i, (value, number, text) in enumerate(zip(values.tolist(), numbers, cells.texts, strict=True)):
        digits = "e" not in text.lower()
        if first.setdefault(value, number) != number or (digits and int(value) != number):
            raise refuse(_row(cells.codes, i), "a whole number of at most 64 bits", LARGE)
    return values


def _spread(values: Sequence[float] | np.ndarray, codes: np.ndarray) -> np.ndarray:
    spread: np.ndarray = np.asarray(values).take(codes)
    return spread


def _row(codes: np.ndarray, code: int) -> int:
    """The first row that holds this text."""
    return int((codes == code).argmax())
