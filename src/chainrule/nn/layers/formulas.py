"""A layer's formulas as in a textbook, each beside the same in array operations.

In the text a quantity stands in braces, so that `chainrule explain` can put its name there: {x} is the input, {n} its
number of rows, {f} of a block the output of the layers in it; any other symbol is the layer's own, a parameter or an
intermediate result. d{y} is the gradient of the loss by y. Two factors with a space between are a product, [condition]
is 1 if it holds, else 0; mean_i is over rows, mean_j over columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from chainrule.backends.contract.backend import ActivationName, Array, Backend


class Forward(NamedTuple):
    """``symbol = text``. ``value`` computes it, from the layer's pass and an object with the quantities by symbol.

    It does not use the kernels, which are checked against it, and works in any dtype, complex numbers too.
    """

    symbol: str
    text: str
    value: Callable[[Any, Any], Array]
    shapes: str = ""  # "{x} @ {W} = {z}", with shapes in place of names; by default that of the symbol


class Backward(NamedTuple):
    """``d symbol = text``. In a block, {inner} stands for the dx of its first layer."""

    symbol: str
    text: str
    shapes: str = ""


class Formulas(NamedTuple):
    """Those of a layer, in order. The last of ``forward`` is its output, whose gradient the layer above writes.

    ``prediction`` replaces ``forward`` in a prediction, for a layer that computes something else then.
    """

    forward: tuple[Forward, ...]
    backward: tuple[Backward, ...]
    prediction: tuple[Forward, ...] = ()


def joined(*arrays: Array) -> Array:
    """Columns side by side, in new memory; NumPy arrays."""
    return np.concatenate(arrays, axis=-1)


def activated(backend: Backend, activation: ActivationName, z: Array) -> Array:
    """act(z) in new memory."""
    y = backend.empty(z.shape, z.dtype)
    backend.activate(activation, z, out=y)
    return y
