"""The numbers of unquoted cells, all at once: signs, decimal signs, exponents, and words for holes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from chainrule.nn.columns.notation import MISSING
from chainrule.tables.text.digits import (
    LAST_BYTES,
    WORD,
    products,
    quotients,
    read_decimals,
    word_before,
)

PLUS, MINUS, ZERO = b"+-0"
SMALL_E, SMALL = ord("e"), np.uint8(0x20)  # the bit that makes a letter a small one
LONGEST_EXPONENT = 5  # e+308
HOLES = np.array([int.from_bytes(word.encode().rjust(WORD, b"\0"), "little") for word in MISSING if word], np.uint64)


class Places(NamedTuple):
    """Positions of cells: where each begins, its last decimal sign (its end, if there is none), and where it ends."""

    starts: np.ndarray
    points: np.ndarray
    ends: np.ndarray

    def of(self, which: np.ndarray) -> Places:
        """Some of them."""
        return Places(self.starts[which], self.points[which], self.ends[which])


@dataclass(frozen=True, eq=False)
class Numbers:
    """What cells hold.

    Parameters
    ----------
    values : nan for holes
    odd : cells that are no such number, or one that must be read by itself
    pointed : cells with a decimal sign
    grouped : of these, the ones whose decimal sign could stand between thousands
    """

    values: np.ndarray
    odd: np.ndarray
    pointed: np.ndarray
    grouped: np.ndarray


def read_numbers(text: np.ndarray, words: np.ndarray, cells: Places) -> Numbers:
    """The numbers of these cells, of which none has a space at its ends, without signs between thousands.

    Parameters
    ----------
    text, words : as :func:`~chainrule.tables.text.digits.pad` returns them
    """
    first = text[cells.starts]
    negative = (first == MINUS).astype(np.int64)
    unsigned = cells._replace(starts=cells.starts + negative)
    if (positive := first == PLUS).any():
        unsigned.starts[positive] += 1
    decimals = read_decimals(words, *unsigned)
    values, odd = quotients(decimals, negative), decimals.odd
    pointed = cells.points < cells.ends
    grouped = decimals.places == 3
    if grouped.any():
        n_whole = cells.points - unsigned.starts
        grouped &= (n_whole >= 1) & (n_whole <= 3) & (text[unsigned.starts] != ZERO)
    if odd.any():
        grouped &= ~odd
        _read_holes(values, odd, words, cells)
        if odd.any():
            _read_exponents(values, odd, text, words, unsigned, negative)
            pointed &= ~odd
    return Numbers(values, odd, pointed, grouped)


def _read_holes(values: np.ndarray, odd: np.ndarray, words: np.ndarray, cells: Places) -> None:
    """Holes among the odd cells become nan, and are odd no more."""
    which = np.flatnonzero(odd)
    ends = cells.ends[which]
    lengths = ends - cells.starts[which]
    names = word_before(words, ends) & LAST_BYTES.take(lengths, mode="clip")
    holes = (lengths == 0) | ((lengths <= WORD) & np.isin(names, HOLES))
    values[which[holes]] = np.nan
    odd[which[holes]] = False


def _read_exponents(
    values: np.ndarray, odd: np.ndarray, text: np.ndarray, words: np.ndarray, unsigned: Places, negative: np.ndarray
) -> None:
    """Numbers with exponents among the odd cells are odd no more."""
    which = np.flatnonzero(odd)
    at = np.zeros_like(which)  # the position of the e
    for distance in range(LONGEST_EXPONENT, 1, -1):
        before = unsigned.ends[which] - distance
        at = np.where((text[before] | SMALL) == SMALL_E, before, at)
    found = at > unsigned.starts[which]
    which, at = which[found], at[found]
    if not len(which):
        return
    starts, points, ends = unsigned.of(which)
    sign = text[at + 1]
    after = at + 1 + ((sign == MINUS) | (sign == PLUS))
    exponents = read_decimals(words, after, ends, ends)
    powers = exponents.digits.view(np.int64)
    np.negative(powers, out=powers, where=sign == MINUS)
    decimals = read_decimals(words, starts, np.minimum(points, at), at)
    found_values, uncertain = products(decimals.digits, powers - decimals.places)
    found_values *= 1 - 2 * negative[which]
    values[which] = found_values
    odd[which] = decimals.odd | exponents.odd | uncertain
