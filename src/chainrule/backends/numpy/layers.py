"""Products on a host."""

from __future__ import annotations

import numpy as np

from chainrule.backends.contract.arrays import Array
from chainrule.backends.reference.array_operations import ArrayOperations


def matmul(self: ArrayOperations, a: Array, b: Array, *, out: Array) -> None:
    multiply(a, b, out)


def multiply(a: Array, b: Array, out: Array) -> None:
    """out = a @ b."""
    if a.shape[-1] == 1:
        np.multiply(a, b, out=out)  # an outer product: OpenBLAS needs six times as long for it
    else:
        np.matmul(a, b, out=out)
