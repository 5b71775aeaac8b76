"""How the numbers in a table of text are written: a model keeps it, and reads every later table the same way."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from chainrule.errors import OptionError

if TYPE_CHECKING:
    from chainrule.nn.table_columns import ColumnData

# Cells that say that nothing is there; and how Python and pandas call nothing where they print it (nan is above).
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
    """

    decimal: str
    thousands: str = ""

    def __post_init__(self) -> None:
        signs = ("", "." if self.decimal == "," else ",", SPACES, APOSTROPHES)
        if self.decimal not in {".", ","} or self.thousands not in signs:
            raise OptionError(
                f"expected a point or a comma as the decimal sign and another sign between thousands, "
                f"got {self.decimal!r:.20} and {self.thousands!r:.20}"
            )

    @property
    def example(self) -> str:
        """A number in this notation, for messages."""
        return f"1{self.thousands[:1]}234{self.decimal}5"

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        """Of a whole cell."""
        d = re.escape(self.decimal)
        number = rf"(?:\d+(?:{d}\d*)?|{d}\d+)(?:[eE][+-]?\d+)?"
        if self.thousands:  # nobody writes 1.234e3 for 1234e3, or 0.234 for 234
            number = rf"(?:[1-9]\d{{0,2}}(?:[{re.escape(self.thousands)}]\d{{3}})+(?:{d}\d*)?|{number})"
        return re.compile(rf"[+-]?{number}", re.ASCII)

    def number(self, cell: str) -> float:
        """The number in a stripped cell; nan for a missing one; ValueError if there is none or it is not finite."""
        if cell in MISSING:
            return math.nan
        if not self.pattern.fullmatch(cell):
            raise ValueError("no number in this notation")
        value = float(self.plain(cell))
        if not math.isfinite(value):
            raise ValueError("no finite number")
        return value

    def whole(self, cell: str) -> int | None:
        """The whole number in a cell that :meth:`number` reads, exactly; None if it is not whole."""
        value = Decimal(self.plain(cell))
        return int(value) if value == value.to_integral_value() else None

    def plain(self, cell: str) -> str:
        """A number of this notation as Python writes it: a point before the decimals, nothing between the thousands."""
        for sign in self.thousands:
            cell = cell.replace(sign, "")
        return cell.replace(self.decimal, ".")

    def shows_in(self, text: str) -> bool:
        """Whether a sign that another notation would read differently is in numbers that this one reads."""
        return self.decimal in text or (self.thousands in {".", ","} and self.thousands in text)

    def describe(self) -> dict[str, str]:
        """For the model file."""
        return {"decimal": self.decimal, "thousands": self.thousands}

    @classmethod
    def from_description(cls, description: Any) -> Self:
        """What :meth:`describe` described; TypeError or OptionError if it is no notation."""
        if not isinstance(description, dict) or not all(isinstance(sign, str) for sign in description.values()):
            raise TypeError(f"a notation should be two texts, not {description!r:.60}")
        return cls(**description)


PLAIN = Notation(".")
NOTATIONS = (
    PLAIN,
    Notation(","),
    *(Notation(",", signs) for signs in (".", SPACES, APOSTROPHES)),
    *(Notation(".", signs) for signs in (",", SPACES, APOSTROPHES)),
)


class TableColumns(dict[str, "ColumnData"]):
    """The columns of a table by name, in order, and how the numbers were written.

    Parameters
    ----------
    columns : name to column
    notations : of the columns whose cells said how their numbers are written, or that share a file with such cells;
        none of a typed column (Parquet, a DataFrame)
    target : the same of the target
    """

    def __init__(
        self, columns: Mapping[str, ColumnData], *, notations: Mapping[str, Notation] | None = None,
        target: Notation | None = None,
    ) -> None:  # fmt: skip
        super().__init__(columns)
        self.notations: Mapping[str, Notation] = dict(notations or {})
        self.target_notation = target
