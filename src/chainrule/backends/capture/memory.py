"""The memory that a launch reads and writes: addresses from the first to the last element of an array."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from chainrule.backends.contract.arrays import Array

Span: TypeAlias = tuple[int, int]  # addresses [start, stop) on the device


def address(array: Array) -> int:
    """The address of the first element, of a CuPy array or of a NumPy array."""
    if isinstance(array, np.ndarray):
        start: int = array.__array_interface__["data"][0]  # sooner than by ctypes
        return start
    return int(array.data.ptr)


def span(array: Array) -> Span:
    """The memory from the first to the last element of an array, transposed views and those with gaps included."""
    start = address(array)
    if array.flags.c_contiguous:
        return start, start + int(array.nbytes)
    last = sum((length - 1) * stride for length, stride in zip(array.shape, array.strides, strict=True))
    return start, start + int(last + array.itemsize)


def spans(array: Array) -> tuple[Span, ...]:
    """The memory of an array without the gaps along its first axis, as members of an ensemble have in an arena."""
    whole = span(array)
    if array.flags.c_contiguous or array.ndim < 2:
        return (whole,)
    (start, stop), apart = span(array[0]), int(array.strides[0])
    if apart <= stop - start:  # no gaps; or a transposed view
        return (whole,)
    return tuple((start + j * apart, stop + j * apart) for j in range(len(array)))
