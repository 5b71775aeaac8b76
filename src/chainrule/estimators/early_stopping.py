"""The rows that ``early_stopping`` holds out."""

from __future__ import annotations

import math

import numpy as np
from sklearn.model_selection import train_test_split

from chainrule.options import real_number
from chainrule.tables.splitting.stratified import hold_out_stratified


def split_rows(
    y: np.ndarray, fraction: float, random: np.random.RandomState, *, by_class: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Positions of rows to train on and of held-out rows: of each class its share, but never all of its rows."""
    fraction = real_number("validation_fraction", fraction, above=True, below=1.0)
    if by_class:
        train, valid = split_by_class(y, fraction, random)
    else:
        train, valid = train_test_split(np.arange(len(y)), random_state=random, test_size=fraction)
    if len(valid) < 2:
        raise ValueError("The validation set is too small. Increase 'validation_fraction' or the size of your dataset.")
    return train, valid


def split_by_class(y: np.ndarray, fraction: float, random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and held-out rows, of each class its share: scikit-learn's split wherever it has one.

    It refuses a class of one row, and more classes than held-out rows; and with a large fraction it may hold out all
    rows of a class. Then each class keeps a row to train on.
    """
    n, (labels, sizes) = len(y), np.unique(y, return_counts=True)
    count = math.ceil(fraction * n) if 0 < fraction < 1 else 0
    if not count or (sizes.min() > 1 and min(count, n - count) >= len(labels)):
        train, valid = train_test_split(np.arange(n), random_state=random, test_size=fraction, stratify=y)
        if len(np.unique(y[train])) == len(labels):
            return train, valid
    order = random.permutation(n)
    held_out = hold_out_stratified(y, min(count, n - 1), order)[order]
    return order[~held_out], order[held_out]
