"""What the cells of a text table hold: a number, a truth value, a date, nothing, or text; and the names of labels."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal

import numpy as np

from chainrule.nn.columns.notation import MISSING, PLAIN

MAX_DIGITS = 400  # before or after the point: more than any float64 has
BOOLEANS = {"true": 1.0, "false": 0.0}
BOOLEAN_NAMES = ("False", "True")
NUMBER = PLAIN.pattern
MISWRITTEN = re.compile(r"[+-]?(?:\d{1,3}(?:[., '\xa0\u202f\u2019_]\d{3})+(?:[.,]\d+)?|\d+,\d+(?:[eE][+-]?\d+)?)")
INFINITE = re.compile(r"[+-]?inf(?:inity)?", re.IGNORECASE)
DATE = re.compile(
    r"(?:\d{4}([-/.])\d{1,2}\1\d{1,2}|\d{1,2}([-/.])\d{1,2}\2(?:\d{4}|\d{2}))(?:[T ]\d{1,2}:\d{2}[\d:.,+Z -]*)?",
    re.ASCII,
)
WHOLE = re.compile(r"([+-]?\d+)\.0*", re.ASCII)
GROUPED = re.compile(r"[+-]?[1-9]\d{0,2}(?:\.\d{3})+", re.ASCII)  # thousands with points
WITH_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d*", re.ASCII)


def cell_kind(cell: str) -> str:
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
    """The name of a category, the same in every file: 7 for 7.0, 7. and, with decimal commas, 7,0; else the cell.

    With decimal commas other numbers are named as if written with points: 1.5 for 1,5, and 1500 for 1.500.
    """
    if decimal == ",":
        if GROUPED.fullmatch(cell):
            return cell.replace(".", "")
        if not WITH_COMMA.fullmatch(cell):
            return cell
        cell = cell.replace(".", "").replace(",", ".")
    whole = WHOLE.fullmatch(cell)
    return whole[1] if whole else cell


def label_name(value: object) -> str:
    """The name of a label: text unchanged, True and False, 3 for 3 and 3.0, other numbers as Python prints them.

    Different labels of one type have different names.
    """
    if isinstance(value, bool | np.bool_):
        return BOOLEAN_NAMES[int(value)]
    if isinstance(value, int | np.integer):
        return str(int(value))
    if isinstance(value, Decimal):
        return _decimal_name(value)
    if isinstance(value, float | np.floating) and math.isfinite(value) and value == int(value):
        return str(int(value))
    return str(value)


def _decimal_name(value: Decimal) -> str:
    if not value:
        return "0"
    if not value.is_finite() or abs(value.adjusted()) > MAX_DIGITS:
        return str(value)  # 1E+400: few digits, and refused later like 1e400
    return str(int(value)) if value == int(value) else format(value, "f").rstrip("0")


def first_position(kinds: Sequence[str], *wanted: str) -> int | None:
    """The position of the first of the ``wanted`` kinds."""
    return next((i for i, kind in enumerate(kinds) if kind in wanted), None)
