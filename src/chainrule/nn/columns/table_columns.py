"""How each column of a table enters X: chosen from the training rows, kept in the model file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.nn.columns.category_columns import MAX_CATEGORIES, CategoryColumn, EmbeddedColumn
from chainrule.nn.columns.category_statistics import CategoryStatistics
from chainrule.nn.columns.category_sums import WeightedTarget
from chainrule.nn.columns.column_data import Categorical, ColumnData
from chainrule.nn.columns.notation import Notation
from chainrule.nn.columns.number_column import NumberColumn
from chainrule.options import whole_number

MAX_VECTORS = 1 << 16  # categories of an embedded column that may have a vector of their own
MIN_ROWS = 2  # that a category must have for one: from a single row it would learn that row's noise

Column = NumberColumn | CategoryColumn | EmbeddedColumn


def fit_column(
    name: str,
    data: ColumnData,
    sample_weight: np.ndarray | None = None,
    *,
    max_categories: int | None = None,
    embed_above: int | None = None,
    notation: Notation | None = None,
    target: WeightedTarget | None = None,
) -> Column:
    """The columns of X for these rows of a table's column; see :meth:`TableEncoder.fit`."""
    if not isinstance(data, Categorical):
        return NumberColumn.fit(name, data, sample_weight, notation=notation)
    for option, value in (("max_categories", max_categories), ("embed_above", embed_above)):
        if value is not None:
            whole_number(option, value)
    distinct = len(np.unique(data.codes[data.codes >= 0])) if embed_above is not None else 0
    if embed_above is not None and distinct > embed_above:
        most = max_categories or MAX_VECTORS
        return EmbeddedColumn.fit(name, data, sample_weight, max_categories=most, at_least=MIN_ROWS, notation=notation)
    most = max_categories or embed_above or MAX_CATEGORIES
    column = CategoryColumn.fit(name, data, sample_weight, max_categories=most, notation=notation)
    return column if target is None else column.with_statistics(data, target)


_TEXT_COLUMNS: dict[str, type[CategoryColumn] | type[EmbeddedColumn]] = {
    column.kind: column for column in (CategoryColumn, EmbeddedColumn)
}


def column_from(description: dict[str, Any], arrays: Mapping[str, np.ndarray] | None = None) -> Column:
    """The inverse of a column's ``describe``; LookupError, TypeError or ValueError if it describes none.

    ``arrays`` are those of its statistics, if it has any.
    """
    fields = dict(description)
    kind = fields.pop("kind")
    if "notation" in fields:
        fields["notation"] = Notation.from_description(fields["notation"])
    if kind == NumberColumn.kind:
        return NumberColumn(**fields)
    if kind not in _TEXT_COLUMNS:
        raise ValueError(f"unknown kind of column: {kind!r:.80}")
    for name in ("categories", "shares", *(["marks"] if "marks" in fields else [])):
        if not isinstance(fields[name], list):
            raise TypeError(f"{name} of a column: expected a list, got {fields[name]!r:.60}")
        fields[name] = tuple(fields[name])
    if "statistics" in fields:
        fields["statistics"] = CategoryStatistics.from_description(fields["statistics"], arrays or {})
    return _TEXT_COLUMNS[kind](**fields)
