"""What ``chainrule train`` says of the columns of a table: their kinds, missing values, and what is suspicious."""

from __future__ import annotations

import numpy as np

from chainrule.nn.columns.column_data import Categorical
from chainrule.tables.table import Table

NAMES_SHOWN = 4  # columns of each kind


def describe_columns(table: Table) -> str:
    """How many columns are numbers and categories, and which have missing values; empty for a matrix."""
    texts = {name: data for name, data in table.columns.items() if isinstance(data, Categorical)}
    numbers = {name: data for name, data in table.columns.items() if not isinstance(data, Categorical)}
    holes = {name: int(np.isnan(data).sum()) for name, data in numbers.items()}
    holes |= {name: int((data.codes < 0).sum()) for name, data in texts.items()}
    parts = [f"{len(numbers)} number{'s' * (len(numbers) != 1)}"] if numbers else []
    if texts:
        shown = _listed([f"{name} ({len(data.names)})" for name, data in texts.items()])
        parts.append(f"{len(texts)} {'categories' if len(texts) > 1 else 'category'}: {shown}")
    if any(holes.values()):
        parts.append(f"missing values: {_listed([f'{name} ({n:,})' for name, n in holes.items() if n])}")
    return "; ".join(parts)


def doubts(table: Table, most: int) -> list[str]:
    """Notes about columns of text with hardly two equal rows (names, remarks), and columns without any value."""
    empty = [
        f"column {name!r:.60} is empty"
        for name, data in table.columns.items()
        if (data.codes < 0 if isinstance(data, Categorical) else np.isnan(data)).all()
    ]
    return empty + [
        f"column {name!r:.60} has {len(data.names):,} different texts in {len(data):,} rows: perhaps --drop it"
        for name, data in table.columns.items()
        if isinstance(data, Categorical) and len(data.names) > max(most, len(data) // 2)
    ]


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - NAMES_SHOWN} more" if len(names) > NAMES_SHOWN else ""
    return ", ".join(names[:NAMES_SHOWN]) + more
