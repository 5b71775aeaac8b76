"""Loops of the activations that are z times a gate.

An activation that is z times a gate (:mod:`chainrule.backends.reference.gated_activations`) takes a dozen passes of
NumPy, and three here: a loop writes what exp is taken of, NumPy takes it, a loop makes it the function or its
derivative. The bits are NumPy's, so what is said there of overflow and accuracy holds here.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numba
import numpy as np

from chainrule.backends.compiled.jit import loop
from chainrule.backends.reference.gated_activations import GELU_TANH_ENDS, MISH_ENDS, SILU_ENDS, TANH_1, TANH_3
from chainrule.backends.reference.normal_tail import DENSITY, DOUBLE, FAR, SHIFT, SINGLE, Polynomial

within: Any = numba.njit(inline="always", error_model="numpy")  # a part of a loop


class Gated(NamedTuple):
    """Loops over flat arrays: ``argument(z, e)``, then e = exp(e), then ``function(z, e)`` or ``derivative(z, e)``.

    Each writes its result to e.
    """

    argument: Any
    function: Any
    derivative: Any


# ---- z times a gate -----------------------------------------------------------------------------------------------


@within
def at_least(z: Any, low: Any) -> Any:
    return low if z < low else z  # a nan stays


@within
def at_most(z: Any, high: Any) -> Any:
    return high if z > high else z


@within
def horner(coefficients: Any, x: Any) -> Any:
    value = coefficients[0]
    for i in range(1, len(coefficients)):
        value = value * x + coefficients[i]
    return value


def _silu(real: Any) -> Gated:
    low, high, one = real(SILU_ENDS[0]), real(SILU_ENDS[1]), real(1)

    @loop
    def argument(z: Any, e: Any) -> None:
        for i in range(z.size):
            e[i] = at_most(at_least(z[i], low), high)

    @loop
    def function(z: Any, e: Any) -> None:
        for i in range(z.size):
            w = e[i]
            e[i] = at_least(z[i], low) * (w / (w + one))

    @loop
    def derivative(z: Any, e: Any) -> None:
        for i in range(z.size):
            w = e[i]
            total = w + one
            e[i] = (at_most(at_least(z[i], low), high) / total + one) * (w / total)

    return Gated(argument, function, derivative)


def _gelu_tanh(real: Any) -> Gated:
    low, high, one = real(GELU_TANH_ENDS[0]), real(GELU_TANH_ENDS[1]), real(1)
    first, third, three_thirds = real(TANH_1), real(TANH_3), real(3 * TANH_3)

    @loop
    def argument(z: Any, e: Any) -> None:
        for i in range(z.size):
            c = at_most(at_least(z[i], low), high)
            e[i] = c * (c * c * third + first)

    @loop
    def function(z: Any, e: Any) -> None:
        for i in range(z.size):
            w = e[i]
            e[i] = at_least(z[i], low) * (w / (w + one))

    @loop
    def derivative(z: Any, e: Any) -> None:
        for i in range(z.size):
            w = e[i]
            c, total = at_most(at_least(z[i], low), high), w + one
            e[i] = (c * (c * c * three_thirds + first) / total + one) * (w / total)

    return Gated(argument, function, derivative)


def _mish(real: Any) -> Gated:
    low, high, one, two, four = real(MISH_ENDS[0]), real(MISH_ENDS[1]), real(1), real(2), real(4)

    @loop
    def argument(z: Any, e: Any) -> None:
        for i in range(z.size):
            e[i] = at_most(at_least(z[i], low), high)

    @loop
    def function(z: Any, e: Any) -> None:
        for i in range(z.size):
            n = e[i] * (e[i] + two)
            e[i] = at_least(z[i], low) * (n / (n + two))

    @loop
    def derivative(z: Any, e: Any) -> None:
        for i in range(z.size):
            w = e[i]
            n = (w + two) * w
            d = n + two
            e[i] = (at_most(at_least(z[i], low), high) * (w * (w + one) / d * four) + n) / d

    return Gated(argument, function, derivative)


def _gelu(real: Any, polynomial: Polynomial) -> Gated:
    odd, even = (tuple(real(c) for c in coefficients) for coefficients in polynomial)
    zero, half, minus_half, one, density = real(0), real(0.5), real(-0.5), real(1), real(DENSITY)
    far, shift, twice_shift = real(FAR), real(SHIFT), real(2 * SHIFT)

    @within
    def mills_ratio(a: Any) -> Any:
        s = one / (a + shift)
        t = one - s * twice_shift
        square = t * t
        return (horner(odd, square) * t + horner(even, square)) * s

    @loop
    def argument(z: Any, e: Any) -> None:
        for i in range(z.size):
            a = at_most(abs(z[i]), far)
            e[i] = a * a * minus_half

    @loop
    def function(z: Any, e: Any) -> None:
        for i in range(z.size):
            a = at_most(abs(z[i]), far)
            e[i] = at_least(z[i], zero) - mills_ratio(a) * e[i] * a

    @loop
    def derivative(z: Any, e: Any) -> None:
        for i in range(z.size):
            a = at_most(abs(z[i]), far)
            e[i] = math.copysign(half - (mills_ratio(a) - a * density) * e[i], z[i]) + half

    return Gated(argument, function, derivative)


GATED: Final[dict[tuple[str, str], Gated]] = {  # by activation and kind of number
    (name, real(0).dtype.char): gated
    for real, polynomial in ((np.float32, SINGLE), (np.float64, DOUBLE))
    for name, gated in {
        "silu": _silu(real),
        "gelu_tanh": _gelu_tanh(real),
        "mish": _mish(real),
        "gelu": _gelu(real, polynomial),
    }.items()
}
