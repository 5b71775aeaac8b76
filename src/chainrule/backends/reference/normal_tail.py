"""The tail of the normal distribution, for GELU: array libraries have no erf.

Q(a) = P(X > a) = erfc(a / sqrt(2)) / 2,  a >= 0,  is exp(-a^2 / 2) times a factor that changes slowly:

s = 1 / (a + 4),   t = 1 - 8 s,   M(a) = Q(a) exp(a^2 / 2) = s (t odd(t^2) + even(t^2))

t runs from -1 to 1 as a runs from 0 to infinity, and one polynomial serves all of it: no branch. Its own relative
error is 2e-9 for float32 and 5e-18 for float64; with rounding M is good to a few units of roundoff, and Q to a^2 more,
since a^2 is rounded. Only + - * / occur, so a compiled loop has the bits of array operations.

Source: Shepherd, Laframboise 1981, Mathematics of Computation 36, page 249, with other coefficients, which
``benchmarks/golden/make_normal_tail.py`` prints.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from chainrule.backends.contract.backend import Array

SHIFT: Final = 4.0
FAR: Final = 40.0  # Q(40) is 0 in every dtype; from here on a stands still, so that it may be infinite
DENSITY: Final = 0.39894228040143268  # of the normal distribution at 0: 1 / sqrt(2 pi)


class Polynomial(NamedTuple):
    """Coefficients, that of the highest power first."""

    odd: tuple[float, ...]
    even: tuple[float, ...]


SINGLE: Final = Polynomial(
    odd=(
        2.118298425522466e-05,
        -0.0002155737762864521,
        0.0016220401055284282,
        -0.007537717159683632,
        -0.1865221598399514,
        -0.6078966313662241,
    ),
    even=(
        -1.7310823014754179e-06,
        0.00013365338709444132,
        -0.0034799546374434,
        0.060396648278004936,
        0.38713739385984314,
        0.7552851305166057,
    ),
)
DOUBLE: Final = Polynomial(
    odd=(
        1.175478991480774e-10,
        -8.546521899880147e-10,
        1.4329918401088613e-09,
        1.4630727405651175e-08,
        -1.5650236461993106e-07,
        1.0225604158296038e-06,
        -5.920586519556891e-06,
        3.514479478753355e-05,
        -0.00023109495324019437,
        0.001630818459394586,
        -0.00754018896682524,
        -0.18652185795965484,
        -0.6078966419718921,
    ),
    even=(
        3.403312308649495e-10,
        -3.73064508186837e-09,
        2.1427603843452355e-08,
        -8.686647015997893e-08,
        2.7246296951145873e-07,
        -6.298367338492369e-07,
        7.166587641195121e-07,
        -1.908246351414571e-06,
        0.00013334430941183256,
        -0.0034796923670479736,
        0.060396574890917876,
        0.3871374007422149,
        0.7552851304157515,
    ),
)


def mills_ratio(xp: Any, a: Array, out: Array, scratch: Callable[..., Array]) -> None:
    """out = M(a).   a in [0, FAR], or complex with such a real part; ``scratch(use=...)`` gives memory like it."""
    s, t, square = scratch(use="sum"), scratch(use="variable"), scratch(use="square")
    polynomial = SINGLE if a.dtype.char == "f" else DOUBLE
    xp.add(a, SHIFT, out=s)
    xp.divide(1, s, out=s)
    xp.multiply(s, 2 * SHIFT, out=t)
    xp.subtract(1, t, out=t)
    xp.multiply(t, t, out=square)
    _horner(xp, polynomial.odd, square, out)
    xp.multiply(out, t, out=out)
    _horner(xp, polynomial.even, square, t)
    xp.add(out, t, out=out)
    xp.multiply(out, s, out=out)


def _horner(xp: Any, coefficients: tuple[float, ...], x: Array, out: Array) -> None:
    first, *rest = coefficients
    out.fill(first)
    for coefficient in rest:
        xp.multiply(out, x, out=out)
        xp.add(out, coefficient, out=out)
