"""Arrays in host memory: aligned, and a buffer per thread for intermediate results."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from chainrule.backends.contract.arrays import Array
from chainrule.backends.reference.array_operations import ArrayOperations
from chainrule.errors import DataError, DeviceError

ALIGNMENT = 64  # bytes: a cache line, and the widest vector register
CHUNK = 16_384  # elements of a flat array at a time; seven float32 arrays of it fit a 1 MiB second-level cache

# A buffer per thread and use, so that threads which share a backend do not share memory, and none is pickled with it.
_buffers = threading.local()


def empty(self: ArrayOperations, shape: tuple[int, ...], dtype: Any) -> Array:
    return aligned(shape, np.dtype(dtype))


def aligned(shape: tuple[int, ...], dtype: np.dtype) -> Array:
    """New memory of this shape, its values undefined."""
    count = math.prod(shape)
    raw = np.empty(count * dtype.itemsize + ALIGNMENT, np.uint8)
    start = -raw.__array_interface__["data"][0] % ALIGNMENT  # sooner than by ctypes
    return np.ndarray(shape, dtype, raw, start)


def upload(self: ArrayOperations, values: Any, dtype: Any = None) -> Array:
    if isinstance(values, np.ndarray):
        return np.asarray(values, dtype, order="C")
    if hasattr(values, "__cuda_array_interface__"):
        raise DeviceError(
            f"the array lives on a GPU and the net on {self.device}",
            hint="copy it to the host first (CuPy: x.get()), or build the net with backend=cr.backend('cuda')",
        )
    return np.asarray(as_host_array(values), dtype=dtype, order="C")


def assign(self: ArrayOperations, values: Any, *, out: Array) -> None:
    out[...] = values


def download(self: ArrayOperations, array: Array) -> np.ndarray:
    return np.array(array)


def as_host_array(values: Any) -> np.ndarray:
    """``values`` as a NumPy array without a copy if possible; DataError if they are not a regular array."""
    try:
        return np.asarray(values)
    except (ValueError, TypeError) as error:
        raise DataError(f"not a regular array of numbers: {error}") from error


def scratch(self: ArrayOperations, shape: tuple[int, ...], dtype: Any, *, use: Any) -> Array:
    count = math.prod(shape)
    held: dict[Any, Array] = _buffers.__dict__
    buffer = held.get((use, dtype))  # a name made of the dtype would take longer to spell than the kernel to run
    if buffer is None or buffer.size < count:
        buffer = held[use, dtype] = self.empty((count,), dtype)
    return buffer[:count].reshape(shape)


def parts(self: ArrayOperations, size: int) -> Iterator[slice]:
    return (slice(start, start + CHUNK) for start in range(0, size, CHUNK))


def rows_before(self: ArrayOperations, n: int) -> Array:
    rows = getattr(_buffers, "rows", None)
    if rows is None or rows.size < n:
        rows = _buffers.rows = np.arange(n)
    return rows[:n]
