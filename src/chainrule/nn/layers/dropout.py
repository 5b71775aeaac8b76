"""Dropout: random units are zeroed, others every step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from chainrule.backends.contract.backend import Array
from chainrule.nn.layers.base import Binding, Layer, LayerPass, Memory, Node, Use
from chainrule.nn.layers.formulas import Backward, Formulas, Forward
from chainrule.nn.row_format import RowFormat
from chainrule.options import real_number
from chainrule.random import Purpose, stream


@dataclass(frozen=True, repr=False)
class Dropout(Layer):
    """y = m x / (1 - rate) in training, m_ij = 0 with probability ``rate``, else 1;   y = x in prediction.

    Backward, dx = m dy / (1 - rate). The mask m is a function of counters, so the backward pass computes it again
    instead of keeping it: the same seed and step give the same mask on every device.

    Parameters
    ----------
    rate : in [0, 1)

    Source: Srivastava et al. 2014.
    """

    kind: ClassVar[str] = "dropout"

    rate: float = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", real_number("dropout rate", self.rate, below=1.0))

    def __repr__(self) -> str:
        return f"Dropout({self.rate!r})"

    def memory(self, n_in: int, use: Use) -> Memory:
        """y and dy; in prediction nothing, y is x."""
        y = RowFormat((n_in,), use.storage)
        return Memory({"y": y, "dy": y} if use.training else {}, {})

    def formulas(self) -> Formulas:
        rate = self.rate
        mask = f"where {{m}}, here of step 0, is 0 with probability {rate:g}, else 1"
        y = Forward("y", f"{{m}} {{x}} / (1 - {rate:g}) {mask}", lambda at, q: at.mask() * q.x / (1 - rate))
        return Formulas(
            (y,), (Backward("x", f"{{m}} d{{y}} / (1 - {rate:g})"),), (Forward("y", "{x}", lambda _, q: q.x),)
        )

    def bind(self, node: Node, binding: Binding, memory: dict[str, Array], inner: Sequence[LayerPass]) -> LayerPass:
        return DropoutPass(self, node, binding, **memory)


class DropoutPass(LayerPass):
    """The layer bound to a batch."""

    def __init__(self, layer: Dropout, node: Node, binding: Binding, *, y: Array = None, dy: Array = None) -> None:
        self.backend, self.name, self.rate = binding.backend, node.name, layer.rate
        self.y, self.dy = y, dy
        self._training, self._state = binding.training, binding.state
        self._key, (_, *counter) = stream(binding.seed, Purpose.DROPOUT, index=node.number, member=binding.member)
        self._counter = (counter[0], counter[1])

    def forward(self, x: Array) -> Array:
        if self._training:
            self._drop(x, out=self.y)
        else:
            self.y = x
        return self.y

    def backward(self, dx: Array | None) -> None:
        if dx is not None:
            self._drop(self.dy, out=dx)

    def mask(self) -> Array:
        """m of this step, (n, n_in) in the dtype of y: 1 for a unit that is kept, else 0. Only outside a step."""
        ones = self.backend.empty(self.y.shape, self.y.dtype)
        self.backend.fill(1, out=ones)
        self._drop(ones, out=ones)
        return (ones != 0).astype(ones.dtype)

    def _drop(self, x: Array, *, out: Array) -> None:
        self.backend.dropout(x, self._state, key=self._key, counter=self._counter, rate=self.rate, out=out)
