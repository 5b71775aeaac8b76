"""Where in X the columns of a table are: its numbers, its codes, and the statistics of its categories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chainrule.nn.columns.category_columns import CategoryColumn, EmbeddedColumn
from chainrule.nn.columns.category_statistics import CategoryStatistics
from chainrule.nn.columns.number_column import NumberColumn
from chainrule.nn.columns.table_columns import Column


def starts_of(columns: Sequence[Column]) -> Iterator[tuple[int, Column]]:
    """The first column of X of each."""
    at = 0
    for column in columns:
        yield at, column
        at += len(column.names)


def with_codes(columns: Sequence[Column]) -> list[tuple[int, EmbeddedColumn]]:
    """The columns of codes."""
    return [(at, column) for at, column in starts_of(columns) if isinstance(column, EmbeddedColumn)]


def with_statistics(columns: Sequence[Column]) -> Iterator[tuple[CategoryColumn, CategoryStatistics, slice]]:
    """The columns that have statistics of the target, and where these are, behind their slots."""
    for at, column in starts_of(columns):
        if isinstance(column, CategoryColumn) and column.statistics is not None:
            yield column, column.statistics, slice(at + column.slots, at + len(column.names))


def of_numbers(columns: Sequence[Column]) -> tuple[int, ...]:
    """The columns of X that hold numbers: those of the table, without their missing values, and all statistics."""
    numbers = [at for at, column in starts_of(columns) if isinstance(column, NumberColumn)]
    return tuple(
        sorted([*numbers, *(j for *_, part in with_statistics(columns) for j in range(part.start, part.stop))])
    )
