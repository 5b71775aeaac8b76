"""A block: layers in a row that are one layer, with a shortcut around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from chainrule.errors import OptionError
from chainrule.nn.layers.base import Layer


@dataclass(frozen=True, repr=False)
class Block(Layer):
    """The layers in a block, as all kinds of it have them."""

    layers: Sequence[Layer]

    def __post_init__(self) -> None:
        if (
            not isinstance(self.layers, Sequence)
            or not self.layers
            or not all(isinstance(layer, Layer) for layer in self.layers)
        ):
            raise OptionError(f"{type(self).__name__}: expected a list of layers, got {self.layers!r}")
        object.__setattr__(self, "layers", tuple(self.layers))  # the dataclass is frozen

    def __repr__(self) -> str:
        return f"{type(self).__name__}({list(self.layers)!r})"

    def inner(self) -> tuple[Layer, ...]:
        return tuple(self.layers)

    def inner_width(self, n_in: int) -> int:
        """Columns of the output of the last layer in it."""
        for layer in self.layers:
            n_in = layer.width(n_in)
        return n_in

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "layers": [layer.describe() for layer in self.layers]}
