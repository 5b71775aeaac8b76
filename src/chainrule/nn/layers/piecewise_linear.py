"""The piecewise-linear encoding: each number beside how far it has come through the pieces of its column."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar, Final, Self

import numpy as np

from chainrule.backends.contract.arrays import Pieces
from chainrule.backends.contract.backend import Array, Backend
from chainrule.errors import OptionError
from chainrule.nn.inputs.edges import SMALLEST, quantile_edges
from chainrule.nn.inputs.standardization import Standardization
from chainrule.nn.layers.base import Binding, Layer, LayerPass, Memory, Node, Use
from chainrule.nn.layers.formulas import Backward, Formulas, Forward, joined
from chainrule.nn.row_format import RowFormat
from chainrule.plain_text import count_of

LOWEST: Final = -1.0  # of the first fraction of a column, below its first edge
HIGHEST: Final = 2.0  # of the last one, above its last edge
LARGEST: Final = 1e30  # edge: what is divided by a width stays finite in float32
INDEX: Final = np.dtype(np.int64)


@dataclass(frozen=True, repr=False)
class PiecewiseLinear(Layer):
    """y = [x | p_1 ... p_m]: x as it is and, behind it, for each column j with edges b_0 < ... < b_T the T fractions

        p_t = clip((x_j - b_(t-1)) / (b_t - b_(t-1)), 0, 1)

    The first is open below, down to -1, and the last open above, up to 2. Backward::

        dx_j = dy_j + sum_t( [0 < p_t < 1] dp_t / (b_t - b_(t-1)) )    (with -1 and 2 at the open ends)

    A product with W is then a straight line in x_j plus a slope of its own for each piece: steps and bends that a few
    hidden units would have to learn are there from the start. Edges are fixed, in the units of the layer's input. The
    layer belongs at the input of a net, behind its embedding if there is one: :meth:`fit` takes the edges from rows.

    Parameters
    ----------
    edges : for each column of x, from the first on, () or at least 2 numbers that increase, also as float32; up to
        1e30 in size, and at least 1e-30 apart. Columns behind the last one listed have none

    Raises
    ------
    OptionError   for other edges, or if x has fewer columns; a net has at most 8 such layers.

    Source: Gorishniy, Rubachev, Babenko 2022, On Embeddings for Numerical Features in Tabular Deep Learning, section
    3.2; the open ends are this library's, so that rows beyond the training's still differ from each other.
    """

    kind: ClassVar[str] = "piecewise_linear"

    edges: Sequence[Sequence[float]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", tuple(map(_edges, _listed(self.edges))))  # the dataclass is frozen

    def __repr__(self) -> str:
        """Without the edges, which are many."""
        with_edges = sum(1 for edges in self.edges if edges)
        return f"PiecewiseLinear({count_of(self.fractions, 'fraction')} of {count_of(with_edges, 'column')})"

    @classmethod
    def fit(
        cls,
        X: np.ndarray,
        *,
        bins: int = 16,
        columns: Sequence[int] | None = None,
        standardization: Standardization | None = None,
        sample_weight: np.ndarray | None = None,
    ) -> Self:
        """The encoding with edges at the quantiles 0, 1 / bins, ... 1 of each column, each once.

        Of more than 100,000 rows a sample decides, always the same. A column of one or two values, or one that is
        almost always the same, gets no edges: its fractions would say what it says itself.

        Parameters
        ----------
        X : (n, n_in) finite numbers as the layer takes them or, with a ``standardization``, before it
        bins : fractions of a column, at most; fewer if quantiles are equal
        columns : that get edges, by default all
        standardization : of the net's preparation, if X is not yet standardised
        sample_weight : (n,) from 0 up; a row of weight 2 counts as two rows, one of 0 not at all

        Raises
        ------
        DataError    for numbers that are not finite, or weights that are not from 0 up or all 0.
        ShapeError   if the weights are not as many as the rows.
        """
        return cls(
            quantile_edges(X, bins=bins, columns=columns, standardization=standardization, sample_weight=sample_weight)
        )

    @property
    def fractions(self) -> int:
        """Columns of y behind those of x."""
        return sum(max(0, len(edges) - 1) for edges in self.edges)

    # ---- shapes and memory ------------------------------------------------------------------------

    def width(self, n_in: int) -> int:
        if len(self.edges) > n_in:
            raise OptionError(
                f"edges: expected those of at most {n_in} columns, as many as x has, got {len(self.edges)}"
            )
        return n_in + self.fractions

    def memory(self, n_in: int, use: Use) -> Memory:
        """y and dy; what each column of y is made of."""
        width = self.width(n_in)
        y, of_column = RowFormat((width,), use.storage), RowFormat((width,), use.dtype)
        constants = {"columns": RowFormat((width,), INDEX), "first": RowFormat((n_in + 1,), INDEX)}
        constants |= dict.fromkeys(("start", "widths", "low", "high"), of_column)
        return Memory({"y": y, "dy": y} if use.training else {"y": y}, {}, constants)

    def pieces(self, n_in: int, dtype: Any) -> Pieces:
        """What each column of y is made of, in NumPy arrays; the edges are rounded to ``dtype`` first."""
        key = n_in, np.dtype(dtype)
        if key not in self._pieces:
            self._pieces[key] = self._made(*key)
        return self._pieces[key]

    def assign_pieces(self, backend: Backend, n_in: int, out: Pieces) -> None:
        """:meth:`pieces` into arrays on a device."""
        real = np.float32 if out.start.dtype == np.float32 else np.float64
        for array, values in zip(out, self.pieces(n_in, real), strict=True):
            backend.assign(values, out=array)

    @cached_property
    def _pieces(self) -> dict[tuple[int, np.dtype], Pieces]:
        return {}

    def _made(self, n_in: int, dtype: np.dtype) -> Pieces:
        own = [np.asarray(edges, dtype).astype(np.float64) for edges in self.edges]
        counts = [max(0, len(edges) - 1) for edges in own] + [0] * (n_in - len(own))
        starts, widths = [edges[:-1] for edges in own], [np.diff(edges) for edges in own]
        low, high = [np.zeros(count) for count in counts], [np.ones(count) for count in counts]
        for at, count in enumerate(counts):
            if count:
                low[at][0], high[at][-1] = LOWEST, HIGHEST
        x = np.ones(n_in)
        return Pieces(
            columns=np.concatenate([np.arange(n_in), np.repeat(np.arange(n_in), counts)]),
            start=np.concatenate([0 * x, *starts]),
            width=np.concatenate([x, *widths]),
            low=np.concatenate([-np.inf * x, *low]),
            high=np.concatenate([np.inf * x, *high]),
            first=n_in + np.concatenate([[0], np.cumsum(counts)]),
        )

    def formulas(self) -> Formulas:
        p = "clip(({x}_j - {start}) / {widths}, {low}, {high})"
        y = Forward("y", f"[{{x}} | p] where p = {p} for each piece of a column j", lambda at, q: at.encoded(q.x))
        dx = "d{y}_j + sum over its pieces( [{low} < p < {high}] dp / {widths} )"
        return Formulas((y,), (Backward("x", dx),))

    def bind(self, node: Node, binding: Binding, memory: dict[str, Array], inner: Sequence[LayerPass]) -> LayerPass:
        return PiecewiseLinearPass(self, node, binding, **memory)

    def describe(self) -> dict[str, Any]:
        return {"kind": self.kind, "edges": [list(edges) for edges in self.edges]}


class PiecewiseLinearPass(LayerPass):
    """The layer bound to a batch."""

    def __init__(
        self,
        layer: PiecewiseLinear,
        node: Node,
        binding: Binding,
        *,
        y: Array,
        columns: Array,
        first: Array,
        start: Array,
        widths: Array,
        low: Array,
        high: Array,
        dy: Array = None,
    ) -> None:
        self.backend, self.name = binding.backend, node.name
        self.y, self.dy = y, dy
        self.pieces = Pieces(columns, start, widths, low, high, first)
        layer.assign_pieces(self.backend, node.n_in, self.pieces)

    def forward(self, x: Array) -> Array:
        self.backend.piecewise_linear(x, self.pieces, y=self.y)
        return self.y

    def backward(self, dx: Array | None) -> None:
        if dx is not None:
            self.backend.piecewise_linear_backward(self.dy, self.y, self.pieces, dx=dx)

    def encoded(self, x: Array) -> Array:
        """y by its formula, in NumPy arrays; also of complex numbers."""
        columns, start, width, low, high, first = (self.backend.download(array).real for array in self.pieces)
        part = slice(int(first[0]), None)
        z = (x[..., columns[part]] - start[part]) / width[part]
        p = np.where(z.real < low[part], low[part], np.where(z.real > high[part], high[part], z))
        return joined(x, p)


def _listed(values: Any) -> tuple[Any, ...]:
    if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str):
        raise OptionError(f"edges: expected a list of numbers for each column, got {values!r:.60}")
    return tuple(values)


def _edges(values: Any) -> tuple[float, ...]:
    edges = _listed(values)
    numbers = all(isinstance(b, int | float | np.floating) and not isinstance(b, bool) for b in edges)
    if numbers and all(abs(b) <= LARGEST for b in edges):
        widths = np.diff(np.array(edges, np.float32).astype(np.float64))
        if len(edges) != 1 and (widths >= SMALLEST).all():
            return tuple(float(b) for b in edges)
    raise OptionError(
        f"edges: expected () or at least 2 numbers that increase as float32, got {edges!r:.80}",
        hint="PiecewiseLinear.fit(X) finds them",
    )
