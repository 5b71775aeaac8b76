"""What a layer says of itself: its formulas as in a textbook, each beside the same in array operations.

In the text a quantity stands in braces, so that `chainrule explain` can put its name there: {x} is what comes in, {n}
how many rows of it, {f} of a block what its layers in a row give; any other symbol is the layer's own, a parameter or
an intermediate result. d{y} is the gradient of the loss by y. Two factors with a space between are a product,
[condition] is 1 where it holds, else 0; mean_i is over rows, mean_j over columns.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from chainrule.backends.contract.backend import ActivationName, Array, Backend


class Forward(NamedTuple):
    """``symbol = text``. ``value`` computes it, of the layer at work and an object with the quantities by symbol.

    It goes its own way, not that of the kernels, which are held to it; of any dtype, complex numbers too.
    """

    symbol: str
    text: str
    value: Callable[[Any, Any], Array]
    shapes: str = ""  # "{x} @ {W} = {z}", with shapes in the place of names; by default that of the symbol


class Backward(NamedTuple):
    """``d symbol = text``. Of a block, {inner} is what its first layer says of dx."""

    symbol: str
    text: str
    shapes: str = ""


class Formulas(NamedTuple):
    """Those of a layer, in order. The last of ``forward`` is its output, whose gradient the layer above writes.

    ``prediction`` stands in the place of ``forward`` where a prediction is made otherwise.
    """

    forward: tuple[Forward, ...]
    backward: tuple[Backward, ...]
    prediction: tuple[Forward, ...] = ()


def activated(backend: Backend, activation: ActivationName, z: Array) -> Array:
    """act(z) in new memory."""
    y = backend.empty(z.shape, z.dtype)
    backend.activate(activation, z, out=y)
    return y
