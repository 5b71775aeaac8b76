"""One column of a text table while it is read: numbers as long as they last, else its different cells, each once."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.nn.columns.notation import MISSING, PLAIN, Notation
from chainrule.tables.text.notations import may_have_thousands, notations_of, sure_sign


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
    known : how its numbers are written, if a model knows that

    Attributes
    ----------
    notation : how the numbers are written; None for text
    surprised : a later cell was no such number: what was read is of no use, and the column must be read as text
    shows : whether a cell held a sign that another notation would read differently
    """

    def __init__(self, *, as_text: bool = False, known: Notation | None = None) -> None:
        self.notation: Notation | None = None
        self.surprised = self.shows = False
        self._first, self._known = not as_text, known
        self._pointed = False  # whether a cell holds a point that stands before decimals
        self._numbers = array("d")
        self._codes = array("i")
        self._texts: dict[str, int] = {}

    @property
    def shown(self) -> Notation | None:
        """The notation, if a cell says so."""
        return self.notation if self.shows else None

    def sure_sign(self) -> str | None:
        """The decimal sign that the column is sure to use, "" if none shows, None if that depends on its file."""
        if self.notation is None:
            return sure_sign(self._texts)
        depends = self.notation == PLAIN and not self._pointed and self._known is None
        return (None if depends else self.notation.decimal) if self.shows else ""

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
        joined = "".join(cells)
        try:
            self._numbers.extend(to_numbers(cells, self.notation, joined))
        except ValueError:
            self.surprised = True
            self._numbers = array("d")
            return
        self._look(cells, joined, self.notation)

    def _look(self, cells: Sequence[str], joined: str, notation: Notation) -> None:
        """What these numbers say of their notation; of most columns the first part says all."""
        if self._pointed or (self.shows and notation != PLAIN) or not notation.shows_in(joined):
            return
        self.shows = True
        if notation == PLAIN:
            self._pointed = not may_have_thousands(map(str.strip, cells))

    def _choose(self, cells: Sequence[str]) -> None:
        present = {cell for cell in map(str.strip, cells) if cell not in MISSING}
        found = notations_of(present) if self._known is None else [self._known]
        if len(found) == 1 and (self._known is None or all(map(self._known.reads, present))):
            self.notation = found[0]

    def result(self) -> np.ndarray | Cells:
        """(n,) float64 with nan for holes, or the cells; in memory of its own, which can be shortened."""
        if self.notation is not None:
            return np.array(self._numbers)
        return Cells(np.array(self._codes, np.int32), list(self._texts))


def to_numbers(cells: Sequence[str], notation: Notation, joined: str) -> list[float]:
    """The numbers of the cells, nan for holes; ValueError if one holds something else. ``joined``: all their text.

    ``float`` is several times as fast as the strict reading and takes, of ASCII without underscores, only inf and nan
    too much, which show in the sum.
    """
    if notation == PLAIN and joined.isascii() and "_" not in joined:
        try:
            numbers = list(map(float, cells))
        except ValueError:
            numbers = []
        if numbers and math.isfinite(sum(numbers)):
            return numbers
    return [notation.number(cell.strip()) for cell in cells]
