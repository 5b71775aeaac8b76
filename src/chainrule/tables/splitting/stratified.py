"""Stratified splits: the same share of each class is held out, and never all of its rows."""

from __future__ import annotations

import numpy as np

from chainrule.errors import DataError


def hold_out_stratified(classes: np.ndarray, count: int, order: np.ndarray) -> np.ndarray:
    """(n,) bool, True for ``count`` held-out rows, with the share of each class as near as whole rows allow.

    Of the m_c rows of class c, count * m_c / n are held out, rounded by largest remainders, and at most m_c - 1: every
    class keeps a training row. Fewer than ``count`` rows are held out if too many classes have one row.

    Parameters
    ----------
    classes : (n,) int codes
    order : (n,) permutation of the rows; the first rows of each class are held out, and of two classes with equal
        remainders the one whose row comes first is rounded up

    Raises
    ------
    DataError   if no class has two rows.
    """
    permuted = classes[order]
    _, first, of_row, sizes = np.unique(permuted, return_index=True, return_inverse=True, return_counts=True)
    if sizes.max() < 2:
        raise DataError(
            "expected a class of at least two rows to hold one out, got one row per class",
            hint="hold out no rows; if the numbers are no classes, train a regression",
        )
    share = count * sizes / len(classes)
    held = np.minimum(np.floor(share).astype(np.int64), sizes - 1)
    by_remainder = np.lexsort((first, held - share))  # largest remainders first
    while (left := count - int(held.sum())) > 0:
        eligible = by_remainder[held[by_remainder] < sizes[by_remainder] - 1][:left]
        if not len(eligible):
            break
        held[eligible] += 1
    by_class = np.argsort(of_row, kind="stable")
    place = np.empty(len(order), np.int64)  # of a row of the permutation among the rows of its class
    place[by_class] = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    found = np.zeros(len(order), bool)
    found[order] = place < held[of_row]
    return found


def keep_each_class(classes: np.ndarray, training: np.ndarray, held_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The split, changed so that every class has a training row.

    A class of which all rows are held out swaps one of them for the last training row of the largest class there. If no
    class has two training rows, the split is left as it is.

    Parameters
    ----------
    classes : (n,) int codes
    training, held_out : positions of rows
    """
    missing = np.setdiff1d(classes[held_out], classes[training])
    if not len(missing):
        return training, held_out
    training, held_out = training.copy(), held_out.copy()
    for label in missing:
        labels, sizes = np.unique(classes[training], return_counts=True)
        if sizes.max() < 2:
            break
        to = int(np.flatnonzero(classes[held_out] == label)[0])
        given = int(np.flatnonzero(classes[training] == labels[sizes.argmax()])[-1])
        training[given], held_out[to] = held_out[to], training[given]
    return training, held_out
