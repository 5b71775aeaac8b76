"""One column of a text table while it is read: numbers for as long as all cells are, else each different text once."""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.nn.columns.notation import MISSING, PLAIN, Notation
from chainrule.nn.columns.units import without_common_unit
from chainrule.tables.text.infer_notation import certain_decimal_sign, may_be_thousands, notations_of

MOST_GROWTH = 16  # times the rows so far, if so many are expected: the first rows may be shorter than the rest


@dataclass(frozen=True, eq=False)
class Cells:
    """A column as text: row i holds ``texts[codes[i]]``.

    ``named``: the texts are names of values of another type; ``levels``: of a type of categories.
    """

    codes: np.ndarray
    texts: list[str]
    named: bool = False
    levels: bool = False


class ColumnBuilder:
    """Collects a column part by part. The first part decides whether it is numbers, and in which notation.

    Parameters
    ----------
    as_text : keep the cells as text, whatever they hold
    known : how the numbers are written, if a model knows that

    Attributes
    ----------
    notation : how the numbers are written; None for text
    failed : a later cell was no such number: what was read is of no use, and the column must be read again as text
    has_sign : whether a cell held a sign that another notation would read differently
    expected : about how many rows there will be
    """

    def __init__(self, *, as_text: bool = False, known: Notation | None = None) -> None:
        self.notation: Notation | None = None
        self.failed = self.has_sign = False
        self.expected = 0
        self._undecided, self._known = not as_text, known
        self._has_decimal_point = False  # whether a cell holds a point that cannot stand between thousands
        self._numbers, self._n = np.empty(0), 0  # the first n of them are read, the others room for more
        self._codes = array("i")
        self._texts: dict[str, int] = {}

    @property
    def visible_notation(self) -> Notation | None:
        """The notation, if a cell shows it."""
        return self.notation if self.has_sign else None

    def certain_decimal_sign(self) -> str | None:
        """As :func:`~chainrule.tables.text.infer_notation.certain_decimal_sign`, of what was read so far."""
        if self.notation is None:
            return certain_decimal_sign(self._texts)
        depends = self.notation == PLAIN and not self._has_decimal_point and self._known is None
        return (None if depends else self.notation.decimal) if self.has_sign else ""

    @property
    def has_points(self) -> bool:
        """Whether its own cells say that the column is numbers with a decimal point, with a unit or without."""
        if self.notation is None:
            present = without_common_unit([text for text in self._texts if text not in MISSING])
            return bool(present) and notations_of(present) == [PLAIN]
        return self.notation == PLAIN

    def extend(self, cells: Sequence[str]) -> None:
        """The cells of further rows."""
        if self.failed:
            return
        if self._undecided:
            self._undecided = False
            self._choose_notation(cells)
        if self.notation is None:
            texts = self._texts
            self._codes.extend([texts.setdefault(cell.strip(), len(texts)) for cell in cells])
            return
        joined = "".join(cells)
        try:
            self.extend_numbers(to_numbers(cells, self.notation, joined))
        except ValueError:
            self._fail()
            return
        self._note_signs(cells, joined, self.notation)

    def reads_numbers_with(self, decimal: str) -> bool:
        """Whether the column is numbers with this decimal sign."""
        return self.notation is not None and self.notation.decimal == decimal

    def read(self, cell: str) -> float:
        """The number in a cell of a column of numbers, and which signs it shows; nan, and ``failed``, if it is none."""
        assert self.notation is not None
        try:
            number = self.notation.number(cell.strip())
        except ValueError:
            self._fail()
            return math.nan
        self._note_signs([cell], cell, self.notation)
        return number

    def extend_numbers(self, numbers: np.ndarray | Sequence[float]) -> None:
        """The numbers of further rows, nan for holes."""
        if self.failed:
            return
        end = self._n + len(numbers)
        if end > len(self._numbers):
            self._make_room(end)
        self._numbers[self._n : end] = numbers
        self._n = end

    def _make_room(self, n: int) -> None:
        """For ``n`` numbers and those that are expected; what is never written to takes no memory of the machine."""
        wanted = max(n + n // 8, min(self.expected + self.expected // 64, MOST_GROWTH * n))
        try:
            room = np.empty(wanted)
        except MemoryError:  # more was expected than comes, or there is no room for what comes
            room = np.empty(n)
        room[: self._n] = self._numbers[: self._n]
        self._numbers = room

    @property
    def signs_are_known(self) -> bool:
        """Whether further cells can tell no more about the signs in the numbers than earlier ones have."""
        return self._has_decimal_point or (self.has_sign and self.notation != PLAIN)

    def note_signs(self, *, has_sign: bool, certain: bool) -> None:
        """Numbers have a decimal sign; ``certain`` if it cannot stand between thousands."""
        self.has_sign |= has_sign
        self._has_decimal_point |= certain and self.notation == PLAIN

    def _fail(self) -> None:
        self.failed = True
        self._numbers = np.empty(0)

    def _note_signs(self, cells: Sequence[str], joined: str, notation: Notation) -> None:
        """Note which signs the cells show; for most columns the first part decides, and later calls return at once."""
        if self.signs_are_known or not notation.shows_in(joined):
            return
        self.has_sign = True
        if notation == PLAIN:
            self._has_decimal_point = not may_be_thousands(map(str.strip, cells))

    def _choose_notation(self, cells: Sequence[str]) -> None:
        if self._known is None and are_plain(cells):  # most columns of numbers, without a look at each cell
            self.notation = PLAIN
            return
        present = {cell for cell in map(str.strip, cells) if cell not in MISSING}
        found = notations_of(present) if self._known is None else [self._known]
        if len(found) == 1 and (self._known is None or all(map(self._known.reads, present))):
            self.notation = found[0]

    def result(self) -> np.ndarray | Cells:
        """(n,) float64 with nan for holes, or the cells; in memory of its own, which can be resized."""
        if self.notation is not None:
            self._numbers.resize(self._n, refcheck=False)
            return self._numbers
        return Cells(np.array(self._codes, np.int32), list(self._texts))


def are_plain(cells: Sequence[str]) -> bool:
    """Whether the cells are numbers in the plain notation, or words for holes."""
    try:
        to_numbers(cells, PLAIN, "".join(cells))
    except ValueError:
        return False
    return True


def to_numbers(cells: Sequence[str], notation: Notation, joined: str) -> list[float]:
    """The numbers of the cells, nan for holes; ValueError if one holds something else. ``joined``: all their text.

    ``float`` is several times as fast as the strict reading. Of ASCII without underscores it accepts too much only in
    inf and nan, and these make the sum non-finite.
    """
    if notation == PLAIN and joined.isascii() and "_" not in joined:
        if numbers := _finite(cells):
            return numbers
        if numbers := _finite([cell for cell in cells if cell not in MISSING]):
            present = iter(numbers)
            return [math.nan if cell in MISSING else next(present) for cell in cells]
    return [notation.number(cell.strip()) for cell in cells]


def _finite(cells: Sequence[str]) -> list[float]:
    """The numbers of the cells as ``float`` reads them; none if one of them is no number, or not finite."""
    try:
        numbers = list(map(float, cells))
    except ValueError:
        return []
    return numbers if math.isfinite(sum(numbers)) else []
