"""Checks of option values: each returns the value, or raises an OptionError that says what was expected."""

from __future__ import annotations

import math
import numbers
import operator
import re
from collections.abc import Collection, Mapping
from typing import Any

from chainrule.errors import OptionError
from chainrule.plain_text import show

MAX_SEARCHED = 2_000  # names that are searched for a near miss; difflib takes 50 us per name
DIGITS = re.compile(r"[0-9]+")

OTHER_NAMES = {  # what other libraries call it, in lower case with "_"
    "mse": "squared_error",
    "rmse": "squared_error",
    "l2": "squared_error",
    "mae": "absolute_error",
    "l1": "absolute_error",
    "cross_entropy": "softmax_cross_entropy",
    "crossentropy": "softmax_cross_entropy",
    "categorical_crossentropy": "softmax_cross_entropy",
    "sparse_categorical_crossentropy": "softmax_cross_entropy",
    "log_loss": "softmax_cross_entropy",
    "bce": "sigmoid_cross_entropy",
    "binary_cross_entropy": "sigmoid_cross_entropy",
    "binary_crossentropy": "sigmoid_cross_entropy",
    "auc": "roc_auc",
    "acc": "accuracy",
    "classification": "classify",
    "regression": "regress",
    "swish": "silu",
    "logistic": "sigmoid",
    "linear": "identity",
    "gpu": "cuda",
    "float16": "float32",
    "float32": "fp32",
    "bfloat16": "bf16",
}


def suggest(name: str, names: Collection[str], other_names: Mapping[str, str] = OTHER_NAMES) -> str:
    """A hint if one of ``names`` is ``name`` in other case, what ``other_names`` has for it, or close; else empty.

    What differs in digits alone is another thing, not a slip: 'x1' is none for 'x2'.
    """
    found = closest(name, names, other_names)
    return "" if found is None else f"did you mean {show(found)}?"


def closest(name: str, names: Collection[str], other_names: Mapping[str, str] = OTHER_NAMES) -> str | None:
    """That of ``names`` which :func:`suggest` suggests; None for none."""
    folded = {_fold(known): known for known in names}
    if (found := folded.get(_fold(name))) is None:
        found = other_names.get(_fold(name))
    if found is None or found not in names:
        found = _nearest(_fold(name), folded) if len(names) <= MAX_SEARCHED else None
    return found


def _fold(name: str) -> str:
    return name.lower().replace("-", "_")


def _nearest(name: str, folded: Mapping[str, str]) -> str | None:
    import difflib  # slow to import, and needed for errors only

    near = difflib.get_close_matches(name, folded, n=10)
    return next((folded[known] for known in near if DIGITS.sub("0", known) != DIGITS.sub("0", name)), None)


def whole_number(name: str, value: Any, *, low: int = 1, below: int | None = None) -> int:
    """An integer, also of NumPy, from ``low``; less than ``below`` if that is given."""
    try:
        number = operator.index(value)
    except TypeError:
        number = low - 1
    if isinstance(value, bool) or number < low or (below is not None and number >= below):
        limit = "up" if below is None else f"to below {_power(below)}"
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
        hint = suggest(value, choices) if isinstance(value, str) else ""
        raise OptionError(f"{name}: expected one of {', '.join(choices)}, got {show(value)}", hint=hint)
    return value


def _power(number: int) -> str:
    """A number for a message: a large power of two as such."""
    exponent = number.bit_length() - 1
    return f"2^{exponent}" if exponent >= 16 and number == 1 << exponent else str(number)
