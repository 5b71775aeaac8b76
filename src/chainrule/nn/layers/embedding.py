"""Embedding: a learned vector for each category, instead of a column for each."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final

import numpy as np

from chainrule.backends.contract.arrays import CodeTable, EmbeddingPlan, Run
from chainrule.backends.contract.backend import Array, Backend
from chainrule.errors import OptionError
from chainrule.nn.layers.base import Binding, Layer, LayerPass, Memory, Node, Use
from chainrule.nn.layers.formulas import Backward, Formulas, Forward
from chainrule.nn.row_format import RowFormat
from chainrule.options import whole_number
from chainrule.random import Purpose, stream

MOST_CODES: Final = 1 << 24  # whole numbers up to here are exact in float32
ENOUGH_NUMBERS, NUMBERS_PER_ROW = 32, 8  # in a vector, where its category has few rows
INITIAL_LIMIT: Final = 0.05  # vectors start at U(-limit, limit)
CODES = np.dtype(np.int32)


def usual_width(count: int, rows: int | None = None) -> int:
    """min(600, round(1.6 count^0.56)), at least 1: 6 of 10 categories, 21 of 100, 52 of 500.

    Of so many training ``rows`` at most 8 numbers per row, max(32, 8 rows / count): 32 of 50,000 categories in 160,000
    rows, which are no worse than 600 (decision 41).

    Source: fastai's rule for tables (Howard, Gugger 2020, fastai: A Layered API for Deep Learning, tabular learner).
    """
    width = max(1, min(600, round(1.6 * math.pow(count, 0.56))))
    return width if rows is None else min(width, max(ENOUGH_NUMBERS, NUMBERS_PER_ROW * rows // count))


@dataclass(frozen=True, repr=False)
class Embedding(Layer):
    """y_i = [numbers of x_i | E_0[c_i0] | E_1[c_i1] | ...], c_it the code in column ``columns[t]`` of x.

    Backward, dE_t[c] = sum of dy_i's part of table t over the rows i with code c. It is x @ W of one-hot columns
    without the zeros: a row takes one row of W, and its gradient goes to that one alone. It must be the first layer of
    a net: x is X, whose columns of codes are neither standardised nor rounded, and are checked at upload.

    Vectors start at U(-0.05, 0.05), small beside standardised numbers: at first categories hardly matter. Large ones,
    all different from the start, lead to overfitting (decision 16). Source: Keras, `layers.Embedding`.

    Parameters
    ----------
    columns : of x that hold codes, each once
    counts : how many codes each has: 0 .. count - 1, at most 2^24
    widths : of the vectors of each column; by default :func:`usual_width` of the count
    shares : for each column () or ``count`` numbers from 0 up that sum to 1, the fractions of the training rows. With
        them a prediction takes one code more, ``count``, for a category that training never saw: the mean of the
        vectors by their shares, an average row. By default none has them

    Raises
    ------
    OptionError   if these do not fit each other, or x has no such column.
    """

    kind: ClassVar[str] = "embedding"

    columns: Sequence[int]
    counts: Sequence[int]
    widths: Sequence[int] | None = None
    shares: Sequence[Sequence[float]] | None = None

    def __post_init__(self) -> None:
        columns = tuple(whole_number("column", c, low=0) for c in _listed("columns", self.columns))
        counts = tuple(whole_number("count", k, below=MOST_CODES + 1) for k in _listed("counts", self.counts))
        widths = tuple(map(usual_width, counts)) if self.widths is None else _listed("widths", self.widths)
        shares: Sequence[Any] = ((),) * len(columns) if self.shares is None else _listed("shares", self.shares)
        if not columns or len(set(columns)) < len(columns):
            raise OptionError(f"expected different columns, at least one, got {list(columns)!s:.60}")
        for name, values in (("counts", counts), ("widths", widths), ("shares", shares)):
            if len(values) != len(columns):
                raise OptionError(
                    f"{name}: expected one for each of {len(columns)} columns of codes, got {len(values)}"
                )
        kept = tuple(_shares(of, count) for of, count in zip(shares, counts, strict=True))
        # The dataclass is frozen.
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "counts", counts)
        object.__setattr__(self, "widths", tuple(whole_number("width", width) for width in widths))
        object.__setattr__(self, "shares", kept)

    def __repr__(self) -> str:
        """Without the shares, which are as many as the codes."""
        return f"Embedding(columns={self.columns}, counts={self.counts}, widths={self.widths})"

    # ---- shapes and memory ------------------------------------------------------------------------

    def codes(self, *, training: bool) -> dict[int, int]:
        return {
            column: count + (not training and bool(shares))
            for column, count, shares in zip(self.columns, self.counts, self._shares, strict=True)
        }

    def width(self, n_in: int) -> int:
        if max(self.columns) >= n_in:
            raise OptionError(
                f"columns: expected columns of x from 0 to {n_in - 1}, got {max(self.columns)}",
                hint="columns are counted from 0",
            )
        return n_in - len(self.columns) + sum(self._widths)

    def parameter_shapes(self, n_in: int) -> dict[str, tuple[int, ...]]:
        """E0 (counts[0], widths[0]), E1, ..."""
        return {f"E{t}": shape for t, shape in enumerate(zip(self.counts, self._widths, strict=True))}

    def vectors(self) -> dict[str, int]:
        return {f"E{t}": count for t, count in enumerate(self.counts)}

    def initialize(
        self, backend: Backend, parameters: Mapping[str, Array], *, seed: int, number: int, member: int = 0
    ) -> None:
        """Each table from random numbers of its own."""
        for t in range(len(self.columns)):
            backend.uniform(
                *stream(seed, Purpose.EMBEDDING, index=t, member=member),
                low=-INITIAL_LIMIT,
                high=INITIAL_LIMIT,
                out=parameters[f"E{t}"],
            )

    def memory(self, n_in: int, use: Use) -> Memory:
        """y and dy, and the codes; in prediction the mean vectors, which stand for unseen categories."""
        y = RowFormat((self.width(n_in),), use.storage)
        rows = {"y": y, "codes": RowFormat((len(self.columns),), CODES)}
        if use.training:
            return Memory({**rows, "dy": y}, {})
        if not any(self._shares):
            return Memory(rows, {})
        means, shares = RowFormat((sum(self._widths),), use.dtype), RowFormat((sum(self.counts),), use.dtype)
        return Memory(rows, {"means": means}, {"shares": shares})

    def formulas(self) -> Formulas:
        parts = [f"{{E{t}}}[{{x}}_{column}]" for t, column in enumerate(self.columns)]
        numbers = "numbers of {x} | "
        y = Forward("y", f"[{numbers}{' | '.join(parts)}]", lambda at, q: at.joined(q))
        backward = (
            Backward(f"E{t}", f"sum_rows([{{x}}_{column} = row] d{{y}}'s part)", f"{{y}} -> {{E{t}}}")
            for t, column in enumerate(self.columns)
        )
        return Formulas((y,), tuple(backward))

    def bind(self, node: Node, binding: Binding, memory: dict[str, Array], inner: Sequence[LayerPass]) -> LayerPass:
        return EmbeddingPass(self, node, binding, **memory)

    def describe(self) -> dict[str, Any]:
        return {
            "kind": self.kind,
            "columns": list(self.columns),
            "counts": list(self.counts),
            "widths": list(self._widths),
            "shares": [list(shares) for shares in self._shares],
        }

    def plan(self, n_in: int, starts: Sequence[int]) -> EmbeddingPlan:
        """Which columns of x become which columns of y; ``starts`` are those of the tables in their flat memory."""
        runs = tuple(_runs(self.columns, n_in))
        at = n_in - len(self.columns)
        tables: list[CodeTable] = []
        for column, count, width, start in zip(self.columns, self.counts, self._widths, starts, strict=True):
            tables.append(CodeTable(column, count, width, start, at))
            at += width
        return EmbeddingPlan(runs, tuple(tables))

    @property
    def _widths(self) -> tuple[int, ...]:
        return tuple(self.widths or ())

    @property
    def _shares(self) -> tuple[tuple[float, ...], ...]:
        return tuple(tuple(shares) for shares in self.shares or ())


class EmbeddingPass(LayerPass):
    """The layer bound to a batch."""

    def __init__(
        self,
        layer: Embedding,
        node: Node,
        binding: Binding,
        *,
        y: Array,
        codes: Array,
        dy: Array = None,
        means: Array = None,
        shares: Array = None,
    ) -> None:
        self.backend, self.name = binding.backend, node.name
        names = [f"{node.name}.E{t}" for t in range(len(layer.columns))]
        slots = [binding.parameters.layout.slots[name] for name in names]
        self.plan = layer.plan(node.n_in, [slot.start - slots[0].start for slot in slots])
        # The tables lie side by side, so that all of them are one array to a kernel.
        self._tables = binding.parameters.span(names)
        if binding.gradients is not None and binding.touched is not None:
            self._dtables, self._touched = binding.gradients.span(names), binding.touched.arena.by_member
            with self.backend.running():
                binding.touched.mark_all()  # whatever the gradients are now: nan, say, of a fit that has diverged
        for t, name in enumerate(names):
            setattr(self, f"E{t}", binding.parameters[name])
            if binding.gradients is not None:
                setattr(self, f"dE{t}", binding.gradients[name])
        self.y, self.dy, self._codes, self._means, self._shares = y, dy, codes, means, shares
        if shares is not None:
            given = zip(layer.shares or (), layer.counts, strict=True)
            self.backend.assign(np.concatenate([of or np.zeros(count) for of, count in given]), out=shares)

    def forward(self, x: Array) -> Array:
        """y, keeping the codes for the backward pass."""
        if self._means is not None:
            self.backend.embed_means(self._tables, self._shares, self.plan, means=self._means)
        self.backend.embed(x, self._tables, self._means, self.plan, codes=self._codes, y=self.y)
        return self.y

    def backward(self, dx: Array | None) -> None:
        if dx is not None:
            raise OptionError("there is no gradient by codes")
        self.backend.embed_backward(self.dy, self._codes, self.plan, touched=self._touched, dtables=self._dtables)

    def joined(self, q: Any) -> Array:
        """y by its formula, from the quantities ``q``, which hold x and each E; a NumPy array."""
        parts = [q.x[:, run.start : run.stop] for run in self.plan.runs]
        for t, table in enumerate(self.plan.tables):
            parts.append(getattr(q, f"E{t}")[q.x[:, table.column].real.astype(np.int64)])
        return np.concatenate(parts, axis=1)


def _listed(name: str, values: Any) -> tuple[Any, ...]:
    if not isinstance(values, Sequence | np.ndarray) or isinstance(values, str):
        raise OptionError(f"{name}: expected a list with an entry for each column of codes, got {values!r:.60}")
    return tuple(values)


def _shares(values: Any, count: int) -> tuple[float, ...]:
    shares = _listed("shares", values)
    numbers = all(isinstance(s, int | float) and not isinstance(s, bool) and 0 <= s <= 1 for s in shares)
    if not numbers or len(shares) not in {0, count} or (shares and abs(sum(shares) - 1) > 1e-6):
        raise OptionError(f"expected {count} shares that sum to 1, or (), got {shares!r:.60}")
    return tuple(float(share) for share in shares)


def _runs(columns: Sequence[int], n_in: int) -> Iterator[Run]:
    """The stretches of columns between those of codes."""
    start = at = 0
    for stop in (*sorted(columns), n_in):
        if stop > start:
            yield Run(start, stop, at)
            at += stop - start
        start = stop + 1
