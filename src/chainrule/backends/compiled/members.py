"""The rows of all members of an ensemble for loops that are written for one net.

``reshape`` makes one matrix of them only if the members lie one behind the other. If they lie apart it copies, and what
a loop writes to the copy is lost; so nothing here but :func:`blocks_of_rows` reshapes what has a model axis.
"""

from __future__ import annotations

from collections.abc import Iterator

from chainrule.backends.contract.arrays import Array


def lie_together(*arrays: Array) -> bool:
    """Whether in each of these arrays the members lie one behind the other."""
    return all(array.flags.c_contiguous for array in arrays)


def blocks_of_rows(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """Arrays (k, n, ...) of rows in the same memory, as (k n, ...) once; if members lie apart, as (n, ...) of each."""
    if lie_together(*arrays):
        yield tuple(array.reshape((-1, *array.shape[2:])) for array in arrays)
    else:
        yield from zip(*arrays, strict=True)
