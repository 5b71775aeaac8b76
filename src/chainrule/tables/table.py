"""A table: columns of numbers and text, or a matrix, and what is to be predicted from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from chainrule.errors import DataError
from chainrule.nn.columns.column_data import Categorical, TableColumns
from chainrule.plain_text import printable, show

NAMES_SHOWN = 8  # of columns, in the repr


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """What a reader hands over; everything in it has been checked.

    It holds either ``columns``, as files with a header and DataFrames do, or a ``matrix``, as arrays without holes are.

    Parameters
    ----------
    columns : name to column, in order: (n,) float64 with nan for holes, or :class:`Categorical`; and how the numbers
        of a text file were written, see :class:`~chainrule.nn.columns.column_data.TableColumns`
    matrix : (n, d) array, n and d at least 1, finite, of the array's own real dtype; None where there are columns
    feature_names : the columns in order; empty where they have no names
    target : (n,) or (n, k) finite numbers, or the names of classes: (n,) object, Python's texts, of which rows of one
        class share one. None where none was asked for or there is none
    target_name : empty where the target has no name
    source : the path or the data set's name, for messages
    notes : what was taken for granted while reading, one line each
    """

    columns: TableColumns
    matrix: np.ndarray | None
    feature_names: tuple[str, ...]
    target: np.ndarray | None
    target_name: str
    source: str
    notes: tuple[str, ...] = field(default=())

    @classmethod
    def from_columns(
        cls,
        columns: TableColumns,
        target: np.ndarray | None,
        target_name: str,
        source: str,
        notes: Sequence[str] = (),
    ) -> Table:
        """A table that has names."""
        return cls(columns, None, tuple(columns), target, target_name, source, tuple(notes))

    def __repr__(self) -> str:
        """On one line: what was read, not its numbers."""
        target = f", target {show(self.target_name)}" if self.target_name else ""
        shown = ", ".join(map(show, self.feature_names[:NAMES_SHOWN]))
        named = f": {shown}{', ...' * (self.width > NAMES_SHOWN)}" if shown else ""
        return f"<Table {printable(self.source)}: {len(self):,} rows x {self.width} columns{named}{target}>"

    def __len__(self) -> int:
        return len(self.matrix) if self.matrix is not None else len(next(iter(self.columns.values())))

    @property
    def width(self) -> int:
        """How many columns there are besides the target."""
        return self.matrix.shape[1] if self.matrix is not None else len(self.columns)

    @property
    def features(self) -> np.ndarray:
        """(n, d) finite numbers; DataError where a column holds text or holes."""
        if self.matrix is not None:
            return self.matrix
        X = np.empty((len(self), len(self.columns)))
        for j, (name, data) in enumerate(self.columns.items()):
            if isinstance(data, Categorical):
                raise DataError(f"{self.source}: column {name!r} holds text: expected numbers")
            if np.isnan(data).any():
                row = int(np.isnan(data).argmax())
                raise DataError(f"{self.source}: row {row} (from 0) of column {name!r} is missing, a number was wanted")
            X[:, j] = data
        return X
