"""What one row of an array is: what a layer asks for, how rows are kept, what a batch of them takes."""

from __future__ import annotations

import math
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from chainrule.backends.contract.arrays import Array

DTYPES = ("float32", "float64")  # of nets
DtypeLike: TypeAlias = str | type[np.floating[Any]] | np.dtype[Any]  # "float32", np.float32


class RowFormat(NamedTuple):
    """What one row of an array is: its shape and the dtype of its elements."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """Bytes per row."""
        return math.prod(self.shape) * self.dtype.itemsize


def first_rows(array: Array, n: int, members: int = 1) -> Array:
    """Memory for ``n`` rows of each member at the beginning of ``array``, which has room for more: contiguous.

    Of one net these are the first rows. Of several they are not, as the rows of the first would be far from those of
    the second: it is memory that is still to be written.
    """
    if members == 1:
        return array[:n]
    shape = (members, n, *array.shape[2:])
    return array.reshape(-1)[: math.prod(shape)].reshape(shape)


def with_members(shape: tuple[int, ...], members: int) -> tuple[int, ...]:
    """``shape``, behind an axis for the members if there are several."""
    return shape if members == 1 else (members, *shape)


def dtype_name(dtype: Any) -> Any:
    """``np.float32`` and its like as "float32"; anything else as it is."""
    is_numpy = isinstance(dtype, np.dtype) or (isinstance(dtype, type) and issubclass(dtype, np.generic))
    return np.dtype(dtype).name if is_numpy else dtype
