"""The activations in plain array operations, each function beside its derivative.

``f(xp, z, out, scratch)`` writes act(z), and ``out`` may be z. ``f_derivative(xp, saved, out, scratch)`` writes act' as
a function of what the layer keeps: the output y if that is enough, else the input z. ``scratch(use=...)`` is memory
of the same shape and dtype.

The functions also carry complex arrays, for the complex step; derivatives do not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from chainrule.backends.contract.backend import Array
from chainrule.backends.reference.gated_activations import (
    Scratch,
    gelu,
    gelu_derivative,
    gelu_tanh,
    gelu_tanh_derivative,
    mish,
    mish_derivative,
    positive_part,
    silu,
    silu_derivative,
)

SLOPE: Final = 0.01  # of leaky_relu below 0

# Klambauer et al. 2017, equation 14: with these two, mean 0 and variance 1 are a fixed point.
SELU_SCALE: Final = 1.0507009873554805
SELU_ALPHA: Final = 1.6732632423543772
SELU_FLOOR: Final = SELU_SCALE * SELU_ALPHA  # -y far below 0


def _identity(xp: Any, z: Array, out: Array, scratch: Scratch) -> None:
    out[...] = z


def _identity_derivative(xp: Any, y: Array, out: Array, scratch: Scratch) -> None:
    out.fill(1)


# ---- pieces of straight lines -------------------------------------------------------------------------------------


def _negative_part(xp: Any, z: Array, out: Array) -> None:
    if z.dtype.kind == "c":
        xp.multiply(z, z.real <= 0, out=out)
    else:
        xp.minimum(z, 0, out=out)


def _relu(xp: Any, z: Array, out: Array, scratch: Scratch) -> None:
    positive_part(xp, z, out)


def _relu_derivative(xp: Any, y: Array, out: Array, scratch: Scratch) -> None:
    xp.greater(y, 0, out=out, casting="unsafe")


def _leaky_relu(xp: Any, z: Array, out: Array, scratch: Scratch) -> None:
    if z.dtype.kind == "c":
        xp.multiply(z, SLOPE + (1 - SLOPE) * (z.real > 0), out=out)
    else:
        below = scratch(use="below")
        xp.multiply(z, SLOPE, out=below)
        xp.maximum(z, below, out=out)


def _leaky_relu_derivative(xp: Any, y: Array, out: Array, scratch: Scratch) -> None:
    xp.greater(y, 0, out=out, casting="unsafe")
    xp.maximum(out, SLOPE, out=out)


# ---- straight above 0, exponential below --------------------------------------------------------------------------


def _elu(xp: Any, z: Array, out: Array, scratch: Scratch) -> None:
    below = scratch(use="below")
    _negative_part(xp, z, below)
    xp.expm1(below, out=below)
    positive_part(xp, z, out)
    xp.add(out, below, out=out)


def _elu_derivative(xp: Any, y: Array, out: Array, scratch: Scratch) -> None:
    xp.minimum(y, 0, out=out)
    xp.add(out, 1, out=out)


def _selu(xp: Any, z: Array, out: Array, scratch: Scratch) -> None:
    below = scratch(use="below")
    _negative_part(xp, z, below)
    xp.expm1(below, out=below)
    xp.multiply(below, SELU_FLOOR, out=below)
    positive_part(xp, z, out)
    xp.multiply(out, SELU_SCALE, out=out)
    xp.add(out, below, out=out)


def _selu_derivative(xp: Any, y: Array, out: Array, scratch: Scratch) -> None:
    below = scratch(use="below")
    xp.minimum(y, 0, out=below)
    xp.greater(y, 0, out=out, casting="unsafe")
    xp.multiply(out, SELU_SCALE - SELU_FLOOR, out=out)
    xp.add(out, SELU_FLOOR, out=out)
    xp.add(out, below, out=out)


def _softplus(xp: Any, z: Array, out: Array, scratch: Scratch) -> None:
    below = scratch(use="below")  # -|z|: log(1 + exp(z)) = max(z, 0) + log(1 + exp(-|z|))
    if z.dtype.kind == "c":
        xp.multiply(z, 1 - 2 * (z.real > 0), out=below)
    else:
        xp.absolute(z, out=below)
        xp.negative(below, out=below)
    xp.exp(below, out=below)
    xp.log1p(below, out=below)
    positive_part(xp, z, out)
    xp.add(out, below, out=out)


def _softplus_derivative(xp: Any, y: Array, out: Array, scratch: Scratch) -> None:
    xp.negative(y, out=out)
    xp.exp(out, out=out)
    xp.subtract(1, out, out=out)


# ---- between 0 and 1, or -1 and 1 ---------------------------------------------------------------------------------


def _tanh(xp: Any, z: Array, out: Array, scratch: Scratch) -> None:
    xp.tanh(z, out=out)


def _tanh_derivative(xp: Any, y: Array, out: Array, scratch: Scratch) -> None:
    xp.multiply(y, y, out=out)
    xp.subtract(1, out, out=out)


def _sigmoid(xp: Any, z: Array, out: Array, scratch: Scratch) -> None:
    if z.dtype.kind == "c":  # whose infinity divides into nan
        xp.maximum(z, -700, out=out)
        z = out
    xp.negative(z, out=out)
    xp.exp(out, out=out)  # inf for very negative z, and 1 / inf is the right 0
    xp.add(out, 1, out=out)
    xp.divide(1, out, out=out)


def _sigmoid_derivative(xp: Any, y: Array, out: Array, scratch: Scratch) -> None:
    xp.subtract(1, y, out=out)
    xp.multiply(out, y, out=out)


_Elementwise = Callable[[Any, Array, Array, Scratch], None]
ACTIVATE: Final[dict[str, _Elementwise]] = {
    "identity": _identity, "relu": _relu, "leaky_relu": _leaky_relu, "elu": _elu, "selu": _selu,
    "softplus": _softplus, "tanh": _tanh, "sigmoid": _sigmoid, "gelu": gelu, "gelu_tanh": gelu_tanh,
    "silu": silu, "mish": mish,
}  # fmt: skip # a table: function by name
DERIVATIVE: Final[dict[str, _Elementwise]] = {
    "identity": _identity_derivative, "relu": _relu_derivative, "leaky_relu": _leaky_relu_derivative,
    "elu": _elu_derivative, "selu": _selu_derivative, "softplus": _softplus_derivative, "tanh": _tanh_derivative,
    "sigmoid": _sigmoid_derivative, "gelu": gelu_derivative, "gelu_tanh": gelu_tanh_derivative,
    "silu": silu_derivative, "mish": mish_derivative,
}  # fmt: skip # a table: function by name
