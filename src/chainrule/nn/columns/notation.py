"""How the numbers in a table of text are written: a model keeps it, and reads every later table the same way."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from functools import cached_property
from typing import Any, Self

from chainrule.errors import OptionError
from chainrule.nn.columns.units import is_unit, split_unit

# Cells that mean a missing value; and what Python and pandas print for one (nan is in the first).
MISSING = frozenset({"", "NA", "N/A", "n/a", "#N/A", "nan", "NaN", "NAN", "null", "NULL", "Null", "?"})
NOTHING = frozenset({"None", "<NA>", "NaT"})

SPACES, APOSTROPHES = " \xa0\u202f", "'\u2019"


@dataclass(frozen=True)
class Notation:
    """How numbers are written.

    Parameters
    ----------
    decimal : the decimal sign, a point or a comma
    thousands : the signs of which one may stand between groups of three digits; empty for none
    unit : a sign or unit that may stand beside a number, see :mod:`chainrule.nn.columns.units`; empty for none
    """

    decimal: str
    thousands: str = ""
    unit: str = ""

    def __post_init__(self) -> None:
        signs = ("", "." if self.decimal == "," else ",", SPACES, APOSTROPHES)
        if self.decimal not in {".", ","} or self.thousands not in signs:
            raise OptionError(
                f"expected a point or a comma as the decimal sign and another sign between thousands, "
                f"got {self.decimal!r:.20} and {self.thousands!r:.20}"
            )
        if self.unit and not is_unit(self.unit):
            raise OptionError(f"expected a known sign or unit beside a number, got {self.unit!r:.20}")

    @property
    def example(self) -> str:
        """A number in this notation, for messages."""
        number = f"1{self.thousands[:1]}234{self.decimal}5"
        return f"{number} {self.unit}" if self.unit else number

    @property
    def bare(self) -> Notation:
        """The same without a unit."""
        return replace(self, unit="") if self.unit else self

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Of a whole cell, its unit aside."""
        d = re.escape(self.decimal)
        number = rf"(?:\d+(?:{d}\d*)?|{d}\d+)(?:[eE][+-]?\d+)?"
        if self.thousands:  # nobody writes 1.234e3 for 1234e3, or 0.234 for 234
            number = rf"(?:[1-9]\d{{0,2}}(?:[{re.escape(self.thousands)}]\d{{3}})+(?:{d}\d*)?|{number})"
        return re.compile(rf"[+-]?{number}", re.ASCII)

    def number(self, cell: str) -> float:
        """The number in a stripped cell; nan for a missing one; ValueError if there is none or it is not finite."""
        if cell in MISSING:
            return math.nan
        cell = self.without_unit(cell)
        if not self.pattern.fullmatch(cell):
            raise ValueError("no number in this notation")
        value = float(self.plain(cell))
        if not math.isfinite(value):
            raise ValueError("no finite number")
        return value

    def without_unit(self, cell: str) -> str:
        """A stripped cell without this unit, if it has that."""
        if not self.unit:
            return cell
        unit, number = split_unit(cell)
        return number if unit == self.unit else cell

    def reads(self, cell: str) -> bool:
        """Whether :meth:`number` takes this cell."""
        try:
            self.number(cell)
        except ValueError:
            return False
        return True

    def whole(self, cell: str) -> int | None:
        """The whole number in a cell that :meth:`number` reads, exactly; None if it is not whole."""
        try:
            value = Decimal(self.plain(cell))
        except InvalidOperation:  # an exponent beyond 10^18: of a number that float64 has, it is 0 or nearly so
            return None if re.search("[1-9]", re.split("[eE]", self.without_unit(cell))[0]) else 0
        if not value:
            return 0  # whatever its exponent
        return int(value) if value == value.to_integral_value() else None

    def plain(self, cell: str) -> str:
        """A number of this notation as Python writes it: a point before the decimals, nothing between the thousands."""
        cell = self.without_unit(cell)
        for sign in self.thousands:
            cell = cell.replace(sign, "")
        return cell.replace(self.decimal, ".")

    def shows_in(self, text: str) -> bool:
        """Whether a sign that another notation would read differently is in numbers that this one reads."""
        return self.decimal in text or (self.thousands in {".", ","} and self.thousands in text)

    def describe(self) -> dict[str, str]:
        """For the model file."""
        signs = {"decimal": self.decimal, "thousands": self.thousands}
        return {**signs, "unit": self.unit} if self.unit else signs

    @classmethod
    def from_description(cls, description: Any) -> Self:
        """The inverse of :meth:`describe`; TypeError or OptionError if it describes no notation."""
        if not isinstance(description, dict) or not all(isinstance(sign, str) for sign in description.values()):
            raise TypeError(f"notation: expected texts, got {description!r:.60}")
        return cls(**description)


PLAIN = Notation(".")
NOTATIONS = (
    PLAIN,
    Notation(","),
    *(Notation(",", signs) for signs in (".", SPACES, APOSTROPHES)),
    *(Notation(".", signs) for signs in (",", SPACES, APOSTROPHES)),
)


def check_notation(name: str, notation: Any) -> None:
    """OptionError if the notation of column ``name`` is neither a Notation nor None."""
    if not isinstance(notation, Notation | None):
        raise OptionError(f"expected a Notation or None for {name!r:.60}, got {notation!r:.60}")


def describe_notation(notation: Notation | None) -> dict[str, Any]:
    """The entry of a column's description in the model file; none for a column without a notation."""
    return {} if notation is None else {"notation": notation.describe()}
