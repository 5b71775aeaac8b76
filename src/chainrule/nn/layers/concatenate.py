"""The concatenating block: what goes into it comes out beside what its layers make of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from chainrule.backends.contract.backend import Array
from chainrule.nn.layers.base import Binding, LayerPass, Memory, Node, Use
from chainrule.nn.layers.block import Block
from chainrule.nn.layers.chain import Chain
from chainrule.nn.layers.formulas import Backward, Formulas, Forward, joined
from chainrule.nn.row_format import RowFormat


@dataclass(frozen=True, repr=False)
class Concatenate(Block):
    """y = [x | f(x)], f the layers in a row, the columns of both side by side.

    Backward, with dy = [dy_x | dy_f]: dy_f goes through f, and dx = dy_x + the gradient through f.

    Below a ``Dense`` that gives the outputs it adds a straight line to a net: the outputs are x @ W_x + f(x) @ W_f + b,
    W_x and W_f the rows of one W. So the net can become a linear model, and needs its hidden layers for the rest only::

        cr.Network([cr.Concatenate([cr.Dense(96, "selu"), cr.Dense(64, "selu")]), cr.Dense(n_out)], n_in)

    Parameters
    ----------
    layers : of f, of any width

    Source: Huang, Liu, van der Maaten, Weinberger 2017, equation 2.
    """

    kind: ClassVar[str] = "concatenate"

    def width(self, n_in: int) -> int:
        return n_in + self.inner_width(n_in)

    def memory(self, n_in: int, use: Use) -> Memory:
        """y and dy, beside what its layers need."""
        y = RowFormat((self.width(n_in),), use.storage)
        return Memory({"y": y, "dy": y} if use.training else {"y": y}, {})

    def formulas(self) -> Formulas:
        y = Forward("y", "join({x}, {f})", lambda _, q: joined(q.x, q.f))
        f = Backward("f", "right(d{y}) where left(d{y}), right(d{y}) are its columns of {x} and of {f}")
        return Formulas((y,), (f, Backward("x", "left(d{y}) + {inner}", "{x} + {inner}")))

    def bind(self, node: Node, binding: Binding, memory: dict[str, Array], inner: Sequence[LayerPass]) -> LayerPass:
        return ConcatenatePass(node, binding, inner, **memory)


class ConcatenatePass(LayerPass):
    """The block bound to a batch."""

    def __init__(self, node: Node, binding: Binding, inner: Sequence[LayerPass], *, y: Array, dy: Array = None) -> None:
        self.backend, self.name = binding.backend, node.name
        self.inner, self.chain, self._n_in = inner, Chain(inner), node.n_in
        self.y, self.dy = y, dy

    def forward(self, x: Array) -> Array:
        self.backend.join_columns(x, self.chain.forward(x), out=self.y)
        return self.y

    def backward(self, dx: Array | None) -> None:
        self.backend.take_columns(self.dy, self._n_in, out=self.inner[-1].dy)
        self.chain.backward(dx)
        if dx is not None:
            self.backend.add_columns(self.dy, 0, out=dx)

    def inner_gradient(self, dy: Array) -> Array:
        return dy[..., self._n_in :]
