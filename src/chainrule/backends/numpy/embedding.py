"""Embedding on a host: rows are taken and added by their numbers."""

from __future__ import annotations

import numpy as np

from chainrule.backends.contract.arrays import Array, EmbeddingPlan
from chainrule.backends.contract.members import over_members
from chainrule.backends.reference.array_operations import ArrayOperations
from chainrule.backends.reference.embedding import copy_numbers, mean_of, table_of


@over_members
def embed(
    self: ArrayOperations, x: Array, tables: Array, means: Array | None, plan: EmbeddingPlan, *, codes: Array, y: Array
) -> None:
    copy_numbers(x, plan, y=y)
    for t, table in enumerate(plan.tables):
        part = y[:, table.at : table.at + table.width]
        codes[:, t] = x[:, table.column].real
        rows = self._scratch((len(x),), np.intp, use="codes")
        rows[...] = codes[:, t]
        found = self._scratch(part.shape, y.dtype, use="vectors")
        table_of(tables, table).take(rows, axis=0, out=found, mode="clip")  # writes straight into `out`
        part[...] = found
        if means is not None and (unseen := rows == table.rows).any():
            part[unseen] = mean_of(means, plan, table)


@over_members
def embed_backward(
    self: ArrayOperations, dy: Array, codes: Array, plan: EmbeddingPlan, *, touched: Array, dtables: Array
) -> None:
    for t, table, vectors in plan.numbered_tables():
        marks = touched[vectors]
        table_of(dtables, table)[np.flatnonzero(marks)] = 0  # the others are 0
        marks[...] = 0
        n, width = len(dy), table.width
        part = self._scratch((n, width), dy.dtype, use="vectors")
        part[...] = dy[:, table.at : table.at + width]
        places = self._scratch((n, width), np.intp, use="places")
        rows = self._scratch((n,), np.intp, use="codes")
        rows[...] = codes[:, t]
        marks[rows] = 1
        np.multiply(rows, width, out=rows)
        lanes = self._scratch((n, width), np.intp, use="lanes")
        # Copied out first: a sum that broadcasts asks for a buffer of its own each time.
        places[...], lanes[...] = rows[:, None], self._rows(width)
        np.add(places, lanes, out=places)
        gradient = dtables[table.start : table.start + table.rows * width]
        np.add.at(gradient, places.reshape(-1), part.reshape(-1))  # one by one, row after row
