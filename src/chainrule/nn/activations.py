"""The activations: names, formulas, and what each wants of its neighbours.

The kernels stand in :mod:`chainrule.backends.reference`, function beside derivative.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from chainrule.backends.base import ActivationName
from chainrule.options import one_of


class Activation(NamedTuple):
    """y = act(z), and act'(z) written as a function of what the forward pass keeps."""

    name: ActivationName
    formula: str
    derivative: str
    saves: Literal["output", "input"]  # what act' is a function of: y costs no memory, z does
    initializer: Literal["he", "glorot"]


ACTIVATIONS: dict[str, Activation] = {
    a.name: a
    for a in (
        Activation("identity", "z", "1", "output", "glorot"),
        Activation("relu", "max(z, 0)", "[y > 0]", "output", "he"),
        Activation("tanh", "tanh(z)", "1 - y^2", "output", "glorot"),
        Activation("sigmoid", "1 / (1 + exp(-z))", "y (1 - y)", "output", "glorot"),
    )
}


def find_activation(name: str) -> Activation:
    """The activation of that name; OptionError lists the names there are."""
    return ACTIVATIONS[one_of("activation", name, ACTIVATIONS)]
