"""The activations by formulas other than those of the kernels, for the tests of every backend."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

_erfc = np.vectorize(math.erfc, otypes=[np.float64])
SCALE, ALPHA = 1.0507009873554804934193349852946, 1.6732632423543772848170429916717  # Klambauer et al. 2017


class Formula(NamedTuple):
    """act(z) and act' as a function of what is saved, for float64 arrays."""

    act: Callable[[Any], Any]
    derivative: Callable[[Any], Any]
    saves: str = "output"
    steepest: float = 1.0  # the largest |act'|
    roundings: int = 4  # units of roundoff that act' may be off by

    def saved(self, z: np.ndarray) -> np.ndarray:
        """What a layer keeps of z."""
        return self.act(z) if self.saves == "output" else z

    def error(self, z: np.ndarray, u: float) -> np.ndarray:
        """What rounding may change in act(z): 8 units, and more of them in the tail of a gate, by its exponent."""
        tail = 1 + np.where(z < -1, np.minimum(np.abs(z), 40) ** 3, 0) if self.saves == "input" else 1
        return 8 * u * np.abs(self.act(z)) * tail


def _exponential_below(scale: float, alpha: float) -> Formula:
    return Formula(
        lambda z: scale * np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0))),
        lambda y: np.where(y > 0, scale, scale * alpha + y),
        steepest=scale * alpha,
        roundings=8,
    )


def _gated(gate: Callable[[Any], Any], slope: Callable[[Any], Any]) -> Formula:
    """z gate(z), whose limit at -inf is 0; ``slope`` is the derivative of the gate, nothing beyond 1000."""
    return Formula(
        lambda z: np.where(z == -np.inf, 0, z * gate(z)),
        lambda z: gate(z) + np.clip(z, -1000, 1000) * slope(np.clip(z, -1000, 1000)),
        saves="input",
        steepest=1.13,
        roundings=8,
    )


def _sigmoid(z: Any) -> Any:
    return np.exp(-np.logaddexp(0, -z))


def _tanh_argument(z: Any) -> Any:
    return math.sqrt(8 / math.pi) * (z + 0.044715 * z**3)


def _sigmoid_slope(z: Any) -> Any:
    return _sigmoid(z) * _sigmoid(-z)


FORMULAS = {
    "identity": Formula(lambda z: z, np.ones_like),
    "relu": Formula(lambda z: np.where(z > 0, z, 0), lambda y: np.where(y > 0, 1.0, 0.0)),
    "leaky_relu": Formula(lambda z: np.where(z > 0, z, z / 100), lambda y: np.where(y > 0, 1.0, 0.01)),
    "elu": _exponential_below(1, 1),
    "selu": _exponential_below(SCALE, ALPHA),
    "softplus": Formula(lambda z: np.logaddexp(0, z), lambda y: -np.expm1(-y)),
    "tanh": Formula(np.tanh, lambda y: 1 - y**2),
    "sigmoid": Formula(lambda z: 1 / (1 + np.exp(-z)), lambda y: y * (1 - y)),
    "gelu": _gated(lambda z: _erfc(-z / math.sqrt(2)) / 2, lambda z: np.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)),
    "gelu_tanh": _gated(
        lambda z: _sigmoid(_tanh_argument(z)),
        lambda z: _sigmoid_slope(_tanh_argument(z)) * math.sqrt(8 / math.pi) * (1 + 0.134145 * z**2),
    ),
    "silu": _gated(_sigmoid, _sigmoid_slope),
    "mish": _gated(
        lambda z: np.tanh(np.logaddexp(0, z)), lambda z: _sigmoid(z) / np.cosh(np.minimum(np.logaddexp(0, z), 300)) ** 2
    ),
}
