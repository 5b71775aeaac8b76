"""What a target is, by its different cells: numbers or names of classes; or an error that names a cell."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from chainrule.nn.columns.notation import MISSING, Notation
from chainrule.tables.text.column_builder import Cells
from chainrule.tables.text.infer_notation import choose_notation, match_known_notation, notation_if_visible
from chainrule.tables.text.infer_type import numbers_as_known, take
from chainrule.tables.text.infer_unit import find_quantities
from chainrule.tables.text.parsing import BOOLEAN_NAMES, BOOLEANS, category_name, cell_kind, first_position
from chainrule.tables.text.refusals import (
    NO_DATES,
    NO_TARGET,
    NOT_EXACT,
    NOT_NUMERIC,
    Refuse,
    refuse_text,
    row_of_code,
    target_error,
)
from chainrule.tables.text_arrays import take_texts

LONGEST_CLASS_NAME = 200  # characters: longer text is prose, and no name of a class


class Target(NamedTuple):
    """A target column, and how its numbers are written if a cell says so; as of an :class:`InferredType`."""

    values: np.ndarray
    notation: Notation | None = None
    unit: str = ""
    note: str = ""


def infer_target(
    cells: Cells,
    refuse: Refuse,
    *,
    decimals: Collection[str] = (),
    classes: Collection[str] = (),
    notation: Notation | None = None,
    wanted: str = "",
    learned: bool = False,
) -> Target:
    """A target without holes.

    (n,) text if no cell is a number; int64 or uint64, exactly, if all are whole numbers, all with one unit or all
    without; else float64.

    Parameters
    ----------
    decimals : decimal signs that the columns of the file are certain to use
    classes : their names in the model, if it has classes. The target is these names if every cell is one of them, and
        also if they are text that no number could be
    notation : how the numbers were written in training, if that is known
    wanted : "number" if text is to be refused
    learned : a model knows the target, so that numbers have no other unit than that of the ``notation``

    Raises
    ------
    DataError   by ``refuse``, for the first cell that does not fit.
    """
    texts, codes = cells.texts, cells.codes
    sign = "." if notation is None else notation.decimal
    names = [text if text in classes else category_name(text, sign) for text in texts]
    if classes and (set(names) <= set(classes) or _are_words(classes)):
        holes = MISSING - set(classes)
        _refuse_hole(cells, next((i for i, text in enumerate(texts) if text in holes), None), refuse)
        return Target(take_texts(names, codes))
    kinds = [cell_kind(text) for text in texts]
    _refuse_hole(cells, first_position(kinds, "missing"), refuse)
    if notation is None and not learned and (target := infer_quantities_of_target(cells, refuse, decimals)) is not None:
        return target
    is_text = set(kinds) <= {*NOT_NUMERIC}
    if is_text and wanted == "number" and not (notation is not None and notation.unit):
        raise refuse_text(refuse)
    if set(kinds) == {"boolean"}:
        return Target(take_texts([BOOLEAN_NAMES[int(BOOLEANS[text.lower()])] for text in texts], codes))
    if is_text and not (notation is not None and notation.unit):
        return Target(infer_classes(cells, refuse))
    if notation is not None and (notation.unit or not set(kinds) & {*NOT_NUMERIC}):
        numbers_as_known(notation, cells, kinds, refuse)  # refuses what contradicts it
        notations = [match_known_notation(notation, text) or notation for text in texts]
        return Target(take(_exact(notations, cells, refuse), codes))
    found = choose_notation(texts, decimals)
    if found is None:
        raise target_error(cells, kinds, refuse)
    return Target(take(_exact([found] * len(texts), cells, refuse), codes), notation_if_visible(found, texts))


def infer_quantities_of_target(cells: Cells, refuse: Refuse, decimals: Collection[str]) -> Target | None:
    """A target of numbers with one unit; None if it is something else."""
    quantities = find_quantities(cells, refuse)
    if quantities is None:
        return None
    _refuse_hole(cells, next((i for i, text in enumerate(cells.texts) if text in MISSING), None), refuse)
    bare = quantities.cells
    found = choose_notation(bare.texts, decimals)
    if found is None:
        raise target_error(bare, [cell_kind(text) for text in bare.texts], refuse)
    values = take(_exact([found] * len(bare.texts), bare, refuse), bare.codes)
    return Target(values, notation_if_visible(found, bare.texts), quantities.unit, quantities.note(found))


def infer_classes(cells: Cells, refuse: Refuse, *, typed: bool = False) -> np.ndarray:
    """A target that is text and stays text: no holes, no dates, no very long names.

    In a ``typed`` column, which has nulls of its own, only empty text is a hole.
    """
    texts = cells.texts
    holes = {""} if typed else MISSING
    _refuse_hole(cells, next((i for i, text in enumerate(texts) if text in holes), None), refuse)
    if all(cell_kind(text) == "date" for text in texts):
        raise refuse(0, "a number or a class, and no date", NO_DATES)
    longest = max(range(len(texts)), key=lambda i: len(texts[i]))
    if len(texts[longest]) > LONGEST_CLASS_NAME:
        raise refuse(row_of_code(cells, longest), f"a class name of at most {LONGEST_CLASS_NAME} characters", "")
    return take_texts(texts, cells.codes)


def whole_numbers(values: np.ndarray) -> np.ndarray:
    """Whole numbers as int64, or as uint64 if only that has room for all of them; other numbers unchanged."""
    if values.dtype.kind == "f":
        if not (values == np.floor(values)).all():
            return values
        values = values.astype(np.float64, copy=False)  # as float16, 2**63 would be infinite
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


def _refuse_hole(cells: Cells, code: int | None, refuse: Refuse) -> None:
    if code is not None:
        raise refuse(row_of_code(cells, code), "a value in every row", NO_TARGET)


def _are_words(classes: Collection[str]) -> bool:
    """Whether these names of classes are not those of numbers or truth values."""
    folded = {category_name(name) for name in classes}
    return len(folded) < len(classes) or any(cell_kind(name) not in {"number", "boolean"} for name in classes)


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
        has_digits = "e" not in text.lower()
        if first.setdefault(value, number) != number or (has_digits and int(value) != number):
            raise refuse(row_of_code(cells, i), "a whole number of at most 64 bits", NOT_EXACT)
    return values
