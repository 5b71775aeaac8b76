"""Embedding: rows of tables by code; the gradient of each row added up in the order of the batch."""

from __future__ import annotations

from chainrule.backends.compiled.calls import call, each_member, known_dtype
from chainrule.backends.compiled.fallback import with_fallback
from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.contract.arrays import Array, EmbeddingPlan
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.backends.reference.embedding import mean_of, table_of


@with_fallback
def embed(
    self: NumPyBackend, x: Array, tables: Array, means: Array | None, plan: EmbeddingPlan, *, codes: Array, y: Array
) -> None:
    loops = LOOPS.embedding
    known_dtype(x, tables, y)
    for of_x, of_tables, of_means, of_codes, of_y in each_member((x, 2), (tables, 1), (means, 1), (codes, 2), (y, 2)):
        for run in plan.runs:
            call(loops.copy_numbers, of_x, *run, of_y)
        for t, table in enumerate(plan.tables):
            call(loops.look_up, of_x, table.column, table_of(of_tables, table), t, table.at, of_codes, of_y)
            if of_means is not None:
                call(loops.put_mean, of_codes, t, table.rows, mean_of(of_means, plan, table), table.at, of_y)


@with_fallback
def embed_backward(
    self: NumPyBackend, dy: Array, codes: Array, plan: EmbeddingPlan, *, touched: Array, dtables: Array
) -> None:
    known_dtype(dy, dtables)
    add = LOOPS.embedding.add_by_code
    for of_dy, of_codes, marks, of_dtables in each_member((dy, 2), (codes, 2), (touched, 1), (dtables, 1)):
        for t, table, vectors in plan.numbered_tables():
            call(add, of_dy, of_codes, t, table.at, 0, marks[vectors], table_of(of_dtables, table))


@with_fallback
def embed_means(self: NumPyBackend, tables: Array, shares: Array, plan: EmbeddingPlan, *, means: Array) -> None:
    known_dtype(tables, shares, means)
    for of_tables, of_means in each_member((tables, 1), (means, 1)):
        first = 0
        for table in plan.tables:
            of_table = shares[first : first + table.rows].reshape((1, table.rows))
            mean = mean_of(of_means, plan, table).reshape((1, table.width))
            self.matmul(of_table, table_of(of_tables, table), out=mean)
            first += table.rows
