"""One flat buffer for many arrays: parameters in one arena, their gradients in another of the same layout.

An optimiser is then one kernel over one array, a clip by global norm one reduction, a snapshot of the best weights one
copy. Arrays of one kind (all weights, all biases) lie side by side, so that a parameter group is a slice.

The arena of k nets that are trained at once is that of the first, then that of the second, and so on: each member's
memory is one slice, ``arena.member(j)``, and every view has a leading axis of length k.
"""

from __future__ import annotations

import copy
import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.backends.contract.backend import Array, Backend
from chainrule.errors import OutOfMemoryError, ShapeError
from chainrule.host_memory import free_host_memory

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


class ArenaPart(NamedTuple):
    """A slice of the memory of some members, counted from the first; of all if ``members`` is None."""

    part: slice
    members: slice | None = None

    def covers(self, part: slice, member: int) -> bool:
        """Whether all of ``part`` lies in it, of this member."""
        has_member = self.members is None or self.members.start <= member < self.members.stop
        return bool(has_member and self.part.start <= part.start and part.stop <= self.part.stop)


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


def _refuse_more_than_addresses(backend: Backend, layout: Layout, members: int) -> None:
    """OutOfMemoryError for more than any machine could hold: array libraries raise various other errors for that."""
    needed = members * layout.size * layout.dtype.itemsize
    if needed >= ADDRESSES:
        free = backend.free_memory()
        raise OutOfMemoryError(backend.device, needed=needed, free=free_host_memory() if free is None else free)


class Arena(Mapping[str, Array]):
    """A flat buffer on a backend and its named views: ``arena["dense0.W"]`` is a view into ``arena.flat``.

    Parameters
    ----------
    layout : of one net
    members : how many nets lie in it, one after the other; with more than one, views have a leading axis of that length
    flat : memory to use in place of new zeros
    """

    def __init__(self, backend: Backend, layout: Layout, members: int = 1, *, flat: Array = None) -> None:
        self.backend = backend
        self.layout = layout
        self.members = members
        if flat is None:
            _refuse_more_than_addresses(backend, layout, members)
            flat = backend.empty((members * layout.size,), layout.dtype)
            with backend.running():
                backend.fill(0, out=flat)
        self.flat = flat
        self._views = {name: self._view(slot) for name, slot in layout.slots.items()}

    def __getstate__(self) -> dict[str, Any]:
        return {"backend": self.backend, "layout": self.layout, "members": self.members, "flat": self.flat}

    def __setstate__(self, state: dict[str, Any]) -> None:
        # Pickled as they are, the views would become separate arrays, which training `flat` would not change.
        self.backend, self.layout, self.flat = state["backend"], state["layout"], state["flat"]
        self.members = state.get("members", 1)  # pickled before there were several
        self._views = {name: self._view(slot) for name, slot in self.layout.slots.items()}

    def _view(self, slot: Slot) -> Array:
        return self.part(slice(slot.start, slot.start + slot.size)).reshape(self.shape_of(slot))

    def shape_of(self, slot: Slot) -> tuple[int, ...]:
        """The shape of the view of a slot: with a leading axis if there are several members."""
        return slot.shape if self.members == 1 else (self.members, *slot.shape)

    @property
    def by_member(self) -> Array:
        """The memory as (P,) of one net, or (k, P) of k: what a kernel takes that is no mere sum over elements."""
        return self.flat if self.members == 1 else self.flat.reshape((self.members, self.layout.size))

    def part(self, part: slice, members: slice | None = None) -> Array:
        """A slice of every member's memory: (m,) of one net; (k, m) of k, or all of the flat memory if it is all.

        ``members`` are those that are meant, by default all.
        """
        if self.members == 1:
            return self.flat[part]
        if members is not None:
            return self.by_member[members, part]
        is_all = (part.start, part.stop) == (0, self.layout.size)
        return self.flat if is_all else self.by_member[:, part]

    def member(self, j: int) -> Arena:
        """The arena of member ``j`` alone, in the same memory."""
        size = self.layout.size
        return Arena(self.backend, self.layout, flat=self.flat[j * size : (j + 1) * size])

    def __getitem__(self, name: str) -> Array:
        return self._views[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._views)

    def __len__(self) -> int:
        return len(self._views)

    def span(self, names: Sequence[str]) -> Array:
        """The memory from the first of these arrays to the end of the last: (m,), or (k, m) of k members."""
        slots = [self.layout.slots[name] for name in names]
        part = slice(slots[0].start, slots[-1].start + slots[-1].size)
        return self.flat[part] if self.members == 1 else self.by_member[:, part]

    def like(self) -> Arena:
        """A new arena of zeros with this layout."""
        return Arena(self.backend, self.layout, self.members)

    def copy(self) -> Arena:
        """A new arena with these values."""
        other = self.like()
        with self.backend.running():
            self.backend.copy(self.flat, out=other.flat)
        return other

    def download(self) -> dict[str, np.ndarray]:
        """Every array on the host, by name, C-contiguous: one transfer, and of one net views of its copy."""
        host = self.backend.download(self.flat).reshape((self.members, self.layout.size))
        return {
            name: np.ascontiguousarray(host[:, slot.start : slot.start + slot.size]).reshape(self.shape_of(slot))
            for name, slot in self.layout.slots.items()
        }

    def assign(self, values: Mapping[str, Any], *, partly: bool = False) -> None:
        """Overwrite every array from the host (``partly``: some); ShapeError unless names and shapes match."""
        if set(values) != set(self) and not (partly and set(values) <= set(self)):
            raise ShapeError(f"expected arrays {sorted(self)}, got {sorted(values)}")
        for name, value in values.items():
            expected = self.shape_of(self.layout.slots[name])
            if np.shape(value) != expected:
                raise ShapeError(f"{name}: expected shape {expected}, got {np.shape(value)}")
        for j in range(self.members):
            arena = self if self.members == 1 else self.member(j)
            for name, value in values.items():
                self.backend.assign(value if self.members == 1 else np.asarray(value)[j], out=arena[name])


class TouchedVectors:
    """A number for each vector of some tables: 0 where the vector's gradient is 0, as no row of the batch has its code.

    Parameters
    ----------
    counts : {name of a table in the arena of parameters: how many vectors it has}
    members : of the nets whose gradients these are
    """

    def __init__(self, backend: Backend, counts: Mapping[str, int], members: int = 1) -> None:
        ends = list(itertools.accumulate(counts.values(), initial=0))
        self.places = {name: slice(*ends[t : t + 2]) for t, name in enumerate(counts)}
        # Of this dtype, as every kernel that fills takes it.
        self.arena = Arena(backend, Layout({"vectors": (ends[-1],)}, np.float32), members)

    def mark_all(self) -> None:
        """Any gradient may be other than 0; may be part of a step."""
        self.arena.backend.fill(1, out=self.arena.flat)

    def of(self, table: str, members: slice | None = None) -> Array:
        """The numbers of a table: (r,) of one net, (k, r) of k; ``members`` as for :meth:`Arena.part`."""
        return self.arena.part(self.places[table], members)

    def member(self, j: int) -> TouchedVectors:
        """Those of member ``j`` alone, in the same memory."""
        other = copy.copy(self)
        other.arena = self.arena.member(j)
        return other
