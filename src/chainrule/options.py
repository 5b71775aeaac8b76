"""Checks of option values: each returns the value, or raises an OptionError that says what was expected."""

from __future__ import annotations

import math
import numbers
import operator
from typing import Any

from chainrule.errors import OptionError
from chainrule.plain_text import show


def whole_number(name: str, value: Any, *, low: int = 1, below: int | None = None) -> int:
    """An integer, also of NumPy, from ``low``; less than ``below`` if that is given."""
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if isinstance(value, bool) or number < low or (below is not None and number >= below):
        limit = "up" if below is None else f"to below {below}"
        raise OptionError(f"{name}: expected a whole number from {low} {limit}, got {show(value)}")
    return number


def real_number(name: str, value: Any, *, low: float = 0.0, below: float = math.inf, above: bool = False) -> float:
    """A finite number of at least ``low`` (with ``above``: greater than it) and less than ``below``."""
    try:
        good = isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an int beyond the range of float
        good = False
    if not good or not (low < value if above else low <= value) or not value < below:
        start = f"above {low:g}" if above else f"from {low:g}"
        limit = ("" if above else " up") if math.isinf(below) else f" to below {below:g}"
        raise OptionError(f"{name}: expected a finite number {start}{limit}, got {show(value)}")
    return float(value)


def one_of(name: str, value: Any, choices: Any) -> Any:
    """One of the names ``choices``."""
    if not isinstance(value, str) or value not in choices:
        raise OptionError(f"unknown {name} {show(value)}", hint=f"one of {', '.join(choices)}")
    return value
