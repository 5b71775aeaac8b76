"""Embedding: codes of categories to vectors."""

from __future__ import annotations

from chainrule.backends.contract.arrays import Array, CodeTable, EmbeddingPlan
from chainrule.backends.contract.members import over_members
from chainrule.backends.reference.array_operations import ArrayOperations


@over_members
def embed(
    self: ArrayOperations, x: Array, tables: Array, means: Array | None, plan: EmbeddingPlan, *, codes: Array, y: Array
) -> None:
    copy_numbers(x, plan, y=y)
    for t, table in enumerate(plan.tables):
        codes[:, t] = x[:, table.column].real
        vectors = table_of(tables, table)
        found = vectors[self.xp.minimum(codes[:, t], table.rows - 1)]
        if means is not None:
            is_known = (codes[:, t] < table.rows).reshape((-1, 1))
            found = self.xp.where(is_known, found, mean_of(means, plan, table))
        y[:, table.at : table.at + table.width] = found


@over_members
def embed_backward(
    self: ArrayOperations, dy: Array, codes: Array, plan: EmbeddingPlan, *, touched: Array, dtables: Array
) -> None:
    touched[...] = 0
    # Row by row: the order is defined, and no two rows of one code are added at a time.
    for t, table, vectors in plan.numbered_tables():
        touched[vectors][codes[:, t]] = 1
        gradient = table_of(dtables, table)
        gradient[...] = 0
        for i in range(len(dy)):
            row = codes[i : i + 1, t]
            gradient[row] = gradient[row] + dy[i : i + 1, table.at : table.at + table.width]


@over_members
def embed_means(self: ArrayOperations, tables: Array, shares: Array, plan: EmbeddingPlan, *, means: Array) -> None:
    first = 0
    for table in plan.tables:
        of_table = shares[first : first + table.rows].reshape((1, table.rows))
        mean = mean_of(means, plan, table).reshape((1, table.width))
        self.xp.matmul(of_table, table_of(tables, table), out=mean)
        first += table.rows


def copy_numbers(x: Array, plan: EmbeddingPlan, *, y: Array) -> None:
    """What is no code, as it is."""
    for start, stop, at in plan.runs:
        y[:, at : at + stop - start] = x[:, start:stop]


def table_of(tables: Array, table: CodeTable) -> Array:
    """(rows, width)."""
    flat = tables[table.start : table.start + table.rows * table.width]
    return flat.reshape((table.rows, table.width))


def mean_of(means: Array, plan: EmbeddingPlan, table: CodeTable) -> Array:
    """(width,)."""
    at = table.at - plan.plain
    return means[at : at + table.width]
