"""The residual block: a shortcut around layers, through which a gradient passes undiminished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from chainrule.backends.contract.backend import Array
from chainrule.errors import OptionError
from chainrule.nn.layers.base import Binding, LayerPass, Memory, Node, Use
from chainrule.nn.layers.block import Block
from chainrule.nn.layers.chain import Chain
from chainrule.nn.layers.dense import Dense
from chainrule.nn.layers.formulas import Backward, Formulas, Forward
from chainrule.nn.row_format import RowFormat


@dataclass(frozen=True, repr=False)
class Residual(Block):
    """y = x + f(x), f the layers in a row;   backward, dx = dy + the gradient through f.

    Parameters
    ----------
    layers : the last one's output is as wide as the first one's input

    Source: He, Zhang, Ren, Sun 2016, equation 1.
    """

    kind: ClassVar[str] = "residual"

    def width(self, n_in: int) -> int:
        n_out = self.inner_width(n_in)
        if n_out != n_in:
            raise OptionError(
                f"Residual: expected layers that end with {n_in} columns, as they begin, got {n_out}",
                hint=f"end it with Dense({n_in}, ...), or put a Dense({n_out}, ...) before it",
            )
        return n_in

    def memory(self, n_in: int, use: Use) -> Memory:
        """y, beside what its layers need; dy if the last of them overwrites its own."""
        y = RowFormat((n_in,), use.storage)
        wants_dy = use.training and isinstance(self.layers[-1], Dense)
        return Memory({"y": y, "dy": y} if wants_dy else {"y": y}, {})

    def formulas(self) -> Formulas:
        y = Forward("y", "{x} + {f}", lambda _, q: q.x + q.f)
        return Formulas((y,), (Backward("f", "d{y}"), Backward("x", "d{y} + {inner}", "{y} + {inner}")))

    def bind(self, node: Node, binding: Binding, memory: dict[str, Array], inner: Sequence[LayerPass]) -> LayerPass:
        return ResidualPass(node, binding, inner, **memory)


class ResidualPass(LayerPass):
    """The block bound to a batch."""

    def __init__(self, node: Node, binding: Binding, inner: Sequence[LayerPass], *, y: Array, dy: Array = None) -> None:
        self.backend, self.name = binding.backend, node.name
        self.inner, self.chain = inner, Chain(inner)
        # Both f and the shortcut start from dy, so they share it; but a dense layer overwrites it with its dz.
        self._copies = dy is not None
        self.y, self.dy = y, dy if self._copies else self.inner[-1].dy

    def forward(self, x: Array) -> Array:
        self.backend.add(x, self.chain.forward(x), out=self.y)
        return self.y

    def backward(self, dx: Array | None) -> None:
        if self._copies:
            self.backend.copy(self.dy, out=self.inner[-1].dy)
        self.chain.backward(dx)
        if dx is not None:
            self.backend.add(dx, self.dy, out=dx)
