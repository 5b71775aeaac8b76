"""Which rows of each class are held out: its share of them, and never all."""

from __future__ import annotations

import numpy as np

from chainrule.errors import DataError


def hold_out_stratified(classes: np.ndarray, count: int, order: np.ndarray) -> np.ndarray:
    """(n,) bool: ``count`` rows, of each class its share to the nearest row that is possible.

    Of m_c rows count * m_c / n are held out, rounded down or up (largest remainders first), and at most m_c - 1: each
    class stays with the training rows. So there may be fewer than ``count``, where most classes have one row.

    Parameters
    ----------
    classes : (n,) int codes
    order : (n,) the numbers of the rows as they were dealt; the first of each class are held out, and of two classes
        with the same remainder that whose row was dealt first is rounded up

    Raises
    ------
    DataError   if no class has two rows.
    """
    dealt = classes[order]
    _, first, of_row, sizes = np.unique(dealt, return_index=True, return_inverse=True, return_counts=True)
    if sizes.max() < 2:
        raise DataError(
            "expected a class of at least two rows to hold one out, got one row of each class",
            hint="train on all rows (--valid 0); numbers that are no classes are for a regression (--task regress)",
        )
    share = count * sizes / len(classes)
    held = np.minimum(np.floor(share).astype(np.int64), sizes - 1)
    wanting = np.lexsort((first, held - share))  # the largest remainder first
    while (left := count - int(held.sum())) > 0:
        able = wanting[held[wanting] < sizes[wanting] - 1][:left]
        if not len(able):
            break
        held[able] += 1
    by_class = np.argsort(of_row, kind="stable")
    place = np.empty(len(order), np.int64)  # of a dealt row among those of its class
    place[by_class] = np.arange(len(order)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    found = np.zeros(len(order), bool)
    found[order] = place < held[of_row]
    return found


def keep_each_class(classes: np.ndarray, training: np.ndarray, held_out: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The same split, but for a class of which all rows are held out: one of them is exchanged for another row.

    That row is the last of the class that has most training rows. Where none has two, the split stays as it is.

    Parameters
    ----------
    classes : (n,) int codes
    training, held_out : numbers of rows
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
