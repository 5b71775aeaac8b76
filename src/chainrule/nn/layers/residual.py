"""The residual block: a way around layers, so that a gradient comes down undiminished."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from chainrule.backends.contract.backend import Array
from chainrule.errors import OptionError
from chainrule.nn.layers.base import Binding, Layer, LayerPass, Memory, Node, Use
from chainrule.nn.layers.chain import Chain
from chainrule.nn.layers.dense import Dense
from chainrule.nn.layers.formulas import Backward, Formulas, Forward
from chainrule.nn.row_format import RowFormat


@dataclass(frozen=True, repr=False)
class Residual(Layer):
    """y = x + f(x), f the layers in a row;   backward, dx = dy + what f makes of dy.

    Parameters
    ----------
    layers : the last one's output is as wide as the first one's input

    Source: He, Zhang, Ren, Sun 2016, equation 1.
    """

    kind: ClassVar[str] = "residual"

    layers: Sequence[Layer]

    def __post_init__(self) -> None:
        if (
            not isinstance(self.layers, Sequence)
            or not self.layers
            or not all(isinstance(layer, Layer) for layer in self.layers)
        ):
            raise OptionError(f"expected a list of layers, got Residual({self.layers!r})")
        object.__setattr__(self, "layers", tuple(self.layers))

    def __repr__(self) -> str:
        return f"Residual({list(self.layers)!r})"

    def width(self, n_in: int) -> int:
        n_out = n_in
        for layer in self.layers:
            n_out = layer.width(n_out)
        if n_out != n_in:
            raise OptionError(
                f"a residual block turns {n_in} columns into {n_out}: they are added, so it must keep their number",
                hint=f"end it with Dense({n_in}, ...), or put a Dense({n_out}, ...) in front of it",
            )
        return n_in

    def inner(self) -> tuple[Layer, ...]:
        return tuple(self.layers)

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "layers": [layer.describe() for layer in self.layers]}

    def memory(self, n_in: int, use: Use) -> Memory:
        """y, beside what the layers take; dy where the last of them does not leave its own as it is."""
        y = RowFormat((n_in,), use.storage)
        wants_dy = use.training and isinstance(self.layers[-1], Dense)
        return Memory({"y": y, "dy": y} if wants_dy else {"y": y}, {})

    def formulas(self) -> Formulas:
        y = Forward("y", "{x} + {f}", lambda _, q: q.x + q.f)
        return Formulas((y,), (Backward("f", "d{y}"), Backward("x", "d{y} + {inner}", "{y} + {inner}")))

    def bind(self, node: Node, binding: Binding, memory: dict[str, Array], inner: Sequence[LayerPass]) -> LayerPass:
        return ResidualPass(node, binding, inner, **memory)


class ResidualPass(LayerPass):
    """The block at work on a batch."""

    def __init__(self, node: Node, binding: Binding, inner: Sequence[LayerPass], *, y: Array, dy: Array = None) -> None:
        self.backend, self.name = binding.backend, node.name
        self.inner, self.chain = inner, Chain(inner)
        # Both f and the way around begin with dy, so they share it; but a dense layer puts its dz in that place.
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
