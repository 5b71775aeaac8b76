"""Rows that are copies of each other: a row of weight 2 and a row that is there twice are to come to the same."""

from __future__ import annotations

import numpy as np

MANY = 16_384  # rows, from which on copies are not looked for
MOST_COPIES = 4  # of a row, on average


def number_copies(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, int]:
    """(n,) a number for each row, the same for copies of one, and how many there are.

    Numbers go by the order of values, so that they depend neither on the order of the rows nor on the unit of a column.
    Equal rows are copies if they are not what the table consists of: where few different rows come up again and again
    (some columns of yes or no), or equal features have different targets, a new row will be like one of them, and each
    of them counts.

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
    """(n,) the rank of each row among the different ones, and how many these are."""
    different, number = np.unique(table, axis=0, return_inverse=True)
    return number.reshape(-1), len(different)
