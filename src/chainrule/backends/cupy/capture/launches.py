"""Pieces of work for the device, each with the memory that it reads and writes.

A step becomes a list of these. What they touch says which of them may run side by side, so that the training
code can stay a plain sequence (see :mod:`~chainrule.backends.cupy.capture.dependencies`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

from chainrule.backends.contract.backend import Array

Span: TypeAlias = tuple[int, int]  # addresses [start, stop) on the device


class StreamHandle(NamedTuple):
    """The stream that a launch is queued in, which is current, and a workspace that no other stream's products use."""

    stream: int  # cudaStream_t
    workspace: int
    workspace_size: int  # bytes


class Launch(NamedTuple):
    """One kernel or product, bound to its arguments: ``start(stream)`` queues it in the stream and returns."""

    key: tuple[Any, ...]  # what is launched, with all numbers and addresses; the name first
    start: Callable[[StreamHandle], None]
    reads: tuple[Span, ...]
    writes: tuple[Span, ...]
    arrays: tuple[Array, ...]  # kept alive for as long as the launch can be repeated


def address(array: Array) -> int:
    """The address of the first element, of a CuPy array or of a NumPy array that stands in for one."""
    data = array.data
    return int(data.ptr) if hasattr(data, "ptr") else int(array.ctypes.data)


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
