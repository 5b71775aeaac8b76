"""An activation as a layer of its own, if it does not follow a product: after a normalisation, say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from chainrule.backends.contract.backend import ActivationName, Array
from chainrule.nn.layers.activations import find_activation
from chainrule.nn.layers.base import Binding, Layer, LayerPass, Memory, Node, Use
from chainrule.nn.layers.formulas import Backward, Formulas, Forward, activated
from chainrule.nn.row_format import RowFormat


@dataclass(frozen=True, repr=False)
class Activation(Layer):
    """y = act(x), element by element;   backward, dx = dy act'(x).

    After a dense layer write ``Dense(n, "relu")`` instead: it saves a pass over memory.

    Parameters
    ----------
    activation : as for :class:`Dense`
    """

    kind: ClassVar[str] = "activation"

    activation: ActivationName

    def __post_init__(self) -> None:
        find_activation(self.activation)

    def memory(self, n_in: int, use: Use) -> Memory:
        """y and dy; the sums of the columns of dx, which its kernel writes too and which nothing reads."""
        y = RowFormat((n_in,), use.storage)
        if not use.training:
            return Memory({"y": y}, {})
        return Memory({"y": y, "dy": y}, {"sums": RowFormat((n_in,), use.dtype)})

    def formulas(self) -> Formulas:
        found = find_activation(self.activation)
        y = Forward("y", found.of("{x}"), lambda at, q: activated(at.backend, found.name, q.x))
        return Formulas((y,), (Backward("x", f"d{{y}} * {found.factor('{y}', '{x}')}"),))

    def bind(self, node: Node, binding: Binding, memory: dict[str, Array], inner: Sequence[LayerPass]) -> LayerPass:
        return ActivationPass(self, node, binding, **memory)


class ActivationPass(LayerPass):
    """The layer at work on a batch."""

    def __init__(
        self, layer: Activation, node: Node, binding: Binding, *, y: Array, dy: Array = None, sums: Array = None
    ) -> None:
        self.backend, self.name = binding.backend, node.name
        found = find_activation(layer.activation)
        self.activation, self._saves_output = found.name, found.saves == "output"
        self.x: Array = None
        self.y, self.dy, self._sums = y, dy, sums

    @property
    def saved(self) -> Array:
        """What the derivative is a function of."""
        return self.y if self._saves_output else self.x

    def forward(self, x: Array) -> Array:
        self.x = x
        self.backend.activate(self.activation, x, out=self.y)
        return self.y

    def backward(self, dx: Array | None) -> None:
        if dx is not None:
            self.backend.activation_backward(self.activation, self.saved, self.dy, dz=dx, db=self._sums)
