"""Layers in a row at work: the chain rule, from the last to the first."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

from chainrule.backends.base import Array
from chainrule.nn.dense import DensePass
from chainrule.nn.layer import LayerPass


class Chain:
    """y = f_L(... f_2(f_1(x))), and back: each layer turns the gradient by its output into that by its input.

    The gradient by the output of the last layer is expected in ``layers[-1].dy``. Where two dense layers touch, the
    product of the upper and the activation gradient of the lower are one call (backends/base.py, "Fusion").
    """

    def __init__(self, layers: Sequence[LayerPass]) -> None:
        self.layers = tuple(layers)
        dense = [isinstance(layer, DensePass) for layer in self.layers]
        # Of each layer, whether the one above leaves it dz and db rather than dy.
        self._has_dz = [*(lower and upper for lower, upper in itertools.pairwise(dense)), False]

    def forward(self, x: Array) -> Array:
        """The output of the last layer for ``x`` (n, n_in)."""
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dx: Array | None) -> None:
        """The gradients by all parameters and, unless ``dx`` is None, by x."""
        for i in reversed(range(len(self.layers))):
            layer = self.layers[i]
            below = self.layers[i - 1] if i else None
            out = dx if below is None else below.dy
            if not isinstance(layer, DensePass):
                layer.backward(out)
                continue
            if not self._has_dz[i]:
                layer.activation_gradient()
            layer.weight_gradient()
            if isinstance(below, DensePass):
                layer.backward_into(below)
            elif out is not None:
                layer.input_gradient(out)

    def walk(self) -> Iterator[LayerPass]:
        """All layers, those within blocks too."""
        for layer in self.layers:
            yield from layer.walk()
