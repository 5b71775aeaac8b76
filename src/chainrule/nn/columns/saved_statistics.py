"""The statistics of an encoder as arrays of a model file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.nn.columns.category_columns import CategoryColumn
from chainrule.nn.columns.category_statistics import ARRAYS
from chainrule.nn.columns.table_columns import Column


def prefix_of(number: int) -> str:
    """Of the arrays of the column with this number."""
    return f"columns.{number}."


def arrays_of(columns: Sequence[Column]) -> dict[str, np.ndarray]:
    """By name; none without statistics."""
    return {
        f"{prefix_of(number)}{name}": getattr(column.statistics, name)
        for number, column in enumerate(columns)
        if isinstance(column, CategoryColumn) and column.statistics is not None
        for name in ARRAYS
    }


def shapes_of(described: Sequence[Mapping[str, Any]]) -> dict[str, tuple[int, ...]]:
    """The shapes of :func:`arrays_of`, by the columns' descriptions; LookupError or TypeError if these are none."""
    shapes: dict[str, tuple[int, ...]] = {}
    for number, column in enumerate(described):
        if "statistics" in column:
            statistics = column["statistics"]
            c, t, kept = len(statistics["categories"]), len(statistics["labels"]), len(column["categories"])
            sizes = {"means": (c, t), "counts": (kept + c,), "mu": (t,)}
            shapes |= {f"{prefix_of(number)}{name}": sizes[name] for name in ARRAYS}
    return shapes


def arrays_for(number: int, tensors: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of the column with this number, by their names in :data:`ARRAYS`."""
    prefix = prefix_of(number)
    return {name.removeprefix(prefix): array for name, array in tensors.items() if name.startswith(prefix)}
