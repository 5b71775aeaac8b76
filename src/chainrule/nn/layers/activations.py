"""The activations: names, formulas, and the initial weights that suit each.

The kernels are in :mod:`chainrule.backends.reference.activations`, each function beside its derivative. [condition] is
1 if it holds, else 0.
"""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from chainrule.backends.contract.backend import ActivationName
from chainrule.nn.layers.initializers import InitializerName
from chainrule.options import one_of


class Activation(NamedTuple):
    """y = act(z), and act' as a function of what the forward pass keeps."""

    name: ActivationName
    formula: str  # in z
    derivative: str  # in y or z; its abbreviations are defined after " where "
    saves: Literal["output", "input"]  # what act' is a function of: y costs no memory, z does
    initializer: InitializerName

    def of(self, z: str) -> str:
        """The formula with another name for z."""
        return re.sub(r"\bz\b", z, self.formula)

    def factor(self, y: str, z: str) -> str:
        """The derivative with other names for y and z, in parentheses if need be, its abbreviations after it."""
        expression, where, abbreviations = self.derivative.partition(" where ")
        is_one = re.fullmatch(r"\d+|\[[^]]*\]", expression)
        named = (expression if is_one else f"({expression})") + where + abbreviations
        return re.sub(r"\b[yz]\b", lambda found: {"y": y, "z": z}[found[0]], named)


# Each initializer compensates for what the activation does to the variance of a signal: relu and its smooth relatives
# leave about half of it, selu has the fixed point 1, and the others keep it, or nearly so.
ACTIVATIONS: dict[ActivationName, Activation] = {
    a.name: a
    for a in (
        Activation("identity", "z", "1", "output", "glorot"),
        Activation("relu", "max(z, 0)", "[y > 0]", "output", "he"),
        Activation("leaky_relu", "max(z, 0) + 0.01 min(z, 0)", "[y > 0] + 0.01 [y <= 0]", "output", "he"),
        Activation("elu", "max(z, 0) + exp(min(z, 0)) - 1", "1 + min(y, 0)", "output", "he"),
        Activation(
            "selu", "1.05070099 (max(z, 0) + 1.67326324 (exp(min(z, 0)) - 1))",
            "1.05070099 [y > 0] + (y + 1.75809934) [y <= 0]", "output", "lecun",
        ),
        Activation("softplus", "log(1 + exp(z))", "1 - exp(-y)", "output", "glorot"),
        Activation("tanh", "tanh(z)", "1 - y^2", "output", "glorot"),
        Activation("sigmoid", "1 / (1 + exp(-z))", "y (1 - y)", "output", "glorot"),
        Activation(
            "gelu", "z (1 + erf(z / sqrt(2))) / 2",
            "(1 + erf(z / sqrt(2))) / 2 + z exp(-z^2 / 2) / sqrt(2 pi)", "input", "he",
        ),
        Activation(
            "gelu_tanh", "z (1 + tanh(sqrt(2 / pi) (z + 0.044715 z^3))) / 2",
            "(1 + t) / 2 + z (1 - t^2) sqrt(2 / pi) (1 + 0.134145 z^2) / 2 "
            "where t = tanh(sqrt(2 / pi) (z + 0.044715 z^3))", "input", "he",
        ),
        Activation(
            "silu", "z / (1 + exp(-z))", "s + z s (1 - s) where s = 1 / (1 + exp(-z))", "input", "he"
        ),
        Activation(
            "mish", "z tanh(log(1 + exp(z)))",
            "t + z s (1 - t^2) where s = 1 / (1 + exp(-z)), t = tanh(log(1 + exp(z)))", "input", "he",
        ),
    )
}  # fmt: skip # a table: one row per activation


def find_activation(name: ActivationName) -> Activation:
    """The activation of that name; OptionError lists the names."""
    return ACTIVATIONS[one_of("activation", name, ACTIVATIONS)]
