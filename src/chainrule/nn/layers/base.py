"""What every layer is: a description that can be saved, and the same layer bound to the memory of a batch.

A :class:`Layer` says how wide its output is, which parameters it has and what memory a batch needs. A
:class:`LayerPass` is the layer bound to that memory: ``forward`` from x to y; ``backward`` from dy, the gradient of the
loss by y, to the gradients by the parameters and to dx, the gradient by x.
"""

from __future__ import annotations

import abc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, ClassVar, NamedTuple

import numpy as np

from chainrule.arena import Arena, ArenaPart, TouchedVectors, is_trained
from chainrule.backends.contract.backend import Array, Backend
from chainrule.errors import OptionError
from chainrule.nn.layers.formulas import Formulas
from chainrule.nn.row_format import RowFormat

MOST_LAYERS = 10_000  # of a net: one without parameters takes 20 bytes in a model file, and thousands in memory


class Use(NamedTuple):
    """What the memory of a layer depends on."""

    dtype: np.dtype  # of the net
    storage: np.dtype  # of what products read
    training: bool
    is_last: bool  # a loss reads its output, and wants all digits


class Memory(NamedTuple):
    """Arrays that a layer needs for a batch, by name; of an ensemble each member has its own, but for the constants.

    Parameters
    ----------
    rows : with a row for each row of the batch
    fixed : all others
    constants : that depend on the layer alone
    """

    rows: dict[str, RowFormat]
    fixed: dict[str, RowFormat]
    constants: dict[str, RowFormat] = {}  # noqa: RUF012 - never changed


class Binding(NamedTuple):
    """What all layers of a net share in a pass."""

    backend: Backend
    parameters: Arena
    factors: Arena  # weights as products read them
    gradients: Arena | None  # None if nothing is trained
    touched: TouchedVectors | None  # None without gradients, or without tables of vectors
    state: Array  # of the step, see backends/contract/backend.py
    seed: int
    member: int = 0  # the number of the first of the nets that are passed through at once, for random numbers
    fixed: Sequence[ArenaPart] = ()  # of the parameters: their gradients are read by no one
    renews_factors: bool = True  # every forward pass makes them those of the parameters

    @property
    def training(self) -> bool:
        return self.gradients is not None


@dataclass(frozen=True, repr=False)
class Layer(abc.ABC):
    """A layer, described. Subclasses are frozen dataclasses whose fields are what a model file keeps of them."""

    kind: ClassVar[str]  # its name in a model file, and with a number in front of its parameters' names

    def __repr__(self) -> str:
        """As one would write it, without the options that are at their defaults."""
        given = [(f, getattr(self, f.name)) for f in fields(self)]
        shown = [repr(v) if f.default is MISSING else f"{f.name}={v!r}" for f, v in given if v != f.default]
        return f"{type(self).__name__}({', '.join(shown)})"

    def width(self, n_in: int) -> int:
        """Columns of y, for an x of ``n_in`` columns. OptionError if it does not take such an x."""
        return n_in

    def codes(self, *, training: bool) -> dict[int, int]:
        """{column of x: how many codes it may hold, from 0 up}, of a layer that takes codes; else none."""
        return {}

    def parameter_shapes(self, n_in: int) -> dict[str, tuple[int, ...]]:
        """{name: shape} of what it learns, and of the running statistics that it keeps with it."""
        return {}

    def vectors(self) -> dict[str, int]:
        """{name of a table of vectors among its parameters, of which a batch needs a few: how many vectors}."""
        return {}

    def initialize(  # noqa: B027  (most layers have no parameters)
        self, backend: Backend, parameters: Mapping[str, Array], *, seed: int, number: int, member: int = 0
    ) -> None:
        """Overwrite its parameters, which are 0, with their first values.

        ``number`` counts layers of this kind, ``member`` the nets of an ensemble, which begin differently.
        """

    def inner(self) -> tuple[Layer, ...]:
        """The layers that it is made of, if it is a block."""
        return ()

    @abc.abstractmethod
    def memory(self, n_in: int, use: Use) -> Memory:
        """What it needs for a batch."""

    @abc.abstractmethod
    def bind(self, node: Node, binding: Binding, memory: dict[str, Array], inner: Sequence[LayerPass]) -> LayerPass:
        """The layer bound to this memory, under the name of ``node``."""

    def formulas(self) -> Formulas:
        """What it computes, as in a textbook: the lines of `chainrule explain`. OptionError if it does not define them.

        A symbol is an attribute of the :class:`LayerPass`, and with a d in front its gradient.
        """
        raise OptionError(f"a layer of kind {self.kind} has no formulas to explain", hint="define formulas()")

    def describe(self) -> dict[str, Any]:
        """What a model file keeps."""
        return {"kind": self.kind, **{f.name: getattr(self, f.name) for f in fields(self)}}


class Node(NamedTuple):
    """A layer in its place."""

    layer: Layer
    name: str  # "dense0", "dropout0", "dense1", ...: the kind, and how many of that kind precede it
    number: int  # how many of its kind precede it
    n_in: int
    n_out: int
    is_last: bool
    inner: tuple[Node, ...]

    def walk(self) -> Iterator[Node]:
        """The layers within it, then itself: the order in which a batch passes through them."""
        for node in self.inner:
            yield from node.walk()
        yield self


def arrange(layers: Sequence[Layer], n_in: int) -> tuple[Node, ...]:
    """``layers`` in a row on ``n_in`` columns. OptionError if two do not fit each other, or for very many."""
    counts: dict[str, int] = {}

    def place(layer: Layer, n_in: int, *, is_last: bool) -> Node:
        n_out = layer.width(n_in)  # first: it refuses what does not fit
        inner = row(layer.inner(), n_in, ends=False)
        number = counts.setdefault(layer.kind, 0)
        counts[layer.kind] += 1
        refuse_very_many(sum(counts.values()))
        return Node(layer, f"{layer.kind}{number}", number, n_in, n_out, is_last, inner)

    def row(layers: Sequence[Layer], n_in: int, *, ends: bool) -> tuple[Node, ...]:
        nodes: list[Node] = []
        for i, layer in enumerate(layers):
            nodes.append(place(layer, n_in, is_last=ends and i == len(layers) - 1))
            n_in = nodes[-1].n_out
        return tuple(nodes)

    return row(layers, n_in, ends=True)


def refuse_very_many(layers: int) -> None:
    """OptionError for a net of more than 10,000 layers."""
    if layers > MOST_LAYERS:
        raise OptionError(f"expected at most {MOST_LAYERS:,} layers, those within blocks included, got more")


def walk(nodes: Sequence[Node]) -> Iterator[Node]:
    """All layers of a net, those within blocks too."""
    for node in nodes:
        yield from node.walk()


def parameter_shapes(nodes: Sequence[Node]) -> dict[str, tuple[int, ...]]:
    """{"dense0.W": shape, ...} of a net, in the order of the arena: weights, then other parameters, then statistics.

    So the parameters of one kind are one slice, and so are the statistics, which an optimiser must not touch.
    """
    shapes = {
        f"{node.name}.{name}": shape
        for node in walk(nodes)
        for name, shape in node.layer.parameter_shapes(node.n_in).items()
    }
    return dict(sorted(shapes.items(), key=lambda item: (not is_trained(item[0]), not item[0].endswith(".W"))))


def vectors_of(nodes: Sequence[Node]) -> dict[str, int]:
    """{"embedding0.E0": how many vectors, ...} of a net: its tables of vectors."""
    return {f"{node.name}.{name}": n for node in walk(nodes) for name, n in node.layer.vectors().items()}


class LayerPass(abc.ABC):
    """A layer bound to a batch, in memory that is allocated once.

    Of k nets that are passed through at once all arrays of rows and of parameters have a leading axis of length k.
    """

    name: str
    y: Array  # (n, n_out), the output
    dy: Array  # (n, n_out), the gradient of the loss by it, written by the layer above
    inner: Sequence[LayerPass] = ()

    @abc.abstractmethod
    def forward(self, x: Array) -> Array:
        """y; whatever the backward pass needs is kept."""

    @abc.abstractmethod
    def backward(self, dx: Array | None) -> None:
        """From ``dy``: the gradients by the parameters and by x; ``dx`` is None if it is not needed."""

    def inner_gradient(self, dy: Array) -> Array:
        """The gradient by the output of the last layer in this block, if ``dy`` is the one by its own."""
        return dy

    def walk(self) -> Iterator[LayerPass]:
        """The layers within it, then itself: the order in which a batch passes through them."""
        for layer in self.inner:
            yield from layer.walk()
        yield self
