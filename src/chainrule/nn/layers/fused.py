"""Layers in a row that a device computes as one: a dense layer with the factors, or the encoding, below it.

A net is described layer by layer, and so are its files, its formulas and its exports. A pass on a backend that has
something faster for some layers in a row (:attr:`Backend.fuses`) binds them as one; what it computes is the same, to
rounding, and the outputs within are nowhere.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from chainrule.backends.contract.arrays import Pieces
from chainrule.backends.contract.backend import Array, Backend
from chainrule.nn.layers.base import Binding, Layer, LayerPass, Memory, Node, Use, walk
from chainrule.nn.layers.dense import Dense, DensePass
from chainrule.nn.layers.piecewise_linear import PiecewiseLinear
from chainrule.nn.layers.scale import Scale
from chainrule.nn.row_format import RowFormat

FEWEST_FRACTIONS = 8  # of a column, in the mean: for fewer, a product is as fast


def fused(nodes: Sequence[Node], backend: Backend, dtype: Any) -> tuple[Node, ...]:
    """``nodes`` with layers in a row in place of which ``backend`` has something faster as one node."""
    if not backend.fuses or dtype.kind != "f" or backend.storage(dtype) != dtype:
        return tuple(nodes)
    found: list[Node] = []
    for node in nodes:
        own = node._replace(inner=fused(node.inner, backend, dtype)) if node.inner else node
        found.append(own)
        if not isinstance(node.layer, Dense) or len(found) == 1 or not isinstance(found[-2].layer, Scale):
            continue
        scale, encoding = found[-2], found[-3] if len(found) > 2 else None
        if encoding is not None and "encoded_dense" in backend.fuses and _is_worth_it(encoding.layer):
            found[-3:] = [own._replace(layer=FusedDense(node.layer, scale, encoding), n_in=encoding.n_in)]
        elif "scaled_dense" in backend.fuses:
            found[-2:] = [own._replace(layer=FusedDense(node.layer, scale), n_in=scale.n_in)]
    return tuple(found)


def has_fused_encoding(nodes: Sequence[Node]) -> bool:
    """Whether one of the layers is an encoding that is computed with the layers above it."""
    return any(isinstance(node.layer, FusedDense) and node.layer.encoding is not None for node in walk(nodes))


def _is_worth_it(layer: Layer) -> bool:
    if not isinstance(layer, PiecewiseLinear):
        return False
    columns = sum(1 for edges in layer.edges if edges)
    return layer.fractions >= FEWEST_FRACTIONS * max(1, columns)


@dataclass(frozen=True, repr=False)
class FusedDense(Layer):
    """y = act((x * s) @ W + b) or, above an encoding, y = act(([x | p] * s) @ W + b); no layer of a model file.

    Parameters
    ----------
    dense : the layer on top, whose name the one in its place has
    scale, encoding : the layers below, in their places
    """

    kind: ClassVar[str] = "fused_dense"

    dense: Dense
    scale: Node
    encoding: Node | None = None

    def width(self, n_in: int) -> int:
        return self.dense.n_out

    def memory(self, n_in: int, use: Use) -> Memory:
        """What the dense layer needs, and what each column of an encoding is made of."""
        own = self.dense.memory(self.scale.n_out, use)
        if self.encoding is None:
            return own
        encoding = self.encoding.layer
        assert isinstance(encoding, PiecewiseLinear)
        columns = (sum(1 for edges in encoding.edges if edges),)
        places = {"piece": RowFormat(columns, np.dtype(np.int32)), "fraction": RowFormat(columns, use.dtype)}
        return Memory(own.rows | places, own.fixed, encoding.memory(self.encoding.n_in, use).constants)

    def bind(self, node: Node, binding: Binding, memory: dict[str, Array], inner: Sequence[LayerPass]) -> LayerPass:
        if self.encoding is None:
            return ScaledDensePass(self, node, binding, memory)
        return EncodedDensePass(self, node, binding, memory)


class ScaledDensePass(DensePass):
    """y = act((x * s) @ W + b) on a batch, forward and backward: a dense layer and the factors below it.

    Backward, with dz = dy * act'(z)::

        dW = (x * s).T @ dz        ds = sum_rows(x * (dz @ W.T))        dx = (dz @ W.T) * s
    """

    def __init__(self, layer: FusedDense, node: Node, binding: Binding, memory: dict[str, Array]) -> None:
        super().__init__(layer.dense, node.name, binding, **memory)
        self.s = binding.parameters[f"{layer.scale.name}.s"]
        if binding.gradients is not None:
            self.ds = binding.gradients[f"{layer.scale.name}.s"]

    def forward(self, x: Array) -> Array:
        self.x = x
        self.backend.scaled_dense(x, self.s, self.W, self.b, self.activation, z=self.z, y=self.y)
        return self.y

    def weight_gradient(self) -> None:
        """Part of :meth:`backward_from_dz`, as the gradients by W and by x need the same factors."""

    def backward_from_dz(self, dx: Array | None) -> None:
        self.backend.scaled_dense_backward(self.x, self.s, self.W, self.dz, dW=self.dW, dscale=self.ds, dx=dx)

    def backward_into(self, below: DensePass) -> None:
        self.backward_from_dz(below.dy)
        below.activation_gradient()


class EncodedDensePass(ScaledDensePass):
    """y = act(([x | p] * s) @ W + b) on a batch: a dense layer, the factors and the encoding below it."""

    def __init__(self, layer: FusedDense, node: Node, binding: Binding, memory: dict[str, Array]) -> None:
        assert layer.encoding is not None
        assert isinstance(layer.encoding.layer, PiecewiseLinear)
        names = ("columns", "start", "widths", "low", "high", "first")
        self.pieces = Pieces(*(memory[name] for name in names))
        self.places = memory["piece"], memory["fraction"]
        others = {*names, "piece", "fraction"}
        super().__init__(layer, node, binding, {k: array for k, array in memory.items() if k not in others})
        layer.encoding.layer.assign_pieces(self.backend, node.n_in, self.pieces)
        self._n_in, self._training = node.n_in, binding.training
        self._runs = self._runs_of_members(binding)

    def forward(self, x: Array) -> Array:
        self.x = x
        for run, frozen in self._runs:
            arrays = _of_run((x, self.s, self.W, self.b, self.z, self.y, *self.places), run)
            x_of_run, s, W, b, z, y, piece, fraction = arrays
            self.backend.encoded_dense(
                x_of_run, self.pieces, s, W, b, self.activation,
                z=z, y=z if self.y is self.z else y, piece=piece, fraction=fraction,
                keeps=self._training and not frozen,
            )  # fmt: skip
        return self.y

    def backward_from_dz(self, dx: Array | None) -> None:
        for run, frozen in self._runs:
            arrays = (self.x, self.s, self.W, self.dz, *self.places, self.dW, self.ds, dx)
            x, s, W, dz, piece, fraction, dW, ds, dx_of_run = _of_run(arrays, run)
            self.backend.encoded_dense_backward(
                x, self.pieces, s, W, dz,
                piece=piece, fraction=fraction, dW=dW, dscale=ds, dx=dx_of_run, frozen=frozen,
            )  # fmt: skip

    def _runs_of_members(self, binding: Binding) -> list[tuple[slice | None, bool]]:
        """Members that lie side by side, None for all, and whether their weights of fractions are fixed."""
        arena, members = binding.parameters, binding.parameters.members
        slot = arena.layout.slots[f"{self.name}.W"]
        fractions = slice(slot.start + self._n_in * slot.shape[-1], slot.start + slot.size)
        fixed = [any(part.covers(fractions, j) for part in binding.fixed) for j in range(members)]
        borders = [j for j in range(1, members) if fixed[j] != fixed[j - 1]]
        if not borders:
            return [(None, fixed[0])]
        return [(slice(a, b), fixed[a]) for a, b in itertools.pairwise([0, *borders, members])]


def _of_run(arrays: tuple[Array, ...], run: slice | None) -> tuple[Array, ...]:
    """Those of the members in this run."""
    return arrays if run is None else tuple(None if array is None else array[run] for array in arrays)
