"""Rows of a text table in which no cell is quoted: where their cells are, found all at once."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np

from chainrule.tables.text.digits import FRONT, pad
from chainrule.tables.text.plain_numbers import Numbers, Places, read_numbers

NEWLINE, RETURN, SPACE = b"\n\r "
MOST_SPACES = 16  # on one side of a cell


class PlainRows:
    """A block of lines of which each is a row of as many cells as the header has, none of them quoted.

    Attributes
    ----------
    decimal : the decimal sign whose places are known
    """

    def __init__(
        self, text: bytes, bytes_and_words: tuple[np.ndarray, np.ndarray], decimal: str, cells: Places
    ) -> None:
        self._text, (self._bytes, self._words), self._cells = text, bytes_and_words, cells
        self.decimal = decimal

    @classmethod
    def of(cls, text: bytes, delimiter: str, decimal: str, width: int) -> Self | None:
        """The rows of a block of whole lines in UTF-8; None if the csv module must read it.

        Where the decimal sign is the delimiter too, only quoted numbers have one, and there are none here.
        """
        if b'"' in text:
            return None
        if not text.endswith(b"\n"):
            text += b"\n"
        characters, words = pad(text)
        places, n = _find_cells(characters, ord(delimiter), ord(decimal) if decimal != delimiter else 0)
        last = places.ends[width - 1 :: width]
        if len(places.ends) != n * width or (characters[last] != NEWLINE).any():
            return None
        if max(last[0] - FRONT, (last[1:] - last[:-1]).max(initial=0)) > csv.field_size_limit():
            return None
        if b"\r" in text:
            if text.count(b"\r") != n or (characters[last - 1] != RETURN).any():
                return None
            last -= 1  # a view: these ends move
            np.minimum(places.points, places.ends, out=places.points)
        if b" " in text:
            _leave_out_spaces(characters, places)
        return cls(text, (characters, words), decimal, Places(*(part.reshape(n, width) for part in places)))

    def __len__(self) -> int:
        return len(self._cells.ends)

    def texts(self, columns: Sequence[int]) -> Iterator[list[str]]:
        """The cells of each of these columns."""
        starts, ends = ((part[:, columns] - FRONT).T.tolist() for part in (self._cells.starts, self._cells.ends))
        ascii_text = self._text.decode("ascii") if columns and self._text.isascii() else None
        for of_column in zip(starts, ends, strict=True):
            places = zip(*of_column, strict=True)
            if ascii_text is not None:
                yield [ascii_text[start:end] for start, end in places]
            else:
                yield [self._text[start:end].decode() for start, end in places]

    def numbers(self, columns: Sequence[int]) -> Numbers:
        """The numbers of these columns, in the order of the file, with this decimal sign: (n, k)."""
        n, width = self._cells.ends.shape
        cells = self._cells if len(columns) == width else Places(*(part[:, columns] for part in self._cells))
        found = read_numbers(self._bytes, self._words, Places(*(part.reshape(-1) for part in cells)))
        shape = n, len(columns)
        return Numbers(*(part.reshape(shape) for part in (found.values, found.odd, found.pointed, found.grouped)))

    def text(self, row: int, column: int) -> str:
        """One cell."""
        start, end = (int(part[row, column]) - FRONT for part in (self._cells.starts, self._cells.ends))
        return self._text[start:end].decode()


def _find_cells(characters: np.ndarray, delimiter: int, decimal: int) -> tuple[Places, int]:
    """Cells in the order of the text, each to a delimiter or the end of a line; and how many lines end."""
    marks = characters == NEWLINE
    n = int(np.count_nonzero(marks))
    marks |= characters == delimiter
    if decimal:
        marks |= characters == decimal
    at = np.flatnonzero(marks)
    is_point = characters[at] == decimal
    if 2 * np.count_nonzero(is_point) == len(at) and is_point[::2].all():
        points, ends = at[::2].copy(), at[1::2].copy()
        starts = _starts(ends)
    else:
        which = np.flatnonzero(~is_point)
        ends = at[which]
        starts = _starts(ends)
        which -= 1
        which[0] = max(which[0], 0)
        before = at[which]  # the end of the cell before, or a decimal sign of this one
        points = np.where(before >= starts, before, ends)
        points[0] = np.where(is_point[0], before[0], ends[0])
    return Places(starts, points, ends), n


def _starts(ends: np.ndarray) -> np.ndarray:
    """A cell starts where the one before ends."""
    starts = np.empty_like(ends)
    starts[0] = FRONT
    np.add(ends[:-1], 1, out=starts[1:])
    return starts


def _leave_out_spaces(characters: np.ndarray, places: Places) -> None:
    """Move the ends of cells inwards, beyond a few spaces; more of them make a cell that is read by itself."""
    starts, points, ends = places
    for _ in range(MOST_SPACES):
        before = (characters[starts] == SPACE) & (starts < ends)
        starts += before
        behind = (characters[ends - 1] == SPACE) & (starts < ends)
        ends -= behind
        if not (before.any() or behind.any()):
            break
    np.minimum(points, ends, out=points)
