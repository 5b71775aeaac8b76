"""The activations that are z times a gate, in plain array operations, each function beside its derivative.

The gate opens from 0 to 1 as z grows, and act' is no function of the output: these go down before they go up. They are
right for every z, infinite or not: exp is taken of numbers below 50 only, and z is held at a fixed
number once its gate is 0. See :mod:`chainrule.backends.reference.activations` for how they are called.
"""

from __future__ import annotations

from typing import Any, Final, Protocol

from chainrule.backends.contract.backend import Array
from chainrule.backends.reference.normal_tail import DENSITY, FAR, mills_ratio


class Scratch(Protocol):
    """Memory for an intermediate result."""

    def __call__(self, *, use: str) -> Array: ...


# 1 + tanh(u) = 2 sigmoid(2 u), with 2 u = TANH_1 z + TANH_3 z^3
TANH_1: Final = 1.5957691216057308  # 2 sqrt(2 / pi)
TANH_3: Final = TANH_1 * 0.044715

# Beyond these the gate is 0 or 1 to the last digit, and what is computed on the way is in the range of float32.
SILU_ENDS: Final = (-800.0, 40.0)
GELU_TANH_ENDS: Final = (-40.0, 8.0)
MISH_ENDS: Final = (-800.0, 30.0)


def positive_part(xp: Any, z: Array, out: Array) -> None:
    """out = max(z, 0)."""
    if z.dtype.kind == "c":  # under the complex step: the slope at the kink is 0 in the backward pass, so here too
        xp.multiply(z, z.real > 0, out=out)
    else:
        xp.maximum(z, 0, out=out)


def _open_sigmoid(xp: Any, w: Array, scratch: Scratch) -> Array:
    """w = exp(v) becomes sigmoid(v) = w / (w + 1), without cancellation. Returns w + 1."""
    sum_ = scratch(use="sum")
    xp.add(w, 1, out=sum_)
    xp.divide(w, sum_, out=w)
    return sum_


def silu(xp: Any, z: Array, out: Array, scratch: Scratch) -> None:
    w = scratch(use="gate")
    lowest, highest = SILU_ENDS
    xp.maximum(z, lowest, out=out)
    xp.minimum(out, highest, out=w)
    xp.exp(w, out=w)
    _open_sigmoid(xp, w, scratch)
    xp.multiply(out, w, out=out)


def silu_derivative(xp: Any, z: Array, out: Array, scratch: Scratch) -> None:
    w = scratch(use="gate")
    xp.clip(z, *SILU_ENDS, out=out)
    xp.exp(out, out=w)
    sum_ = _open_sigmoid(xp, w, scratch)
    xp.divide(out, sum_, out=out)  # z (1 - s), with 1 - s = 1 / (w + 1)
    xp.add(out, 1, out=out)
    xp.multiply(out, w, out=out)


def gelu_tanh(xp: Any, z: Array, out: Array, scratch: Scratch) -> None:
    w, square = scratch(use="gate"), scratch(use="square")
    lowest, highest = GELU_TANH_ENDS
    xp.maximum(z, lowest, out=out)
    xp.minimum(out, highest, out=w)
    _cubic(xp, w, square, TANH_3)
    xp.multiply(w, square, out=w)
    xp.exp(w, out=w)
    _open_sigmoid(xp, w, scratch)
    xp.multiply(out, w, out=out)


def gelu_tanh_derivative(xp: Any, z: Array, out: Array, scratch: Scratch) -> None:
    w, square = scratch(use="gate"), scratch(use="square")
    xp.clip(z, *GELU_TANH_ENDS, out=out)
    _cubic(xp, out, square, TANH_3)
    xp.multiply(out, square, out=w)
    xp.exp(w, out=w)
    sum_ = _open_sigmoid(xp, w, scratch)
    _cubic(xp, out, square, 3 * TANH_3)
    xp.multiply(out, square, out=out)
    xp.divide(out, sum_, out=out)
    xp.add(out, 1, out=out)
    xp.multiply(out, w, out=out)


def _cubic(xp: Any, z: Array, out: Array, third: float) -> None:
    """out = TANH_1 + third z^2."""
    xp.multiply(z, z, out=out)
    xp.multiply(out, third, out=out)
    xp.add(out, TANH_1, out=out)


# With w = exp(z), n = w (w + 2) and d = n + 2:  tanh(log(1 + w)) = ((1 + w)^2 - 1) / ((1 + w)^2 + 1) = n / d.


def mish(xp: Any, z: Array, out: Array, scratch: Scratch) -> None:
    w, sum_ = scratch(use="gate"), scratch(use="sum")
    lowest, highest = MISH_ENDS
    xp.maximum(z, lowest, out=out)
    xp.minimum(out, highest, out=w)
    xp.exp(w, out=w)
    xp.add(w, 2, out=sum_)
    xp.multiply(w, sum_, out=w)
    xp.add(w, 2, out=sum_)
    xp.divide(w, sum_, out=w)
    xp.multiply(out, w, out=out)


def mish_derivative(xp: Any, z: Array, out: Array, scratch: Scratch) -> None:
    """n / d + z 4 w (w + 1) / d^2."""
    w, n, d = scratch(use="gate"), scratch(use="square"), scratch(use="sum")
    xp.clip(z, *MISH_ENDS, out=out)
    xp.exp(out, out=w)
    xp.add(w, 2, out=n)
    xp.multiply(n, w, out=n)
    xp.add(w, 1, out=d)
    xp.multiply(w, d, out=w)
    xp.add(n, 2, out=d)
    xp.divide(w, d, out=w)
    xp.multiply(w, 4, out=w)
    xp.multiply(out, w, out=out)
    xp.add(out, n, out=out)
    xp.divide(out, d, out=out)


# With a = |z| and Q the tail of the normal distribution:  z Phi(z) = max(z, 0) - a Q(a)  on both sides of 0, and
# Phi(z) + z phi(z) is D = Q(a) - a phi(a) below 0 and 1 - D above.


def gelu(xp: Any, z: Array, out: Array, scratch: Scratch) -> None:
    a, e, m = scratch(use="distance"), scratch(use="sum"), scratch(use="gate")
    if z.dtype.kind == "c":
        xp.multiply(z, 2 * (z.real > 0) - 1, out=a)
    else:
        xp.absolute(z, out=a)
    xp.minimum(a, FAR, out=a)
    mills_ratio(xp, a, m, scratch)
    _bell(xp, a, e)
    xp.multiply(m, e, out=m)
    xp.multiply(m, a, out=m)
    positive_part(xp, z, out)
    xp.subtract(out, m, out=out)


def gelu_derivative(xp: Any, z: Array, out: Array, scratch: Scratch) -> None:
    a, e, m = scratch(use="distance"), scratch(use="sum"), scratch(use="gate")
    xp.absolute(z, out=a)
    xp.minimum(a, FAR, out=a)
    mills_ratio(xp, a, m, scratch)
    _bell(xp, a, e)
    xp.multiply(a, DENSITY, out=a)
    xp.subtract(m, a, out=m)
    xp.multiply(m, e, out=m)  # D
    xp.subtract(0.5, m, out=m)
    xp.copysign(m, z, out=m)
    xp.add(m, 0.5, out=out)


def _bell(xp: Any, a: Array, out: Array) -> None:
    """out = exp(-a^2 / 2)."""
    xp.multiply(a, a, out=out)
    xp.multiply(out, -0.5, out=out)
    xp.exp(out, out=out)
