"""What arrays and activations are called here."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

# An array of the backend's own kind. NumPy's and CuPy's array types share no static base class, and a
# type parameter on every layer would say no more than this name does.
Array: TypeAlias = Any

ActivationName: TypeAlias = Literal[
    "identity", "relu", "leaky_relu", "elu", "selu", "softplus", "tanh", "sigmoid",
    "gelu", "gelu_tanh", "silu", "mish",
]  # fmt: skip
