"""In which notation the cells of a text column are numbers: by the column, by its file, or as a model knows it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from chainrule.nn.columns.notation import MISSING, NOTATIONS, PLAIN, Notation
from chainrule.nn.columns.units import without_common_unit
from chainrule.tables.text.parsing import GROUPED

LIKE_A_NUMBER = re.compile(r"[+-]?[\d.,'\u2019 \xa0\u202f]+(?:[eE][+-]?\d+)?", re.ASCII)  # in any notation


def notations_of(cells: Iterable[str]) -> list[Notation]:
    """The notations in which every cell (stripped, none missing) is a finite number; the first of each meaning.

    If there are several, they disagree about some cell: 1,234 may be 1234 or 1.234.
    """
    cells = list(cells)
    if cells and cells[0] not in MISSING and not LIKE_A_NUMBER.fullmatch(cells[0]):
        return []  # most columns of text are known by their first cell, and a table may have very many
    found: list[Notation] = []
    readings: list[list[float]] = []
    for notation in NOTATIONS:
        try:
            numbers = [notation.number(cell) for cell in cells]
        except ValueError:
            continue
        if notation == PLAIN:
            return [PLAIN]
        if numbers not in readings:
            readings.append(numbers)
            found.append(notation)
    return found


def may_be_thousands(cells: Iterable[str]) -> bool:
    """Whether every point among these numbers could stand between thousands: 1.234 in a file of decimal commas."""
    pointed = [cell for cell in cells if "." in cell]
    return bool(pointed) and all(map(GROUPED.fullmatch, pointed))


def choose_notation(cells: Sequence[str], decimals: Collection[str]) -> Notation | None:
    """How the numbers are written if every cell is one and there is no doubt; else None.

    ``decimals`` are the decimal signs that the columns of the file are certain to use.
    """
    found = notations_of(cells) if cells else [PLAIN]
    if found == [PLAIN] and set(decimals) == {","} and may_be_thousands(cells):
        found.append(Notation(",", "."))
    if len(found) > 1 and len(set(decimals)) == 1:
        found = [notation for notation in found if notation.decimal in decimals]
    return found[0] if len(found) == 1 else None


def certain_decimal_sign(texts: Iterable[str]) -> str | None:
    """The decimal sign that a column of these cells is certain to use; "" if it shows none or holds text.

    A unit that all of them have is left out. None if that depends on the other columns of the file: 1.234 or 1,234 in
    every cell that shows a sign.
    """
    present = without_common_unit([text for text in texts if text not in MISSING])
    found = notations_of(present) if present else []
    if len(found) > 1 or (found == [PLAIN] and may_be_thousands(present)):
        return None
    return found[0].decimal if found and any(map(found[0].shows_in, present)) else ""


def match_known_notation(known: Notation, cell: str) -> Notation | None:
    """The notation in which a cell (stripped, not missing) is a number, given the known one of its column; else None.

    The decimal sign is the known one; so is the unit, which may be missing. An unknown sign between thousands is
    accepted if it leaves no doubt: 1.234,5 and 1 234 do, 1.234 may be meant with a decimal point.
    """
    bare, cell = known.bare, known.without_unit(cell)
    for notation in (bare, *(n for n in NOTATIONS if n.decimal == bare.decimal and n != bare)):
        if not notation.reads(cell):
            continue
        other = Notation(notation.thousands) if notation.thousands in {".", ","} else None
        if other and notation != bare and other.pattern.fullmatch(cell):
            return None
        return replace(notation, unit=known.unit) if known.unit else notation
    return None


def first_mismatch(cells: Sequence[str], rows: Sequence[int]) -> tuple[Notation, int]:
    """The notation in which most rows are numbers, and the position of the first cell that is none in it.

    ``rows`` says how many rows hold each of the cells (all different, no one notation for all of them). A decimal point
    goes before a comma if the two have equally many.
    """
    best, unread, most = PLAIN, list(range(len(cells))), -1
    for notation in sorted(NOTATIONS, key=lambda notation: notation.decimal, reverse=True):
        mismatches = [i for i, cell in enumerate(cells) if not notation.reads(cell)]
        count = sum(rows) - sum(rows[i] for i in mismatches)
        if count > most:
            best, unread, most = notation, mismatches, count
    return best, unread[0]


def notation_if_visible(notation: Notation, cells: Iterable[str]) -> Notation | None:
    """The notation if a cell shows it: whole numbers without a sign are written the same in every notation."""
    return notation if any(map(notation.shows_in, cells)) else None


def complete_notations(
    visible: Mapping[str, Notation | None], decimals: Collection[str] = (), units: Mapping[str, str] | None = None
) -> dict[str, Notation]:
    """The notation of each column: its own, or that of the file if the column shows none and the file has only one.

    Parameters
    ----------
    visible : by column, the notation that its cells show
    decimals : decimal signs that the columns of the file are certain to use, also those that are not in ``visible``
    units : of the columns that have one, which always have a notation
    """
    signs = {name: None if notation is None else notation.bare for name, notation in visible.items()}
    complete = _complete_signs(signs, decimals)
    return complete | {
        name: replace(complete.get(name, PLAIN), unit=unit) for name, unit in (units or {}).items() if unit
    }


def _complete_signs(visible: Mapping[str, Notation | None], decimals: Collection[str]) -> dict[str, Notation]:
    found = [notation for notation in visible.values() if notation is not None]
    decimal, *others = {notation.decimal for notation in found} or set(decimals) or {""}
    if others or not decimal:
        return {name: notation for name, notation in visible.items() if notation is not None}
    signs = {notation.thousands for notation in found} - {""}
    common = Notation(decimal, signs.pop() if len(signs) == 1 else "")
    return {
        name: notation if notation is not None and notation.thousands else common for name, notation in visible.items()
    }
