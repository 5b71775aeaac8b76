"""Statistics of the target for training rows: by rows of other blocks, so that no row sees its own target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from chainrule.errors import DataError, ShapeError
from chainrule.nn.columns.category_sums import WeightedTarget
from chainrule.nn.columns.column_data import Categorical, ColumnData, take
from chainrule.nn.columns.places import with_statistics
from chainrule.nn.columns.table_columns import Column
from chainrule.nn.columns.target_columns import TargetColumns

Positions = list[np.ndarray]  # (n,) each, of the categories of one column with statistics


def positions_of(
    columns: Sequence[Column], table: Mapping[str, ColumnData], rows: np.ndarray | slice = slice(None)
) -> Positions:
    """The positions of categories in these ``rows``: all that the statistics of a training row need of the table."""
    found = []
    for column, *_ in with_statistics(columns):
        data = take(table[column.name], rows)
        if not isinstance(data, Categorical):
            raise DataError(f"column {column.name!r:.60}: expected categories, as in training, got numbers")
        found.append(column.positions(data))
    return found


def told_apart(
    columns: Sequence[Column], X: np.ndarray, positions: Positions
) -> tuple[list[np.ndarray], tuple[int, ...]]:
    """The columns of X with the positions of categories in place of their statistics, which tell of targets; and which
    ones are positions. Nothing is copied.

    Rarer categories of one row each look alike to a new row if their rows have the same target: that makes no copies
    of them.

    Parameters
    ----------
    columns : of an encoder
    X : (n, n_in) as the encoder makes it
    positions : of the same rows, from :func:`positions_of`
    """
    statistics = {j for *_, part in with_statistics(columns) for j in range(part.start, part.stop)}
    found = [X[:, j] for j in range(X.shape[1]) if j not in statistics]
    return [*found, *positions], tuple(range(len(found), len(found) + len(positions)))


def are_of(
    columns: Sequence[Column], positions: Positions, target: TargetColumns, sample_weight: np.ndarray | None = None
) -> bool:
    """Whether all statistics are those of these rows and this target."""
    weighted = WeightedTarget.of(target, sample_weight)
    some = zip(with_statistics(columns), positions, strict=True)
    return all(one.is_of(one.cells(of_rows, weighted), weighted) for (_, one, _), of_rows in some)


def leave_out_own_block(
    columns: Sequence[Column],
    X: np.ndarray,
    positions: Positions,
    target: TargetColumns,
    block: np.ndarray,
    sample_weight: np.ndarray | None = None,
    *,
    left_out: np.ndarray | None = None,
    is_another_fit: bool = False,
) -> None:
    """Overwrite the statistics in X (n, n_in), which are those of new rows, with those by rows of other blocks.

    Rows that judge a net must not be in the statistics of those that it is trained on either: who knows the sum of a
    category from its training rows finds the target that is missing from a mean.

    Parameters
    ----------
    columns : of an encoder
    positions : of these rows, from :func:`positions_of`
    target : of these rows
    block : (n,) the block of each row, from 0: rows of one block see nothing of each other's targets
    sample_weight : (n,) from 0 up, or None; a row of weight 0 counts for none
    left_out : (n,) bool, rows that count for none, as some net is judged by them; None for none
    is_another_fit : allows rows or a target other than those that the statistics were fitted on, whose own sums then
        count; without it they are a DataError
    """
    if len(block) != len(X) or len(target) != len(X):
        raise ShapeError(f"expected a block and a target per row of {len(X):,}, got {len(block):,} and {len(target):,}")
    weighted = counted = WeightedTarget.of(target, sample_weight)
    if left_out is not None and left_out.any():
        weights = np.ones(len(X)) if sample_weight is None else sample_weight
        counted = WeightedTarget.of(target, np.where(left_out, 0.0, weights))
    for (column, statistics, part), of_rows in zip(with_statistics(columns), positions, strict=True):
        cells = statistics.cells(of_rows, weighted, block)
        if not is_another_fit and not statistics.is_of(cells, weighted):
            raise DataError(
                f"column {column.name!r:.60}: expected the rows and the target that its statistics are of, got others",
                hint="fit the encoder on these rows",
            )
        rows = int(cells.rows.sum())
        if counted is not weighted:
            cells = statistics.cells(of_rows, counted, block)
        statistics.of_other_blocks(cells, of_rows, block, counted, rows=rows, out=X[:, part])
