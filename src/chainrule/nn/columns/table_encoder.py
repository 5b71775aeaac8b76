"""From a table with names, text and missing values to the X of a net; fitted on training rows, kept with the net."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.errors import DataError, OptionError
from chainrule.host_memory import out_of_memory_hint
from chainrule.nn.columns.category_columns import CategoryColumn, EmbeddedColumn
from chainrule.nn.columns.category_sums import WeightedTarget
from chainrule.nn.columns.column_data import ColumnData, KnownTexts, TableColumns, positions, shorten, take
from chainrule.nn.columns.notation import Notation
from chainrule.nn.columns.number_column import NumberColumn
from chainrule.nn.columns.out_of_block import leave_out_own_block, positions_of
from chainrule.nn.columns.places import of_numbers, starts_of, with_codes, with_statistics
from chainrule.nn.columns.table_columns import Column, fit_column
from chainrule.nn.columns.table_rows import compact_dtype, count_rows
from chainrule.nn.columns.target_columns import TargetColumns
from chainrule.nn.inputs.standardization import Standardization
from chainrule.nn.layers.embedding import Embedding, usual_width
from chainrule.nn.layers.piecewise_linear import PiecewiseLinear
from chainrule.plain_text import count_of

OUT_OF_MEMORY_HINT = "X takes 8 bytes per number: use fewer rows or columns, or a lower max_categories"
MOST_CHARACTERS = 1 << 26  # of the names of X together: the limit of a model file
PRINTED = {NumberColumn.kind: "of numbers", CategoryColumn.kind: "of categories", EmbeddedColumn.kind: "embedded"}
PART = 65_536  # rows encoded at a time, so that temporary arrays stay small


@dataclass(frozen=True, repr=False)
class TableEncoder:
    """The columns of a table that a model takes, in its order, and how each enters X.

    X has the columns of ``columns[0]``, then those of ``columns[1]``, and so on; standardisation comes after it. The
    same values give the same X in whatever order a table has its columns, and whatever else it has.

    Parameters
    ----------
    columns : NumberColumn, CategoryColumn or EmbeddedColumn each, with different names
    """

    columns: tuple[Column, ...]

    def __post_init__(self) -> None:
        if not self.columns or len(set(self.table_names)) < len(self.columns):
            got = ", ".join(map(repr, self.table_names[:10])) or "none"
            raise OptionError(f"expected at least one column, all of different names, got {got:.200}")
        characters = sum(column.name_characters for column in self.columns if isinstance(column, CategoryColumn))
        if characters > MOST_CHARACTERS:  # counted before names are made: each category's repeats its column's
            raise OptionError(
                f"expected names of X of at most {MOST_CHARACTERS:,} characters together, got {characters:,}",
                hint="a lower max_categories, or shorter names of columns and categories",
            )

    def __repr__(self) -> str:
        kinds = Counter(column.kind for column in self.columns)
        listed = ", ".join(f"{count:,} {PRINTED[kind]}" for kind, count in kinds.items())
        width = count_of(sum(len(column.names) for column in self.columns), "column")
        return f"<TableEncoder of {count_of(len(self.columns), 'column')} ({listed}) to X of {width}>"

    @classmethod
    @out_of_memory_hint(OUT_OF_MEMORY_HINT, doing="fitting an encoder")
    def fit(
        cls,
        table: Mapping[str, ColumnData],
        *,
        rows: np.ndarray | None = None,
        sample_weight: np.ndarray | None = None,
        max_categories: int | None = None,
        embed_above: int | None = None,
        target: TargetColumns | None = None,
    ) -> TableEncoder:
        """Medians, categories and shares of these ``rows``, by default all; the table's other rows have no influence.

        Parameters
        ----------
        table : name to column: (n,) float64 with nan for missing values, or :class:`Categorical`. Those of
            :func:`chainrule.read_table` also know how their numbers were written, which the encoder keeps
        rows : positions of the training rows
        sample_weight : (len(rows),) of these rows, above 0; None for all ones
        max_categories : of a column of text; rarer ones share one column of X, or a vector. By default 32, or
            ``embed_above`` if that is given, and 65,536 of an embedded column
        embed_above : columns of text with more categories than this become one column of X with codes, for
            :meth:`embedding`; categories with a single row count as rarer there. By default none are
        target : of these rows: the rarer categories of a column that is not embedded get statistics of it, and
            training rows must be encoded by :meth:`encode_training`. None for no statistics
        """
        if not isinstance(table, Mapping):
            raise DataError(f"expected the columns of a table, got {type(table).__name__}", hint="table.columns")
        chosen = slice(None) if rows is None else positions(rows, len(next(iter(table.values()), ())))
        options = {"max_categories": max_categories, "embed_above": embed_above}
        notations = table.notations if isinstance(table, TableColumns) else {}
        weighted = None if target is None else WeightedTarget.of(target, sample_weight)
        columns = (
            fit_column(
                name, take(data, chosen), sample_weight, notation=notations.get(name), target=weighted, **options
            )
            for name, data in table.items()
        )
        return cls(tuple(columns))

    @cached_property
    def table_names(self) -> tuple[str, ...]:
        """The columns that a table must have."""
        return tuple(column.name for column in self.columns)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The columns of X."""
        return tuple(name for column in self.columns for name in column.names)

    @cached_property
    def kinds(self) -> Mapping[str, str]:
        """{name of the table's column: "number" or "category"}."""
        return {c.name: "number" if isinstance(c, NumberColumn) else "category" for c in self.columns}

    @cached_property
    def notations(self) -> Mapping[str, Notation]:
        """{name of the table's column: how its numbers are written}, for the columns that showed it."""
        return {c.name: c.notation for c in self.columns if c.notation is not None}

    @property
    def notation(self) -> Notation | None:
        """How the numbers of all columns are written, units aside; None if that is not known or differs."""
        found = {None if column.notation is None else column.notation.bare for column in self.columns}
        return found.pop() if len(found) == 1 else None

    @cached_property
    def texts(self) -> Mapping[str, KnownTexts]:
        """{name of a column of text: what is known of it}, for reading such a table again."""
        return {c.name: c.known for c in self.columns if not isinstance(c, NumberColumn)}

    @property
    def has_statistics(self) -> bool:
        """Whether a column has statistics of the target, so that training rows are not encoded as new ones are."""
        return any(True for _ in with_statistics(self.columns))

    @cached_property
    def number_columns(self) -> tuple[int, ...]:
        """The columns of X that hold numbers: those of the table, and statistics of rarer categories."""
        return of_numbers(self.columns)

    def embedding(self, *, widths: Sequence[int] | None = None, rows: int | None = None) -> Embedding | None:
        """The first layer of a net on X, for the columns that hold codes; None if there are none.

        Parameters
        ----------
        widths : of the vectors of each of these columns, by default :func:`~chainrule.nn.layers.embedding.usual_width`
        rows : how many rows it will be trained on, by default more than enough: few rows of very many categories get
            shorter vectors, which take less time and memory and are no worse
        """
        embedded = with_codes(self.columns)
        if not embedded:
            return None
        counts = [column.slots for _, column in embedded]
        return Embedding(
            columns=[at for at, _ in embedded],
            counts=counts,
            widths=[usual_width(count, rows) for count in counts] if widths is None else widths,
            shares=[() if column.is_complete else column.shares for _, column in embedded],
        )

    def piecewise_linear(
        self,
        X: np.ndarray,
        standardization: Standardization | None,
        *,
        bins: int = 16,
        sample_weight: np.ndarray | None = None,
    ) -> PiecewiseLinear | None:
        """The encoding of the numbers of a table, for the input of a net; None if no column has edges.

        It comes right behind :meth:`embedding`, if there is one, else it is the first layer. Columns of categories and
        of missing values get no fractions, but the statistics of rarer categories do.

        Parameters
        ----------
        X : (n, len(names)) the training rows, from :meth:`encode` or :meth:`encode_training`
        standardization : of the net's preparation, or None
        bins, sample_weight : as for :meth:`PiecewiseLinear.fit`
        """
        whole = PiecewiseLinear.fit(
            X, columns=self.number_columns, bins=bins, standardization=standardization, sample_weight=sample_weight
        )
        codes = {at for at, _ in with_codes(self.columns)}
        found = PiecewiseLinear([edges for j, edges in enumerate(whole.edges) if j not in codes])
        return found if found.fractions else None

    @out_of_memory_hint(OUT_OF_MEMORY_HINT, doing="encoding a table")
    def encode(
        self, table: Mapping[str, ColumnData], *, rows: np.ndarray | None = None, compact: bool = False
    ) -> np.ndarray:
        """X (n, len(names)) float64 of these ``rows`` of a table, by default all: of new rows, if there are statistics.

        With ``compact`` it is uint8 if that holds all of X, as for categories; a net makes the same of it.

        Raises
        ------
        DataError   if the table lacks a column, naming all that it lacks, or a column holds the other kind.
        """
        count = count_rows(table, self.table_names)
        rows = None if rows is None else positions(rows, count)
        n = count if rows is None else len(rows)
        X = np.empty((n, len(self.names)), compact_dtype(self.columns, table, [rows]) if compact else np.float64)
        for part in (slice(start, min(start + PART, n)) for start in range(0, n, PART)):
            self._encode(table, part if rows is None else rows[part], out=X[part])
        return X

    def encode_cells(self, cells: Mapping[str, Sequence[Any]], n: int) -> np.ndarray:
        """X as :meth:`encode` makes it, of ``n`` rows, but soon if these are few: a row after the other.

        ``cells`` are numbers, nan for a missing one, or names of categories, None for a missing one.
        """
        X = np.zeros((n, len(self.names)))
        for column, place in self._places:
            for row, cell in zip(X, cells[column.name], strict=True):
                column.encode_cell(cell, out=row, at=place.start)
        return X

    def encode_training(
        self,
        table: Mapping[str, ColumnData],
        *,
        target: TargetColumns | None,
        block: np.ndarray,
        rows: np.ndarray | None = None,
        sample_weight: np.ndarray | None = None,
        left_out: np.ndarray | None = None,
        compact: bool = False,
    ) -> np.ndarray:
        """X of the rows that the encoder was fitted on: their statistics are those of rows of other blocks, so that no
        row sees its own target. Without statistics as :meth:`encode`.

        Parameters
        ----------
        target : of these rows; an OptionError without it if there are statistics, a DataError for that of another fit
        block : (n,) the block of each row, from 0
        sample_weight : (n,) of these rows, from 0 up; None for all ones
        left_out : (n,) bool, rows that count for none, as a net that is trained on the others is judged by them
        compact : as for :meth:`encode`
        """
        X = self.encode(table, rows=rows, compact=compact)
        if self.has_statistics:
            if target is None:
                raise OptionError(
                    "target: expected that of the training rows, as the encoder has statistics of it, got None",
                    hint="encode(table) is for rows whose target is not known",
                )
            chosen = slice(None) if rows is None else positions(rows, count_rows(table, self.table_names))
            found = positions_of(self.columns, table, chosen)
            leave_out_own_block(self.columns, X, found, target, block, sample_weight, left_out=left_out)
        return X

    def encode_and_release(
        self, table: Mapping[str, ColumnData], sets: Sequence[np.ndarray], *, compact: bool = False
    ) -> list[np.ndarray]:
        """X of each of these sets of rows, as :meth:`encode` makes it, while the columns give their memory back.

        Encoded rows are cut off from the columns, from the last row on, so that columns and X together take no more
        memory than the larger of them. In the end the columns are empty: call it only if nothing else uses the table.
        Columns that lie in the memory of something else (Arrow's, a DataFrame's) stay as they are.

        Parameters
        ----------
        sets : positions of rows, ascending; ``compact`` as for :meth:`encode`, of all of them
        """
        n = count_rows(table, self.table_names)
        sets = [positions(rows, n) for rows in sets]
        if any((np.diff(rows) < 0).any() for rows in sets):
            raise DataError("rows: expected positions in ascending order")
        dtype = compact_dtype(self.columns, table, sets) if compact else np.float64
        found = [np.empty((len(rows), len(self.names)), dtype) for rows in sets]
        for start in reversed(range(0, n, PART)):
            for rows, X in zip(sets, found, strict=True):
                part = slice(*np.searchsorted(rows, (start, start + PART)))
                self._encode(table, rows[part], out=X[part])
            for name in self.table_names:
                shorten(table[name], start)
        return found

    def _encode(self, table: Mapping[str, ColumnData], rows: np.ndarray | slice, *, out: np.ndarray) -> None:
        for column, of_column in self._places:
            column.encode(take(table[column.name], rows), out=out[:, of_column])

    @cached_property
    def _places(self) -> tuple[tuple[Column, slice], ...]:
        starts = [at for at, _ in starts_of(self.columns)]
        return tuple(zip(self.columns, map(slice, starts, [*starts[1:], len(self.names)]), strict=True))

    def unseen(self, table: Mapping[str, ColumnData]) -> dict[str, list[str]]:
        """{column: categories that no training row had, or too few of them}, for columns that have any."""
        texts = [column for column in self.columns if not isinstance(column, NumberColumn)]
        found = {c.name: c.unseen(data) for c in texts if not isinstance(data := table[c.name], np.ndarray)}
        return {name: names for name, names in found.items() if names}
