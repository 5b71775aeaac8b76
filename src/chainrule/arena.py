"""One flat buffer for many arrays: parameters in one arena, their gradients in another of the same layout.

An optimiser is then one kernel over one array, a clip by global norm one reduction, a snapshot of the best weights one
copy. Arrays of one kind (all weights, all biases) lie side by side, so that a parameter group is a slice.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.backends.contract.backend import Array, Backend
from chainrule.errors import OutOfMemoryError, ShapeError
from chainrule.host_memory import free_on_host

ADDRESSES = 1 << 62  # bytes: no machine has more
ALIGNMENT = 64  # bytes: every view starts on a cache line, and a GPU may read it 16 bytes at a time


STATISTICS = (".running_mean", ".running_var")  # suffixes of the names of running statistics, which are not trained


def is_trained(name: str) -> bool:
    """Whether an array of the parameter arena is a parameter rather than a running statistic of a layer."""
    return not name.endswith(STATISTICS)


class Slot(NamedTuple):
    """Where one named array lies: elements ``[start, start + size)``, in an extent padded to the next slot."""

    shape: tuple[int, ...]
    start: int
    extent: int  # size rounded up to the alignment; the padding holds zeros and stays zero

    @property
    def size(self) -> int:
        return math.prod(self.shape)


class Layout:
    """Names and shapes to slots, for one dtype.

    Parameters
    ----------
    shapes : {name: shape}, in the order in which the arrays lie in memory.
    """

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], dtype: Any) -> None:
        self.dtype = np.dtype(dtype)
        step = max(1, ALIGNMENT // self.dtype.itemsize)
        self.slots: dict[str, Slot] = {}
        start = 0
        for name, shape in shapes.items():
            extent = -(-math.prod(shape) // step) * step
            self.slots[name] = Slot(tuple(shape), start, extent)
            start += extent
        self.size = start

    def astype(self, dtype: Any) -> Layout:
        """The same slots, element by element, in another dtype: one copy converts a whole arena."""
        other = copy.copy(self)
        other.dtype = np.dtype(dtype)
        return other


def _refuse_more_than_addresses(backend: Backend, layout: Layout) -> None:
    """OutOfMemoryError for more than any machine could hold: array libraries raise various other errors for that."""
    needed = layout.size * layout.dtype.itemsize
    if needed >= ADDRESSES:
        free = backend.free_memory()
        raise OutOfMemoryError(backend.device, needed=needed, free=free_on_host() if free is None else free)


class Arena(Mapping[str, Array]):
    """A flat buffer on a backend and its named views: ``arena["dense0.W"]`` is a view into ``arena.flat``."""

    def __init__(self, backend: Backend, layout: Layout) -> None:
        self.backend = backend
        self.layout = layout
        _refuse_more_than_addresses(backend, layout)
        self.flat = backend.empty((layout.size,), layout.dtype)
        with backend.running():
            backend.fill(0, out=self.flat)
        self._views = {name: self._view(slot) for name, slot in layout.slots.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {"backend": self.backend, "layout": self.layout, "flat": self.flat}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Pickled as they are, the views would become separate arrays, which training `flat` would not change.
        self.backend, self.layout, self.flat = state["backend"], state["layout"], state["flat"]
        self._views = {name: self._view(slot) for name, slot in self.layout.slots.items()}

    def _view(self, slot: Slot) -> Array:
        return self.flat[slot.start : slot.start + slot.size].reshape(slot.shape)

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def span(self, names: Sequence[str]) -> Array:
        """The flat memory from the first of these arrays to the end of the last."""
        slots = [self.layout.slots[name] for name in names]
        return self.flat[slots[0].start : slots[-1].start + slots[-1].size]

    def like(self) -> Arena:
        """A new arena of zeros with this layout."""
        return Arena(self.backend, self.layout)

    def copy(self) -> Arena:
        """A new arena with these values."""
        other = self.like()
        with self.backend.running():
            self.backend.copy(self.flat, out=other.flat)
        return other

    def download(self) -> dict[str, np.ndarray]:
        """Every array on the host, by name: one transfer."""
        host = self.backend.download(self.flat)
        return {
            name: host[slot.start : slot.start + slot.size].reshape(slot.shape).copy()
            for name, slot in self.layout.slots.items()
        }

    def assign(self, values: Mapping[str, Any], *, partly: bool = False) -> None:
        """Overwrite every array from the host (``partly``: some); ShapeError unless names and shapes match."""
        if set(values) != set(self) and not (partly and set(values) <= set(self)):
            raise ShapeError(f"expected arrays {sorted(self)}, got {sorted(values)}")
        for name, value in values.items():
            if np.shape(value) != self.layout.slots[name].shape:
                raise ShapeError(f"{name}: expected shape {self.layout.slots[name].shape}, got {np.shape(value)}")
        for name, value in values.items():
            self.backend.assign(value, out=self[name])
