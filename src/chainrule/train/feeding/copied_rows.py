"""Copies of rows: a row of weight 2 and a row that occurs twice are to have the same effect."""

from __future__ import annotations

import numpy as np

MANY = 16_384  # rows, from which on no copies are searched for
MOST_COPIES = 4  # per row, on average


def number_copies(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, int]:
    """(n,) a number for each row, the same for copies of one row, and how many different ones there are.

    The numbers follow the order of the values, so that they depend neither on the order of the rows nor on the unit of
    a column. Equal rows do not count as copies if the table consists of them: if few different rows occur again and
    again (some columns of yes or no), or equal features have different targets, a new row will be like one of them, and
    each of them counts.

    Parameters
    ----------
    X, y : (n, d) numbers, and (n,) or (n, k)
    """
    n = len(X)
    if n >= MANY:
        return np.arange(n), n
    features, targets = (np.ascontiguousarray(part, np.float64) for part in (X, y.reshape(n, -1)))
    number, different = _ranked(np.column_stack([features, targets]))
    if different > 1 and (different * MOST_COPIES < n or _ranked(features)[1] < different):
        return np.argsort(np.argsort(number, kind="stable"), kind="stable"), n
    return number, different


def _ranked(table: np.ndarray) -> tuple[np.ndarray, int]:
    """(n,) the rank of each row among the different ones, and how many of these there are."""
    different, number = np.unique(table, axis=0, return_inverse=True)
    return number.reshape(-1), len(different)
