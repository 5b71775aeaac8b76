"""Columns of numbers with a sign or unit beside each: $1,200.50, 12.4%, 35 kg."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from chainrule.nn.columns.notation import MISSING, Notation
from chainrule.nn.columns.units import split_unit, stands_before
from chainrule.tables.text.column_builder import Cells
from chainrule.tables.text.refusals import ONE_UNIT, Refuse, row_of_code, rows_of_codes


class Quantities(NamedTuple):
    """A column whose numbers all have one unit, beside the same cells without it, and where the unit stands."""

    unit: str
    cells: Cells
    where: str

    def note(self, notation: Notation) -> str:
        """What the user should know of the column."""
        example = next((text for text in self.cells.texts if text not in MISSING), "")
        per_cent = f", {example}% as {notation.plain(example)}" if self.unit == "%" else ""
        return f"{self.unit!r} {self.where} each number; read as numbers{per_cent}"


def find_quantities(cells: Cells, refuse: Refuse) -> Quantities | None:
    """The column as quantities of one unit; None if it is something else: most of its rows have no unit, or not one.

    Raises
    ------
    DataError   by ``refuse``, for the first row without the unit of more than half of the rows; or if all are
        quantities, of different units.
    """
    split = [split_unit(text) for text in cells.texts]
    units = {unit for (unit, _), text in zip(split, cells.texts, strict=True) if text not in MISSING}
    if not units - {""}:
        return None
    if len(units) == 1:
        sides = {"before" if stands_before(text) else "after" for text in cells.texts if text not in MISSING}
        bare = Cells(cells.codes, [number for _, number in split])
        return Quantities(units.pop(), bare, sides.pop() if len(sides) == 1 else "beside")
    _refuse_mixture(cells, [unit for unit, _ in split], refuse)
    return None


def _refuse_mixture(cells: Cells, units: Sequence[str], refuse: Refuse) -> None:
    rows: Counter[str] = Counter()
    for unit, text, n in zip(units, cells.texts, rows_of_codes(cells).tolist(), strict=True):
        if text not in MISSING:
            rows[unit] += n
    most = max(rows, key=lambda unit: rows[unit])
    if not most or (2 * rows[most] <= rows.total() and "" in rows):
        return
    wrong = _first_other(units, cells.texts, most)
    raise refuse(row_of_code(cells, wrong), f"a number with {most!r} as in most rows", ONE_UNIT)


def _first_other(units: Sequence[str], texts: Iterable[str], wanted: str) -> int:
    return next(
        i for i, (unit, text) in enumerate(zip(units, texts, strict=True)) if unit != wanted and text not in MISSING
    )
