"""What becomes of each column of a table in X: chosen from the training rows, kept in the model file."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.nn.columns.category_columns import MAX_CATEGORIES, CategoryColumn, EmbeddedColumn
from chainrule.nn.columns.column_data import Categorical, ColumnData
from chainrule.nn.columns.notation import Notation
from chainrule.nn.columns.number_column import NumberColumn
from chainrule.options import whole_number

MAX_VECTORS = 1 << 16  # categories of an embedded column that may have a vector of their own
TWICE = 2  # rows that a category must have for one: what one row alone has seen it cannot tell from that row's chance

Column = NumberColumn | CategoryColumn | EmbeddedColumn


def fit_column(
    name: str,
    data: ColumnData,
    sample_weight: np.ndarray | None = None,
    *,
    max_categories: int | None = None,
    embed_above: int | None = None,
    notation: Notation | None = None,
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
        return EmbeddedColumn.fit(name, data, sample_weight, max_categories=most, at_least=TWICE, notation=notation)
    most = max_categories or embed_above or MAX_CATEGORIES
    return CategoryColumn.fit(name, data, sample_weight, max_categories=most, notation=notation)


_OF_TEXT: dict[str, type[CategoryColumn] | type[EmbeddedColumn]] = {
    column.kind: column for column in (CategoryColumn, EmbeddedColumn)
}


def column_from(description: dict[str, Any]) -> Column:
    """The column that ``describe`` described; LookupError, TypeError or ValueError where it is none."""
    fields = dict(description)
    kind = fields.pop("kind")
    if "notation" in fields:
        fields["notation"] = Notation.from_description(fields["notation"])
    if kind == NumberColumn.kind:
        return NumberColumn(**fields)
    if kind not in _OF_TEXT:
        raise ValueError(f"unknown kind of column: {kind!r:.80}")
    for name in ("categories", "shares", *(["marks"] if "marks" in fields else [])):
        if not isinstance(fields[name], list):
            raise TypeError(f"{name} of a column should be a list")
        fields[name] = tuple(fields[name])
    return _OF_TEXT[kind](**fields)
