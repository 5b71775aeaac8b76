"""The rows of a table that is to be encoded: how many there are, and in which dtype X holds them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from chainrule.errors import DataError
from chainrule.nn.columns.column_data import ColumnData, take
from chainrule.nn.columns.table_columns import Column


def count_rows(table: Mapping[str, ColumnData], names: Sequence[str]) -> int:
    """How many rows the table has; DataError if it lacks one of these columns."""
    if missing := [name for name in names if name not in table]:
        shown = ", ".join(map(repr, missing[:10])) + (", ..." if len(missing) > 10 else "")
        raise DataError(f"the table lacks {len(missing)} of the {len(names)} columns: {shown}")
    lengths = {len(table[name]) for name in names}
    if len(lengths) > 1:
        raise DataError(f"expected columns of one length, got lengths {min(lengths):,} to {max(lengths):,}")
    return lengths.pop()


def compact_dtype(
    columns: Sequence[Column], table: Mapping[str, ColumnData], sets: Sequence[np.ndarray | None]
) -> np.dtype:
    """The smallest of uint8 and float64 that holds X of all these rows; None for all of the table."""
    chosen = [slice(None) if rows is None else rows for rows in sets]
    parts = ((column, take(table[column.name], rows)) for column in columns for rows in chosen)
    return np.dtype(np.uint8 if all(column.are_bytes(data) for column, data in parts) else np.float64)
