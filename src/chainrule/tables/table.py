"""A table: columns of numbers and text, or a matrix, and the target to predict from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from chainrule.errors import DataError
from chainrule.nn.columns.column_data import Categorical, ColumnData, TableColumns
from chainrule.plain_text import list_names, printable, show
from chainrule.tables.text_arrays import TEXT, unique_with_codes


@dataclass(frozen=True, eq=False, repr=False)
class Table:
    """What a reader returns; everything in it has been checked.

    It holds either ``columns``, as files with a header and DataFrames do, or a ``matrix``, as arrays without nan are.

    Parameters
    ----------
    columns : name to column, in order: (n,) float64, nan if missing, or :class:`Categorical`; and how the numbers
        of a text file were written, see :class:`~chainrule.nn.columns.column_data.TableColumns`
    matrix : (n, d) array, n and d at least 1, finite, of the array's own real dtype; None if there are columns
    feature_names : the columns in order; empty if they have no names
    target : (n,) or (n, k) finite numbers, or names of classes, (n,) str objects, of which rows of one class
        share one object; None without a target
    target_name : empty if the target has no name
    source : the path or the data set's name, for messages
    notes : assumptions made while reading, one line each
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
        """A table whose columns have names."""
        return cls(columns, None, tuple(columns), target, target_name, source, tuple(notes))

    def __repr__(self) -> str:
        """Rows, columns by kind, holes and target: a line each."""
        lines = "".join(f"\n  {line}" for line in self._describe())
        return f"<Table {printable(self.source)}: {len(self):,} rows, {self.width:,} columns of features{lines}>"

    def _describe(self) -> list[str]:
        lines = []
        if self.matrix is not None:
            lines.append(f"matrix of {self.matrix.dtype}: {list_names(self.feature_names)}".removesuffix(": "))
        texts = {name: data for name, data in self.columns.items() if isinstance(data, Categorical)}
        numbers = [name for name in self.columns if name not in texts]
        if numbers:
            lines.append(f"numbers ({len(numbers):,}): {list_names(numbers)}")
        if texts:
            counts = {name: f" ({len(data.names):,})" for name, data in texts.items()}
            lines.append(f"categories ({len(texts):,}): {list_names(list(texts), counts)}")
        if holes := {name: n for name, data in self.columns.items() if (n := _count_holes(data))}:
            lines.append(
                f"holes ({len(holes):,}): {list_names(list(holes), {k: f' ({n:,})' for k, n in holes.items()})}"
            )
        if self.target is not None:
            name = f" {show(self.target_name)}" if self.target_name else ""
            lines.append(f"target{name}: {_describe_target(self.target)}")
        return lines

    def __len__(self) -> int:
        return len(self.matrix) if self.matrix is not None else len(next(iter(self.columns.values())))

    @property
    def width(self) -> int:
        """The number of columns, the target not included."""
        return self.matrix.shape[1] if self.matrix is not None else len(self.columns)

    @property
    def features(self) -> np.ndarray:
        """(n, d) finite numbers; DataError if a column holds text or lacks values."""
        if self.matrix is not None:
            return self.matrix
        X = np.empty((len(self), len(self.columns)))
        for j, (name, data) in enumerate(self.columns.items()):
            if isinstance(data, Categorical):
                raise DataError(
                    f"{self.source}: column {show(name)}: expected numbers, got text",
                    hint="TableEncoder.fit(table.columns) makes numbers of all columns",
                )
            if np.isnan(data).any():
                row = int(np.isnan(data).argmax())
                raise DataError(
                    f"{self.source}: row {row} (from 0) of column {show(name)}: expected a number, got a hole",
                    hint="fill it or leave the row out; a model trained on such holes fills them itself",
                )
            X[:, j] = data
        return X


def _count_holes(data: ColumnData) -> int:
    return int((data.codes < 0 if isinstance(data, Categorical) else np.isnan(data)).sum())


def _describe_target(target: np.ndarray) -> str:
    if target.dtype == TEXT:
        classes = unique_with_codes(target)[0].tolist()
        return f"{len(classes):,} classes: {list_names(classes)}"
    columns = f"{target.shape[1]} columns of " if target.ndim == 2 else ""
    return f"{columns}{target.dtype}, {target.min():,.6g} to {target.max():,.6g}"
