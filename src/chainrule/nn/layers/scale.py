"""The scaling layer: a trained factor for each column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from chainrule.backends.contract.backend import Array, Backend
from chainrule.nn.layers.base import Binding, Layer, LayerPass, Memory, Node, Use
from chainrule.nn.layers.formulas import Backward, Formulas, Forward
from chainrule.nn.row_format import RowFormat


@dataclass(frozen=True, repr=False)
class Scale(Layer):
    """y_ij = x_ij s_j, s a trained factor for each column, which starts at 1.

    Backward::

        ds_j = sum_i(dy_ij x_ij)        dx_ij = dy_ij s_j

    As the first layer it lets a net choose its columns. A W behind it could do the same, but with a number for each of
    its outputs in the place of one: with a learning rate of its own, a multiple of that of the weights
    (``ParameterGroup("*.s", lr_factor=6)``), the factor of a column that helps grows long before all its weights would.

    Source: Holzmueller, Grinsztajn, Steinwart 2024, Better by Default: Strong Pre-Tuned MLPs and Boosted Trees on
    Tabular Data, section 3 (the scaling layer).
    """

    kind: ClassVar[str] = "scale"

    def parameter_shapes(self, n_in: int) -> dict[str, tuple[int, ...]]:
        return {"s": (n_in,)}

    def initialize(
        self, backend: Backend, parameters: Mapping[str, Array], *, seed: int, number: int, member: int = 0
    ) -> None:
        backend.fill(1, out=parameters["s"])

    def memory(self, n_in: int, use: Use) -> Memory:
        """y and dy."""
        y = RowFormat((n_in,), use.storage)
        return Memory({"y": y, "dy": y} if use.training else {"y": y}, {})

    def formulas(self) -> Formulas:
        y = Forward("y", "{x} {s}", lambda _, q: q.x * q.s)
        return Formulas((y,), (Backward("s", "sum_rows(d{y} {x})", "{y} -> {s}"), Backward("x", "d{y} {s}")))

    def bind(self, node: Node, binding: Binding, memory: dict[str, Array], inner: Sequence[LayerPass]) -> LayerPass:
        return ScalePass(node, binding, **memory)


class ScalePass(LayerPass):
    """The layer bound to a batch: keeps its input, which the gradient by s needs."""

    def __init__(self, node: Node, binding: Binding, *, y: Array, dy: Array = None) -> None:
        self.backend, self.name = binding.backend, node.name
        self.s = binding.parameters[f"{node.name}.s"]
        if binding.gradients is not None:
            self.ds = binding.gradients[f"{node.name}.s"]
        self.x: Array = None
        self.y, self.dy = y, dy

    def forward(self, x: Array) -> Array:
        """y, keeping x for the backward pass."""
        self.x = x
        self.backend.scale_columns(x, self.s, out=self.y)
        return self.y

    def backward(self, dx: Array | None) -> None:
        self.backend.scale_columns_backward(self.dy, self.x, self.s, dx=dx, dscale=self.ds)
