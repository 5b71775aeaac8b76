"""The activations in operators of opset 17.

onnxruntime has no kernel in float64 for Elu, Selu, Softplus and Erf, so a float64 net has their formulas instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from chainrule.backends.contract.backend import ActivationName
from chainrule.backends.reference.activations import SELU_ALPHA, SELU_SCALE, SLOPE
from chainrule.backends.reference.normal_tail import DOUBLE, FAR, SHIFT
from chainrule.onnx.graph import Graph


def activate(g: Graph, activation: ActivationName, z: str) -> str:
    """act(z), by its name in :data:`chainrule.nn.layers.activations.ACTIVATIONS`."""
    return ACTIVATE[activation](g, z)


def softplus(g: Graph, z: str) -> str:
    """log(1 + exp(z)), in float64 as max(z, 0) + log(1 + exp(-|z|))."""
    if not _is_double(g):
        return str(g.node("Softplus", z))
    power = g.node("Exp", g.node("Neg", g.node("Abs", z)))
    return _sum(g, _positive_part(g, z), g.node("Log", _sum(g, power, g.scalar(1.0))))


def _elu(g: Graph, z: str) -> str:
    return _sum(g, _positive_part(g, z), _exp_below(g, z)) if _is_double(g) else str(g.node("Elu", z, alpha=1.0))


def _selu(g: Graph, z: str) -> str:
    if not _is_double(g):
        return str(g.node("Selu", z, alpha=SELU_ALPHA, gamma=SELU_SCALE))
    below = _product(g, _exp_below(g, z), g.scalar(SELU_ALPHA))
    return _product(g, _sum(g, _positive_part(g, z), below), g.scalar(SELU_SCALE))


def _gelu(g: Graph, z: str) -> str:
    """z (1 + erf(z / sqrt(2))) / 2, in float64 as max(z, 0) - a Q(a), a = |z|: see reference/normal_tail.py."""
    if not _is_double(g):
        return _gated(g, z, g.node("Erf", g.node("Div", z, g.scalar(math.sqrt(2)))))
    a = str(g.node("Min", g.node("Abs", z), g.scalar(FAR)))
    s = g.node("Div", g.scalar(1.0), _sum(g, a, g.scalar(SHIFT)))
    t = str(g.node("Sub", g.scalar(1.0), _product(g, s, g.scalar(2 * SHIFT))))
    square = _product(g, t, t)
    mills = _sum(g, _product(g, t, _polynomial(g, DOUBLE.odd, square)), _polynomial(g, DOUBLE.even, square))
    bell = g.node("Exp", _product(g, _product(g, a, a), g.scalar(-0.5)))
    tail = _product(g, _product(g, mills, s), bell)
    return str(g.node("Sub", _positive_part(g, z), _product(g, a, tail)))


def _silu(g: Graph, z: str) -> str:
    """z sigmoid(z); in float64 z / (1 + exp(-z)): onnxruntime 1.20 fuses the former into a kernel that it lacks."""
    if not _is_double(g):
        return _product(g, z, g.node("Sigmoid", z))
    return str(g.node("Div", z, _sum(g, g.node("Exp", g.node("Neg", z)), g.scalar(1.0))))


def _gelu_tanh(g: Graph, z: str) -> str:
    cubic = _product(g, g.scalar(0.044715), _product(g, z, _product(g, z, z)))
    return _gated(g, z, g.node("Tanh", _product(g, g.scalar(math.sqrt(2 / math.pi)), _sum(g, z, cubic))))


ACTIVATE: dict[ActivationName, Callable[[Graph, str], str]] = {
    "identity": lambda _, z: z,
    "relu": lambda g, z: g.node("Relu", z),
    "leaky_relu": lambda g, z: g.node("LeakyRelu", z, alpha=SLOPE) if not _is_double(g) else _leaky_relu(g, z),
    "elu": _elu,
    "selu": _selu,
    "softplus": softplus,
    "tanh": lambda g, z: g.node("Tanh", z),
    "sigmoid": lambda g, z: g.node("Sigmoid", z),
    "gelu": _gelu,
    "gelu_tanh": _gelu_tanh,
    "silu": _silu,
    "mish": lambda g, z: _product(g, z, g.node("Tanh", softplus(g, z))),
}


def _leaky_relu(g: Graph, z: str) -> str:
    """By Max: an attribute is float32, in which 0.01 is another number."""
    return str(g.node("Max", z, _product(g, z, g.scalar(SLOPE))))


def _is_double(g: Graph) -> bool:
    return g.dtype.itemsize == 8


def _sum(g: Graph, a: str, b: str) -> str:
    return str(g.node("Add", a, b))


def _product(g: Graph, a: str, b: str) -> str:
    return str(g.node("Mul", a, b))


def _positive_part(g: Graph, z: str) -> str:
    return str(g.node("Max", z, g.scalar(0.0)))


def _exp_below(g: Graph, z: str) -> str:
    """exp(min(z, 0)) - 1."""
    return str(g.node("Sub", g.node("Exp", g.node("Min", z, g.scalar(0.0))), g.scalar(1.0)))


def _gated(g: Graph, z: str, gate: str) -> str:
    """z (1 + gate) / 2, in the order that onnxruntime fuses into one kernel."""
    return _product(g, _product(g, z, _sum(g, gate, g.scalar(1.0))), g.scalar(0.5))


def _polynomial(g: Graph, coefficients: tuple[float, ...], x: str) -> str:
    value = g.scalar(coefficients[0])
    for coefficient in coefficients[1:]:
        value = _sum(g, _product(g, value, x), g.scalar(coefficient))
    return value
