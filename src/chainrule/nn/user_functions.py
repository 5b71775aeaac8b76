"""What custom functions share: how they are given, and when a derivative is accepted."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from chainrule.errors import OptionError

Function = Callable[..., Any]

STEP = 1e-6  # of a central difference, in float64
TOLERANCE = 1e-6  # of the slope and of the largest slope: the error of the difference is some 1e-10 of either


def check_given(name: Any, functions: Mapping[str, Any], arguments: str) -> None:
    """OptionError unless the name is a text and the functions can be called."""
    if not isinstance(name, str) or not name:
        raise OptionError(f"name: expected a string, got {name!r}")
    for what, function in functions.items():
        if not callable(function):
            raise OptionError(f"{what} of {name}: expected a function of {arguments}, got {function!r:.60}")


def failure(what: str, error: Exception, arguments: str) -> OptionError:
    """The error for a function of the user's that raises; called with other ``arguments`` than it takes, it says so."""
    hint = f"a function of {arguments}" if isinstance(error, TypeError) else ""
    return OptionError(f"{what} fails: {type(error).__name__}: {error}", hint=hint)


def central_difference(ahead: np.ndarray, behind: np.ndarray) -> np.ndarray:
    """The slope between values a STEP to either side."""
    slope: np.ndarray = (ahead - behind) / (2 * STEP)
    return slope


def disagreement(analytic: np.ndarray, numeric: np.ndarray) -> np.ndarray:
    """The points at which the given derivative is not the numeric slope; a nan never is."""
    scale = np.abs(numeric) + np.abs(numeric).max()
    wrong: np.ndarray = ~(np.abs(analytic - numeric) <= TOLERANCE * scale)
    return wrong


def mismatch(analytic: float, numeric: float) -> str:
    """What an error says of a derivative that was not accepted."""
    if not (math.isfinite(analytic) and math.isfinite(numeric)):
        return f"expected finite numbers, got {analytic:.9g}, and {numeric:.9g} by central difference of its value"
    return f"expected {numeric:.9g} by central difference of its value, got {analytic:.9g}"
