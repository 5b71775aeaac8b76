"""Memory of a device that is not there: CuPy's pool, with an arena for each stream, over what the device has.

As in CuPy, memory that is freed goes back to the stream that was current when it was allocated, and the next who asks
there for as much gets it at once, although work that is queued may still use it: the order within the stream keeps the
two apart, and nothing else does.
"""

from __future__ import annotations

import ctypes
import functools
import types
from collections.abc import Callable
from typing import Any

import numpy as np

from emulation.streams import DEVICE, OUT_OF_MEMORY, CudaError, Stream

ALIGNMENT = 512  # bytes, of CuPy's memory pool


class OutOfMemoryError(MemoryError):
    """CuPy's."""

    def __init__(self, size: int, total: int) -> None:
        super().__init__(f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes).")
        self._size = size


class Memory:
    """Memory of the device itself (cudaMalloc), freed when the object goes."""

    def __init__(self, size: int) -> None:
        self._session, self.size = DEVICE.session, 0
        with DEVICE.lock:
            DEVICE.unsafe("cudaMalloc")
            self._session.take(size)
            self.size = size
        self._raw = np.empty(size + ALIGNMENT, np.uint8)
        start = int(self._raw.ctypes.data)
        self.ptr = start + -start % ALIGNMENT

    def __del__(self) -> None:
        self._session.give(self.size)
        if self.size and self._session is DEVICE.session:
            DEVICE.notice("memory")
            DEVICE.keep.append(self._raw)


class MemoryHook:
    """Told of every allocation of this thread while it is entered."""

    name = "MemoryHook"

    @staticmethod
    def active() -> dict[str, MemoryHook]:
        hooks: dict[str, MemoryHook] = DEVICE.of_thread.__dict__.setdefault("hooks", {})
        return hooks

    def __enter__(self) -> MemoryHook:
        if self.name in self.active():
            raise KeyError(f"memory hook {self.name} already exists")
        self.active()[self.name] = self
        return self

    def __exit__(self, *_: Any) -> None:
        del self.active()[self.name]

    def malloc_preprocess(self, **facts: Any) -> None:
        pass


class Pool:
    """CuPy's memory pool, of one device; it does not split what it holds."""

    def __init__(self) -> None:
        self._free: dict[int, dict[int, list[Memory]]] = {}  # by stream and size
        self._used = 0

    def malloc(self, size: int) -> Any:
        """``.mem``, freed when it goes, and ``.ptr``."""
        for hook in MemoryHook.active().values():
            hook.malloc_preprocess(device_id=0, size=size, mem_size=size)
        rounded, arena = -(-size // ALIGNMENT) * ALIGNMENT, DEVICE.current[-1].ptr
        with DEVICE.lock:
            held = self._free.get(arena, {}).get(rounded)
            memory = held.pop() if held else self._new(rounded)
            self._used += rounded
        block = _block_type(size).from_address(memory.ptr)
        block.free = functools.partial(self._take_back, arena, memory)
        return types.SimpleNamespace(mem=block, ptr=memory.ptr)

    def _new(self, size: int) -> Memory:
        for has_freed in (False, True):
            try:
                return Memory(size)
            except CudaError as error:
                if error.status != OUT_OF_MEMORY or has_freed:
                    raise OutOfMemoryError(size, self._used) from error
                self.free_all_blocks()
        raise AssertionError

    def _take_back(self, arena: int, memory: Memory) -> None:
        with DEVICE.lock:
            self._used -= memory.size
            self._free.setdefault(arena, {}).setdefault(memory.size, []).append(memory)

    def free_all_blocks(self, stream: Stream | None = None) -> None:
        with DEVICE.lock:
            for arena in list(self._free) if stream is None else [stream.ptr]:
                self._free.pop(arena, None)

    def free_bytes(self) -> int:
        with DEVICE.lock:
            return sum(size * len(held) for arena in self._free.values() for size, held in arena.items())

    def used_bytes(self) -> int:
        return self._used

    def get_limit(self) -> int:
        return 0  # none


class _Block:
    """Memory that someone has of the pool."""

    free: Callable[[], None]

    def __del__(self) -> None:
        self.free()


@functools.cache
def _block_type(size: int) -> Any:
    return type("Block", (_Block, ctypes.c_uint8 * size), {})
