"""What a feature is, by its different cells: numbers, truth values or categories; or an error that names a cell."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np

from chainrule.nn.columns.column_data import Categorical, ColumnData, KnownTexts
from chainrule.nn.columns.notation import MISSING, Notation
from chainrule.tables.selection import TIME
from chainrule.tables.text.column_builder import Cells
from chainrule.tables.text.infer_notation import choose_notation, match_known_notation, notation_if_visible
from chainrule.tables.text.infer_unit import find_quantities
from chainrule.tables.text.parsing import BOOLEANS, category_name, cell_kind
from chainrule.tables.text.refusals import Refuse, feature_error, refuse_cell


class InferredType(NamedTuple):
    """A column, and how its numbers (also those that are names of categories) are written if a cell says so.

    ``unit`` is beside each number, and ``note`` says so.
    """

    data: ColumnData
    notation: Notation | None = None
    unit: str = ""
    note: str = ""


def infer_type(
    cells: Cells,
    refuse: Refuse,
    *,
    wanted: str = "",
    decimals: Collection[str] = (),
    known: KnownTexts | None = None,
    notation: Notation | None = None,
    learned: bool = False,
) -> InferredType:
    """A column of features.

    Numbers if every cell that is not missing is one, in one notation, all with one unit or all without; True and
    False, in any case, are 1 and 0; text is categories. A column in which most rows are numbers and some are not is
    refused, and so are dates.

    Parameters
    ----------
    wanted : "number", "category" or "time" if this is already known; cells of a time that are no numbers are categories
    decimals : decimal signs that the columns of the file are certain to use: they decide what 1,234 is
    known : categories that the column had before
    notation : how the numbers of the column were written before: a cell that contradicts it is refused
    learned : the column was read before, so that its numbers have no other unit than that of the ``notation``

    Raises
    ------
    DataError   by ``refuse``, for the first cell that does not fit.
    """
    texts, codes = cells.texts, cells.codes
    signs = set(decimals) if notation is None else {notation.decimal}
    folded_by = Notation(*signs) if len(signs) == 1 else None
    if wanted == "category":
        return InferredType(encode_categories(cells, signs, known=known), folded_by)
    kinds = [cell_kind(text) for text in texts]
    present = [text for text in texts if text not in MISSING]
    if wanted != TIME and all(kind in {"missing", "boolean"} for kind in kinds):
        return InferredType(take([BOOLEANS.get(text.lower(), np.nan) for text in texts], codes))
    if notation is not None:
        return InferredType(take(numbers_as_known(notation, cells, kinds, refuse), codes))
    found = choose_notation(present, decimals)
    if found is not None:
        numbers = take([found.number(text) for text in texts], codes)
        return InferredType(numbers, notation_if_visible(found, present))
    if wanted == TIME:
        return InferredType(encode_categories(cells))
    if not learned and (quantities := infer_quantities(cells, refuse, decimals)) is not None:
        return quantities
    if (error := feature_error(cells, kinds, present, wanted, refuse)) is not None:
        raise error
    return InferredType(encode_categories(cells, signs, known=known), folded_by)


def infer_quantities(cells: Cells, refuse: Refuse, decimals: Collection[str]) -> InferredType | None:
    """A column of numbers with one unit; None if it is something else."""
    quantities = find_quantities(cells, refuse)
    if quantities is None:
        return None
    bare = quantities.cells
    present = [text for text in bare.texts if text not in MISSING]
    found = choose_notation(present, decimals)
    if found is None:
        error = feature_error(bare, [cell_kind(text) for text in bare.texts], present, "", refuse)
        if error is not None:
            raise error
        return None
    numbers = take([found.number(text) for text in bare.texts], bare.codes)
    return InferredType(numbers, notation_if_visible(found, present), quantities.unit, quantities.note(found))


def numbers_as_known(known: Notation, cells: Cells, kinds: Sequence[str], refuse: Refuse) -> list[float]:
    """The numbers of the different texts by the notation of the training; the first that contradicts it is refused."""
    numbers = []
    for code, text in enumerate(cells.texts):
        found = known if text in MISSING else match_known_notation(known, text)
        if found is None:
            raise refuse_cell(known, code, cells, kinds, refuse)
        numbers.append(found.number(text))
    return numbers


def encode_categories(
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
    kept = known.kept if known is not None else frozenset()

    def code_of(text: str) -> int:
        name = category_of(text, kept, sign, typed=typed)
        return -1 if name is None else names.setdefault(name, len(names))

    codes = [code_of(text) for text in cells.texts]
    return Categorical(np.array(codes, np.int32)[cells.codes], tuple(names), typed)


def category_of(text: str, kept: Collection[str], sign: str, *, typed: bool) -> str | None:
    """The category of a cell's text, None for a hole; ``kept`` stay what they are, as all do in a ``typed`` column."""
    if not text or not (typed or text in kept or text not in MISSING):
        return None
    return text if typed or text in kept else category_name(text, sign)


def take(values: Sequence[float] | np.ndarray, codes: np.ndarray) -> np.ndarray:
    """(n,): row i holds ``values[codes[i]]``."""
    taken: np.ndarray = np.asarray(values).take(codes)
    return taken
