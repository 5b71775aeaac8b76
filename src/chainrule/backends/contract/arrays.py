"""What arrays and activations are called here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple, TypeAlias

# An array of the backend's own kind. NumPy's and CuPy's array types share no static base class, and a
# type parameter on every layer would say no more than this name does.
Array: TypeAlias = Any

MapsRows: TypeAlias = Callable[..., None]  # (x, *outs): writes ``outs``, a row of each for each row of x

ActivationName: TypeAlias = Literal[
    "identity", "relu", "leaky_relu", "elu", "selu", "softplus", "tanh", "sigmoid",
    "gelu", "gelu_tanh", "silu", "mish",
]  # fmt: skip # a list of names


class Run(NamedTuple):
    """Columns ``start`` to before ``stop`` of x, which go to y from column ``at`` on."""

    start: int
    stop: int
    at: int


class CodeTable(NamedTuple):
    """A column of codes and the table of their vectors: (rows, width), C-contiguous in a longer flat array."""

    column: int  # of x, which holds the codes
    rows: int  # vectors, one for each of the codes 0 .. rows - 1
    width: int  # of a vector
    start: int  # of the table in the flat array, in elements
    at: int  # the first column of y that the vectors go to


class EmbeddingPlan(NamedTuple):
    """Where the columns of x go: numbers as they are, then the vectors of each column of codes."""

    runs: tuple[Run, ...]
    tables: tuple[CodeTable, ...]

    @property
    def plain(self) -> int:
        """How many columns go as they are; the vectors come after them."""
        return sum(run.stop - run.start for run in self.runs)

    def numbered_tables(self) -> Iterator[tuple[int, CodeTable, slice]]:
        """(t, table t, the place of its vectors in an array with one number for each vector of all tables)."""
        start = 0
        for t, table in enumerate(self.tables):
            yield t, table, slice(start, start + table.rows)
            start += table.rows


class Pieces(NamedTuple):
    """Arrays on the device: what each column of a piecewise-linear encoding is made of.

    Attributes
    ----------
    columns : (m,) int64, of x, the column of y is made of
    start, width, low, high : (m,) in the net's own dtype; width is above 0
    first : (n_in + 1,) int64, the column of y where the fractions of each column of x begin, and m
    """

    columns: Array
    start: Array
    width: Array
    low: Array
    high: Array
    first: Array
