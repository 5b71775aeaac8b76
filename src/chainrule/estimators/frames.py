"""DataFrames with text or holes, for which scikit-learn's checks of numbers have no place."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import DataError
from chainrule.nn.table_encoder import TableEncoder
from chainrule.tables.frame_reader import is_frame
from chainrule.tables.readers import read_table


def has_text_or_holes(X: Any) -> bool:
    """Whether ``X`` is a DataFrame with a column that is no number, or with a hole."""
    if not (is_frame(X) and hasattr(X, "columns")):
        return False
    return any(_is_text_or_has_holes(X[name]) for name in X.columns)


def _is_text_or_has_holes(column: Any) -> bool:
    if getattr(column, "ndim", 1) != 1:
        return False  # two columns of one name: scikit-learn's checks know what to say
    values = np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else column)
    return values.dtype.kind not in "biuf" or (values.dtype.kind == "f" and bool(np.isnan(values).any()))


def encoder_for(X: Any) -> TableEncoder:
    """What makes numbers of such a DataFrame, by its own rows; DataError naming a column of dates, say."""
    return TableEncoder.fit(read_table(X, need_target=False).columns)


def encode(X: Any, encoder: TableEncoder) -> np.ndarray:
    """(n, columns of the net) float64; DataError where ``X`` is no DataFrame of the columns that the fit had."""
    if not is_frame(X):
        raise DataError(f"{type(X).__name__} came, a DataFrame with the columns of the fit was expected")
    table = read_table(X, feature_names=encoder.table_names, kinds=encoder.kinds, need_target=False)
    return encoder.encode(table.columns)
