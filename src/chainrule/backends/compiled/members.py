"""The rows of all members of an ensemble for loops that are written for one net.

``reshape`` makes one matrix of them only if the members lie one behind the other. If they lie apart it copies, and what
a loop writes to the copy is lost. So an array with a model axis is reshaped here alone, once that is known.
"""

from __future__ import annotations

from collections.abc import Iterable

from chainrule.backends.contract.arrays import Array


def lie_together(*arrays: Array) -> bool:
    """Whether in each of these arrays the members lie one behind the other."""
    for array in arrays:  # noqa: SIM110 - a generator costs a small step more than the check
        if not array.flags.c_contiguous:
            return False
    return True


def rows_of_all(array: Array) -> Array:
    """An array (k, n, ...) of members that :func:`lie_together` as (k n, ...), in the same memory."""
    return array.reshape((-1, *array.shape[2:]))


def blocks_of_rows(*arrays: Array) -> Iterable[tuple[Array, ...]]:
    """Arrays (k, n, ...) in the same memory: as (k n, ...) once, or if members lie apart as (n, ...) of each."""
    if lie_together(*arrays):
        return (tuple([rows_of_all(array) for array in arrays]),)
    return zip(*arrays, strict=True)
