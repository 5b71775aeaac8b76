"""One column of a text table while it is read: numbers as long as they last, else its different cells, each once."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.nn.table_columns import MISSING
from chainrule.tables.cells import PLAIN, Notation, decimal_sign, looks_grouped, notations_of


@dataclass(frozen=True, eq=False)
class Cells:
    """A column as text: row i holds ``texts[codes[i]]``. ``named``: they are names of values that are no text."""

    codes: np.ndarray
    texts: list[str]
    named: bool = False


class ColumnBuilder:
    """Takes a column part by part. The first part decides how numbers are written, if they are numbers at all.

    Parameters
    ----------
    as_text : keep the cells whatever they hold

    Attributes
    ----------
    notation : how the numbers are written; None for text
    surprised : a later cell was no such number: what was read is of no use, and the column must be read as text
    decimal : the decimal sign that its numbers are sure to use; empty for none
    grouped : its points could as well stand between thousands
    """

    def __init__(self, *, as_text: bool = False) -> None:
        self.notation: Notation | None = None
        self.surprised = self.grouped = False
        self.decimal = ""
        self._first = not as_text
        self._numbers = array("d")
        self._codes = array("i")
        self._texts: dict[str, int] = {}

    def extend(self, cells: Sequence[str]) -> None:
        """The cells of further rows."""
        if self.surprised:
            return
        if self._first:
            self._first = False
            self._choose(cells)
        if self.notation is None:
            texts = self._texts
            self._codes.extend([texts.setdefault(cell.strip(), len(texts)) for cell in cells])
            return
        try:
            self._numbers.extend(to_numbers(cells, self.notation))
        except ValueError:
            self.surprised = True
            self._numbers = array("d")

    def _choose(self, cells: Sequence[str]) -> None:
        present = {cell for cell in map(str.strip, cells) if cell not in MISSING}
        found = notations_of(present)
        if len(found) == 1:
            self.notation = found[0]
            self.grouped = self.notation == PLAIN and looks_grouped(present)
            self.decimal = "" if self.grouped else decimal_sign(self.notation, present)

    def result(self) -> np.ndarray | Cells:
        """(n,) float64 with nan for holes, or the cells; in memory of its own, which can be shortened."""
        if self.notation is not None:
            return np.array(self._numbers)
        return Cells(np.array(self._codes, np.int32), list(self._texts))


def to_numbers(cells: Sequence[str], notation: Notation = PLAIN) -> list[float]:
    """The numbers of the cells, nan for holes; ValueError where one holds something else.

    ``float`` is several times as fast as the strict reading and takes, of ASCII without underscores, only inf and nan
    too much, which show in the sum.
    """
    if notation == PLAIN:
        joined = "".join(cells)
        if joined.isascii() and "_" not in joined:
            try:
                numbers = list(map(float, cells))
            except ValueError:
                numbers = []
            if numbers and math.isfinite(sum(numbers)):
                return numbers
    return [notation.number(cell.strip()) for cell in cells]
