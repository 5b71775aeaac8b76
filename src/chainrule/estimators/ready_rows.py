"""Rows to predict that are seen at a glance to be in order: scikit-learn's own checks take longer than a small net."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.estimators.known_columns import known_columns
from chainrule.nn.answer_pass import FEW
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.inputs.row_checks import is_plain
from chainrule.tables.frames.few_rows import has_few_rows, read_few_rows


def ready_rows(estimator: Any, X: Any, encoder: TableEncoder | None) -> np.ndarray | None:
    """What scikit-learn's checks, and the ``encoder`` of a table, would make of X; None if that takes the long way.

    Errors and warnings are those of the long way, so whatever may have one takes it.
    """
    names = estimator.__dict__.get("feature_names_in_")
    if encoder is None:
        is_ready = names is None and is_plain(X, estimator.__dict__.get("n_features_in_")) and X.size <= FEW
        return X if is_ready and np.isfinite(X).all() else None
    if names is None or not has_few_rows(X) or X.columns.tolist() != names.tolist():
        return None
    cells = read_few_rows(X, known_columns(encoder))
    return None if cells is None else encoder.encode_cells(cells, len(X))
