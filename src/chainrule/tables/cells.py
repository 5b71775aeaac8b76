"""What the cells of a text table say: a number and in which notation, yes or no, a date, nothing, or text."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property

import numpy as np

from chainrule.nn.table_columns import MISSING

BOOLEANS = {"true": 1.0, "false": 0.0}
BOOLEAN_NAMES = ("False", "True")
NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?", re.ASCII)
MISWRITTEN = re.compile(r"[+-]?(?:\d{1,3}(?:[., '\xa0\u202f\u2019_]\d{3})+(?:[.,]\d+)?|\d+,\d+(?:[eE][+-]?\d+)?)")
INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
DATE = re.compile(
    r"(?:\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2(?:\d{4}|\d{2}))(?:[T ]\d{1,2}:\d{2}[\d:.,+Z -]*)?",
    re.ASCII,
)
WHOLE = re.compile(r"([+-]?\d+)\.0*", re.ASCII)
WITH_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d*", re.ASCII)


@dataclass(frozen=True)
class Notation:
    """How numbers are written: the decimal sign, and the signs that may stand between thousands."""

    decimal: str
    thousands: str

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Of a whole cell."""
        d = re.escape(self.decimal)
        whole = r"\d+"
        if self.thousands:
            sign = f"[{re.escape(self.thousands)}]"
            whole = rf"(?:\d{{1,3}}(?:{sign}\d{{3}})+|\d+)"
        return re.compile(rf"[+-]?(?:{whole}(?:{d}\d*)?|{d}\d+)(?:[eE][+-]?\d+)?", re.ASCII)

    def whole(self, cell: str) -> int | None:
        """The whole number in a cell that :meth:`number` reads, exactly; None if it is not whole."""
        for sign in self.thousands:
            cell = cell.replace(sign, "")
        value = Decimal(cell.replace(self.decimal, "."))
        return int(value) if value == value.to_integral_value() else None

    def number(self, cell: str) -> float:
        """The number in a stripped cell; nan for a missing one; ValueError where there is none or it is not finite."""
        if cell in MISSING:
            return math.nan
        if not self.pattern.fullmatch(cell):
            raise ValueError("no number in this notation")
        for sign in self.thousands:
            cell = cell.replace(sign, "")
        value = float(cell.replace(self.decimal, "."))
        if not math.isfinite(value):
            raise ValueError("no finite number")
        return value


PLAIN = Notation(".", "")
SPACES = " \xa0\u202f"
NOTATIONS = (
    PLAIN,
    Notation(",", ""),
    *(Notation(",", sign) for sign in (".", SPACES, "'\u2019")),
    *(Notation(".", sign) for sign in (",", SPACES, "'\u2019")),
)


def notations_of(cells: Iterable[str]) -> list[Notation]:
    """The notations in which every cell (stripped, none missing) is a finite number; the first of each meaning.

    Where there are several, they disagree about some cell: 1,234 may be 1234 or 1.234.
    """
    cells = list(cells)
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


def decimal_sign(notation: Notation, cells: Iterable[str]) -> str:
    """The decimal sign that these numbers are sure to use; empty where none of them has decimals."""
    other = "," if notation.decimal == "." else "."
    sure = notation.thousands == other  # 1.234,5: what separates thousands is not the decimal sign
    return notation.decimal if sure or any(notation.decimal in cell for cell in cells) else ""


def looks_grouped(cells: Iterable[str]) -> bool:
    """Whether every point among these numbers could stand between thousands: 1.234 in a file of decimal commas."""
    pointed = [cell for cell in cells if "." in cell]
    return bool(pointed) and all(re.fullmatch(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+", cell, re.ASCII) for cell in pointed)


def kind_of(cell: str) -> str:
    """What a stripped cell holds: "missing", "number", "infinite", "boolean", "miswritten", "date" or "text"."""
    if cell in MISSING:
        return "missing"
    if NUMBER.fullmatch(cell):
        return "number" if math.isfinite(float(cell)) else "infinite"
    if INFINITE.fullmatch(cell):
        return "infinite"
    if cell.lower() in BOOLEANS:
        return "boolean"
    if DATE.fullmatch(cell):
        return "date"
    return "miswritten" if MISWRITTEN.fullmatch(cell) else "text"


def category_name(cell: str, decimal: str = ".") -> str:
    """The name of a category, the same from whatever file: 7 for 7.0, 7. and with decimal commas 7,0; else the cell."""
    if decimal == ",":
        if not WITH_COMMA.fullmatch(cell):  # 1.000 is a thousand there
            return cell
        cell = cell.replace(".", "").replace(",", ".")
    whole = WHOLE.fullmatch(cell)
    return whole[1] if whole else cell


def label_name(value: object) -> str:
    """The name of a label: text as it stands, True and False, 3 for 3 and for 3.0, other numbers as Python has them.

    Labels of one type that differ have different names.
    """
    if isinstance(value, bool | np.bool_):
        return BOOLEAN_NAMES[int(value)]
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, float | np.floating | Decimal) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return format(value, "f").rstrip("0") if isinstance(value, Decimal) else str(value)


def first_of(kinds: Sequence[str], *wanted: str) -> int | None:
    """The position of the first of the ``wanted`` kinds."""
    return next((i for i, kind in enumerate(kinds) if kind in wanted), None)
