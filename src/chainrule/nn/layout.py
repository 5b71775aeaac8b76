"""The memory of a batch's arrays: each its own in training; in a prediction a few that layers share.

In training each layer keeps what its backward pass reads. In a prediction an output is read by the layer above and then
by nobody, so that layers in a row take turns in two buffers as wide as the widest, however many layers there are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from chainrule.backends.contract.backend import Array, Backend
from chainrule.nn.layers.base import Memory, Node
from chainrule.nn.row_format import RowFormat, first_rows, with_members

OUTPUT = "y"  # what the layer above reads


class BatchMemory(NamedTuple):
    """The arrays of each layer, by name: those with a row for each row of the batch, and all others."""

    rows: Mapping[str, dict[str, Array]]
    fixed: Mapping[str, dict[str, Array]]
    members: int = 1

    def first(self, n: int) -> BatchMemory:
        """The first ``n`` rows of it, of each member."""
        rows = {
            layer: {name: first_rows(array, n, self.members) for name, array in arrays.items()}
            for layer, arrays in self.rows.items()
        }
        return self._replace(rows=rows)


def lay_out(backend: Backend, memories: Mapping[str, Memory], n: int, members: int = 1) -> BatchMemory:
    """Memory for a batch of ``n`` rows in which no array shares its place with another.

    Parameters
    ----------
    memories : what each layer asks for, by the layer's name
    members : that have as much each
    """
    rows = {
        layer: {name: backend.empty(with_members((n, *f.shape), members), f.dtype) for name, f in memory.rows.items()}
        for layer, memory in memories.items()
    }
    return BatchMemory(rows, _fixed(backend, memories, members), members)


def _fixed(backend: Backend, memories: Mapping[str, Memory], members: int) -> dict[str, dict[str, Array]]:
    def of_layer(memory: Memory) -> dict[str, Array]:
        own = {name: backend.empty(with_members(f.shape, members), f.dtype) for name, f in memory.fixed.items()}
        return own | {name: backend.empty(f.shape, f.dtype) for name, f in memory.constants.items()}

    return {layer: of_layer(memory) for layer, memory in memories.items()}


class Buffer(NamedTuple):
    """Memory of ``width`` elements per row."""

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

    Parameters
    ----------
    nodes : the layers in their places
    memories : what each of them asks for, by name

    Attributes
    ----------
    buffers : as wide as the widest array that lies in them
    places : of each layer's arrays
    """

    def __init__(self, nodes: Sequence[Node], memories: Mapping[str, Memory]) -> None:
        self.buffers: list[Buffer] = []
        self.places: dict[str, list[Place]] = {}
        self._memories = memories
        self._readers: list[int] = []  # of each buffer, how many still want what is in it
        self._go_through(nodes, None)

    def lay_out(self, backend: Backend, n: int, members: int = 1) -> BatchMemory:
        """Memory for a batch of ``n`` rows of each member, by this plan."""
        total = members * n
        buffers = [backend.empty((total * width,), dtype) for width, dtype in self.buffers]
        rows = {
            layer: {
                name: buffers[i][: total * width].reshape(with_members((n, *shape), members))
                for name, i, width, shape in places
            }
            for layer, places in self.places.items()
        }
        return BatchMemory(rows, _fixed(backend, self._memories, members), members)

    def _go_through(self, nodes: Sequence[Node], x: int | None) -> int | None:
        """The buffer of the last output, that of the input being ``x``; None for the memory of whoever gives the rows.

        One reader of x is gone afterwards.
        """
        for node in nodes:
            inside = None
            if node.inner:
                self._hold(x)  # the block itself reads it once more
                inside = self._go_through(node.inner, x)
            formats = self._memories[node.name].rows
            own = {what: self._take(f) for what, f in formats.items()}
            self.places[node.name] = [
                Place(what, buffer, math.prod(formats[what].shape), formats[what].shape) for what, buffer in own.items()
            ]
            if node.inner:
                self._let_go(inside)
            if node.is_last:
                return own[OUTPUT]
            for what, buffer in own.items():
                if what != OUTPUT:
                    self._let_go(buffer)
            if OUTPUT in own:  # else y is x
                self._let_go(x)
                x = own[OUTPUT]
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
