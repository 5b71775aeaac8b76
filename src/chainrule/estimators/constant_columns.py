"""Columns that were constant in the fits before a warm start, and vary in its rows."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.estimators.array_namespaces import on_host
from chainrule.nn.inputs.preparation import Preparation
from chainrule.nn.inputs.standardization import Standardization


def prepared_further(preparation: Preparation, X: Array, y: np.ndarray, weights: np.ndarray | None) -> Preparation:
    """The preparation of a net whose next fit has rows X (n, n_in) and targets y, (n,) or (n, k).

    Columns that were constant so far take mean and standard deviation of these rows: now there is something to learn.
    """
    features = _with_columns_that_vary(preparation.features, X, weights)
    targets = _with_columns_that_vary(preparation.targets, y, weights)
    if features is preparation.features and targets is preparation.targets:
        return preparation
    return replace(preparation, features=features, targets=targets)


def _with_columns_that_vary(
    before: Standardization | None, x: Array, weights: np.ndarray | None
) -> Standardization | None:
    if before is None or not before.is_constant.any():
        return before
    constant = np.flatnonzero(before.is_constant)
    now = standardization(on_host(x if x.ndim == 1 else x[:, constant]), weights)
    varies = ~now.is_constant
    if not varies.any():
        return before
    mean, scale = before.mean.copy(), before.scale.copy()
    columns = constant[varies]
    mean[columns], scale[columns] = now.mean[varies], now.scale[varies]
    return Standardization(mean, scale, before.limit)


def standardization(x: np.ndarray, weights: np.ndarray | None, limit: float = math.inf) -> Standardization:
    """Mean and standard deviation of each column, rows by their weights: a row of weight 2 counts as two rows."""
    return Standardization.fit(x, limit=limit, sample_weight=weights)
