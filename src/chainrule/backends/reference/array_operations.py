"""What every part of the specification works with: an array module, and memory for intermediate results."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from chainrule.backends.contract.backend import BATCH, Array, Backend


def slot_of(state: Array) -> Array:
    """(1,): the number of the batch, as an index that no host has to look at."""
    return state[BATCH : BATCH + 1]


class ArrayOperations(Backend):
    """The kernels of a topic, in operations of ``xp``, are a subclass of this; all together are the reference."""

    xp: Any  # the array module

    def _scratch(self, shape: tuple[int, ...], dtype: Any, *, use: str) -> Array:
        """Memory for an intermediate result that no one reads after the kernel."""
        return self.xp.empty(shape, dtype)

    def _parts(self, size: int) -> Iterator[slice]:
        """Slices of a flat array: all of it at once, unless a body knows a better size for its caches."""
        yield slice(0, size)

    def _rows(self, n: int) -> Array:
        return self.xp.arange(n)
