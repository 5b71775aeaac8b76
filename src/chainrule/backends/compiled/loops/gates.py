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


def _silu(real: Any) -> Gated:
    low, high, one = real(SILU_ENDS[0]), real(SILU_ENDS[1]), real(1)

    @loop(writes="e", rows="z e")
    def argument(z: Any, e: Any) -> None:
        n, m = z.shape
        for i in range(n):
            for j in range(m):
                e[i, j] = at_most(at_least(z[i, j], low), high)

    @loop(writes="y", rows="z e y")
    def function(z: Any, e: Any, y: Any) -> None:
        n, m = z.shape
        for i in range(n):
            for j in range(m):
                w = e[i, j]
                y[i, j] = at_least(z[i, j], low) * (w / (w + one))

    @loop(writes="dz", rows="z e dz")
    def gradient(z: Any, e: Any, dz: Any) -> None:
        n, m = z.shape
        for i in range(n):
            for j in range(m):
                w = e[i, j]
                total = w + one
                dz[i, j] *= (at_most(at_least(z[i, j], low), high) / total + one) * (w / total)

    return Gated(argument, function, gradient)


def _gelu_tanh(real: Any) -> Gated:
    low, high, one = real(GELU_TANH_ENDS[0]), real(GELU_TANH_ENDS[1]), real(1)
    first, third, three_thirds = real(TANH_1), real(TANH_3), real(3 * TANH_3)

    @loop(writes="e", rows="z e")
    def argument(z: Any, e: Any) -> None:
        n, m = z.shape
        for i in range(n):
            for j in range(m):
                c = at_most(at_least(z[i, j], low), high)
                e[i, j] = c * (c * c * third + first)

    @loop(writes="y", rows="z e y")
    def function(z: Any, e: Any, y: Any) -> None:
        n, m = z.shape
        for i in range(n):
            for j in range(m):
                w = e[i, j]
                y[i, j] = at_least(z[i, j], low) * (w / (w + one))

    @loop(writes="dz", rows="z e dz")
    def gradient(z: Any, e: Any, dz: Any) -> None:
        n, m = z.shape
        for i in range(n):
            for j in range(m):
                w = e[i, j]
                c, total = at_most(at_least(z[i, j], low), high), w + one
                dz[i, j] *= (c * (c * c * three_thirds + first) / total + one) * (w / total)

    return Gated(argument, function, gradient)


def _mish(real: Any) -> Gated:
    low, high, one, two, four = real(MISH_ENDS[0]), real(MISH_ENDS[1]), real(1), real(2), real(4)

    @loop(writes="e", rows="z e")
    def argument(z: Any, e: Any) -> None:
        n, m = z.shape
        for i in range(n):
            for j in range(m):
                e[i, j] = at_most(at_least(z[i, j], low), high)

    @loop(writes="y", rows="z e y")
    def function(z: Any, e: Any, y: Any) -> None:
        n, m = z.shape
        for i in range(n):
            for j in range(m):
                u = e[i, j] * (e[i, j] + two)
                y[i, j] = at_least(z[i, j], low) * (u / (u + two))

    @loop(writes="dz", rows="z e dz")
    def gradient(z: Any, e: Any, dz: Any) -> None:
        n, m = z.shape
        for i in range(n):
            for j in range(m):
                w = e[i, j]
                u = (w + two) * w
                d = u + two
                dz[i, j] *= (at_most(at_least(z[i, j], low), high) * (w * (w + one) / d * four) + u) / d

    return Gated(argument, function, gradient)


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

    @loop(writes="e", rows="z e")
    def argument(z: Any, e: Any) -> None:
        n, m = z.shape
        for i in range(n):
            for j in range(m):
                a = at_most(abs(z[i, j]), far)
                e[i, j] = a * a * minus_half

    @loop(writes="y", rows="z e y")
    def function(z: Any, e: Any, y: Any) -> None:
        n, m = z.shape
        for i in range(n):
            for j in range(m):
                a = at_most(abs(z[i, j]), far)
                y[i, j] = at_least(z[i, j], zero) - mills_ratio(a) * e[i, j] * a

    @loop(writes="dz", rows="z e dz")
    def gradient(z: Any, e: Any, dz: Any) -> None:
        n, m = z.shape
        for i in range(n):
            for j in range(m):
                a = at_most(abs(z[i, j]), far)
                dz[i, j] *= math.copysign(half - (mills_ratio(a) - a * density) * e[i, j], z[i, j]) + half

    return Gated(argument, function, gradient)


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
