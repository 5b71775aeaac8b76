"""The memory of a batch's arrays: each its own in training; in a prediction a few that layers share.

In training each layer keeps what the way back reads. In a prediction an output is read by the layer above and then by
nobody, so that layers in a row take turns in two buffers as wide as the widest, however many layers there are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from chainrule.backends.contract.backend import Array, Backend
from chainrule.nn.inputs.rows import RowFormat
from chainrule.nn.layers.base import Memory, Node, Use, walk

if TYPE_CHECKING:
    from chainrule.nn.network import Network

Memories = Mapping[str, dict[str, Array]]  # of each layer, by name
OUTPUT = "y"  # what the layer above reads


def use_of(net: Network, node: Node, *, training: bool) -> Use:
    """What the memory of a layer of this net depends on."""
    return Use(net.dtype, net.backend.storage(net.dtype), training, node.is_last)


def lay_out(net: Network, n: int, *, training: bool, apart: bool) -> tuple[Memories, Memories]:
    """Memory for a batch of ``n`` rows: arrays with a row for each row of the batch, and all others.

    Parameters
    ----------
    apart : no array shares its memory with another; else, unless ``training``, outputs that nobody reads any more give
        theirs to later layers
    """
    if not training and not apart:
        return net.prediction_plan.lay_out(net.backend, n)
    be, rows, fixed = net.backend, dict[str, dict[str, Array]](), dict[str, dict[str, Array]]()
    for node in walk(net.nodes):
        wanted = node.layer.memory(node.n_in, use_of(net, node, training=training))
        rows[node.name] = {name: be.empty((n, *f.shape), f.dtype) for name, f in wanted.rows.items()}
        fixed[node.name] = {name: be.empty(f.shape, f.dtype) for name, f in wanted.fixed.items()}
    return rows, fixed


class Buffer(NamedTuple):
    """Memory of ``width`` elements a row."""

    width: int
    dtype: np.dtype


class Place(NamedTuple):
    """Where an array with a row for each row of the batch lies."""

    name: str
    buffer: int
    width: int
    shape: tuple[int, ...]


class Plan:
    """Which buffer each array of a forward pass lies in; no two that are needed at one time share one.

    At its turn a layer has all its arrays and x. Then x goes, unless a block around it still adds it to its output, and
    whatever else it had but y; of the last layer all stays.

    Attributes
    ----------
    buffers : as wide as the widest array that lies in them
    places : of each layer's arrays
    """

    def __init__(self, nodes: Sequence[Node], memory_of: Callable[[Node], Memory]) -> None:
        self.buffers: list[Buffer] = []
        self.places: dict[str, list[Place]] = {}
        self._memory = {node.name: memory_of(node) for node in walk(nodes)}
        self._readers: list[int] = []  # of each buffer, how many still want what is in it
        self._go_through(nodes, None)

    def lay_out(self, backend: Backend, n: int) -> tuple[Memories, Memories]:
        """As :func:`lay_out`."""
        empty = backend.empty
        buffers = [empty((n * width,), dtype) for width, dtype in self.buffers]
        rows = {
            layer: {name: buffers[i][: n * width].reshape((n, *shape)) for name, i, width, shape in places}
            for layer, places in self.places.items()
        }
        fixed = {
            layer: {name: empty(f.shape, f.dtype) for name, f in memory.fixed.items()}
            for layer, memory in self._memory.items()
        }
        return rows, fixed

    def _go_through(self, nodes: Sequence[Node], x: int | None) -> int | None:
        """The buffer of the last output, that of the input being ``x``; None for the memory of whoever gives the rows.

        One reader of x is gone afterwards.
        """
        for node in nodes:
            inside = None
            if node.inner:
                self._hold(x)  # the block itself reads it once more
                inside = self._go_through(node.inner, x)
            formats = self._memory[node.name].rows
            mine = {what: self._take(f) for what, f in formats.items()}
            self.places[node.name] = [
                Place(what, buffer, math.prod(formats[what].shape), formats[what].shape)
                for what, buffer in mine.items()
            ]
            if node.inner:
                self._let_go(inside)
            if node.is_last:
                return mine[OUTPUT]
            for what, buffer in mine.items():
                if what != OUTPUT:
                    self._let_go(buffer)
            if OUTPUT in mine:  # else y is x
                self._let_go(x)
                x = mine[OUTPUT]
        return x

    def _take(self, f: RowFormat) -> int:
        """A buffer that is free: the smallest that is wide enough, else the widest, which grows, else a new one."""
        width = math.prod(f.shape)
        free = [i for i, n in enumerate(self._readers) if not n and self.buffers[i].dtype == f.dtype]
        if not free:
            self.buffers.append(Buffer(width, f.dtype))
            self._readers.append(1)
            return len(self.buffers) - 1
        wide = [i for i in free if self.buffers[i].width >= width]
        taken = min(wide, key=self._width) if wide else max(free, key=self._width)
        self.buffers[taken] = Buffer(max(width, self._width(taken)), f.dtype)
        self._readers[taken] = 1
        return taken

    def _width(self, buffer: int) -> int:
        return self.buffers[buffer].width

    def _hold(self, buffer: int | None) -> None:
        if buffer is not None:
            self._readers[buffer] += 1

    def _let_go(self, buffer: int | None) -> None:
        if buffer is not None:
            self._readers[buffer] -= 1
