"""Rows to predict that are seen at a glance to be in order: scikit-learn's own checks take longer than a small net."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.estimators.known_columns import known_columns
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.tables.frames.few_rows import has_few_rows, read_few_rows

MOST_NUMBERS = 1 << 16  # of an array; of more the checks are a small part of the work
PLAIN = (np.dtype(np.float64), np.dtype(np.float32))  # of this machine's byte order


def ready_rows(estimator: Any, X: Any, encoder: TableEncoder | None) -> np.ndarray | None:
    """What scikit-learn's checks, and the ``encoder`` of a table, would make of X; None if that takes the long way.

    Errors and warnings are those of the long way, so whatever may have one takes it.
    """
    names = estimator.__dict__.get("feature_names_in_")
    if encoder is None:
        return X if names is None and _is_plain(X, estimator.n_features_in_) else None
    if names is None or not has_few_rows(X) or X.columns.tolist() != names.tolist():
        return None
    columns = read_few_rows(X, known_columns(encoder))
    return None if columns is None else encoder.encode(columns)


def _is_plain(X: Any, n_features: int) -> bool:
    """Whether X is an array of (n, n_features) finite numbers in a dtype that is kept."""
    return (
        type(X) is np.ndarray
        and X.dtype in PLAIN
        and X.ndim == 2
        and X.shape[1] == n_features
        and 0 < X.size <= MOST_NUMBERS
        and bool(np.isfinite(X).all())
    )
