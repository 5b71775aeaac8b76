"""Layers in a row: the chain rule, from the last to the first."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence

from chainrule.backends.contract.backend import Array
from chainrule.nn.layers.base import LayerPass
from chainrule.nn.layers.dense import DensePass


class Chain:
    """y = f_L(... f_2(f_1(x))), and backward: each layer turns the gradient by its output into that by its input.

    The gradient by the output of the last layer is expected in ``layers[-1].dy``. If two dense layers follow each
    other, the product of the upper and the activation gradient of the lower are one call
    (backends/contract/backend.py, "Fusion").
    """

    def __init__(self, layers: Sequence[LayerPass]) -> None:
        self.layers = tuple(layers)
        *self._above, self._bottom = self._backward_calls()

    def forward(self, x: Array) -> Array:
        """The output of the last layer for ``x`` (n, n_in)."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dx: Array | None) -> None:
        """The gradients by all parameters and, unless ``dx`` is None, by x."""
        for call in self._above:
            call()
        self._bottom(dx)

    def _backward_calls(self) -> Iterator[Callable[..., None]]:
        """What each layer does, from the last to the first: decided once, as a step of a small net is short."""
        has_dz = False  # whether the layer above has written dz and db rather than dy
        for layer, below in itertools.pairwise(reversed(self.layers)):
            if isinstance(layer, DensePass) and isinstance(below, DensePass):
                if not has_dz:
                    yield layer.activation_gradient
                yield layer.weight_gradient
                yield functools.partial(layer.backward_into, below)
                has_dz = True
            else:
                yield functools.partial(_backward_of(layer, has_dz), below.dy)
                has_dz = False
        yield _backward_of(self.layers[0], has_dz)

    def walk(self) -> Iterator[LayerPass]:
        """All layers, those within blocks too."""
        for layer in self.layers:
            yield from layer.walk()


def _backward_of(layer: LayerPass, has_dz: bool) -> Callable[[Array | None], None]:
    return layer.backward_from_dz if has_dz and isinstance(layer, DensePass) else layer.backward
