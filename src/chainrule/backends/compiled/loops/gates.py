"""Loops of the activations that are z times a gate.

An activation that is z times a gate (:mod:`chainrule.backends.reference.gated_activations`) takes a dozen passes of
NumPy, and three here: a loop writes what exp is taken of, NumPy takes it, a loop makes it the function or its
derivative. The bits are NumPy's, so what is said there of overflow and accuracy holds here.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np

from chainrule.backends.compiled.jit import loop, within
from chainrule.backends.reference.gated_activations import GELU_TANH_ENDS, MISH_ENDS, SILU_ENDS, TANH_1, TANH_3
from chainrule.backends.reference.normal_tail import DENSITY, DOUBLE, FAR, SHIFT, SINGLE, Polynomial


class Gated(NamedTuple):
    """Loops: ``argument(z, e)``, then e = exp(e), then ``function(z, e, y)`` or ``gradient(z, e, dz)``.

    The last multiplies dz, which is given as dy, by the derivative.
    """

    argument: Any
    function: Any
    gradient: Any


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


def _gated(argument_of: Any, value_of: Any, derivative_of: Any) -> Gated:
    """The loops of one gate: of its argument at z, then, with w = exp(argument), of its value and its derivative."""

    @loop(writes="e", rows="z e")
    def argument(z: Any, e: Any) -> None:
        n, m = z.shape
        for i in range(n):
            for j in range(m):
                e[i, j] = argument_of(z[i, j])

    @loop(writes="y", rows="z e y")
    def function(z: Any, e: Any, y: Any) -> None:
        n, m = z.shape
        for i in range(n):
            for j in range(m):
                y[i, j] = value_of(z[i, j], e[i, j])

    @loop(writes="dz", rows="z e dz")
    def gradient(z: Any, e: Any, dz: Any) -> None:
        n, m = z.shape
        for i in range(n):
            for j in range(m):
                dz[i, j] *= derivative_of(z[i, j], e[i, j])

    return Gated(argument, function, gradient)


def _logistic_share(low: Any, one: Any) -> Any:
    """z w / (w + 1): the value of a gate that is logistic."""

    @within
    def value(z: Any, w: Any) -> Any:
        return at_least(z, low) * (w / (w + one))

    return value


def _silu(real: Any) -> Gated:
    low, high, one = real(SILU_ENDS[0]), real(SILU_ENDS[1]), real(1)

    @within
    def argument(z: Any) -> Any:
        return at_most(at_least(z, low), high)

    @within
    def derivative(z: Any, w: Any) -> Any:
        total = w + one
        return (at_most(at_least(z, low), high) / total + one) * (w / total)

    return _gated(argument, _logistic_share(low, one), derivative)


def _gelu_tanh(real: Any) -> Gated:
    low, high, one = real(GELU_TANH_ENDS[0]), real(GELU_TANH_ENDS[1]), real(1)
    first, third, three_thirds = real(TANH_1), real(TANH_3), real(3 * TANH_3)

    @within
    def argument(z: Any) -> Any:
        c = at_most(at_least(z, low), high)
        return c * (c * c * third + first)

    @within
    def derivative(z: Any, w: Any) -> Any:
        c, total = at_most(at_least(z, low), high), w + one
        return (c * (c * c * three_thirds + first) / total + one) * (w / total)

    return _gated(argument, _logistic_share(low, one), derivative)


def _mish(real: Any) -> Gated:
    low, high, one, two, four = real(MISH_ENDS[0]), real(MISH_ENDS[1]), real(1), real(2), real(4)

    @within
    def argument(z: Any) -> Any:
        return at_most(at_least(z, low), high)

    @within
    def value(z: Any, w: Any) -> Any:
        u = w * (w + two)
        return at_least(z, low) * (u / (u + two))

    @within
    def derivative(z: Any, w: Any) -> Any:
        u = (w + two) * w
        d = u + two
        return (at_most(at_least(z, low), high) * (w * (w + one) / d * four) + u) / d

    return _gated(argument, value, derivative)


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

    @within
    def argument(z: Any) -> Any:
        a = at_most(abs(z), far)
        return a * a * minus_half

    @within
    def value(z: Any, w: Any) -> Any:
        a = at_most(abs(z), far)
        return at_least(z, zero) - mills_ratio(a) * w * a

    @within
    def derivative(z: Any, w: Any) -> Any:
        a = at_most(abs(z), far)
        return math.copysign(half - (mills_ratio(a) - a * density) * w, z) + half

    return _gated(argument, value, derivative)


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
