"""What one row of an array is: what a layer asks for, how rows are kept, what a batch of them takes."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np


class RowFormat(NamedTuple):
    """What one row of an array is: its shape and the dtype of its elements."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def nbytes(self) -> int:
        """Bytes per row."""
        return math.prod(self.shape) * self.dtype.itemsize
