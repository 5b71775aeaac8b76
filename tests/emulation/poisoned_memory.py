"""Arrays amid bytes of poison, and the comparisons that tests of fused kernels share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from chainrule.backends.contract.backend import BF16, RUNNING
from emulation.compiled import narrow, widen

MARGIN = 64  # bytes of poison before and after an array
POISON = 0xA5


class PoisonedMemory:
    """Arrays that start ``offset`` elements behind a 16-byte border, amid bytes of poison that no kernel may change."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self._buffers: list[tuple[Any, slice]] = []

    def output(self, shape: tuple[int, ...], dtype: Any, *, offset: int = 0) -> Any:
        """Poison of this shape, for a kernel to overwrite."""
        dtype = np.dtype(dtype)
        size, margin = int(np.prod(shape)), MARGIN // dtype.itemsize
        buffer = self.backend.empty((offset + size + 2 * margin,), dtype)
        self.backend.assign(np.full(buffer.nbytes, POISON, np.uint8).view(dtype), out=buffer)
        part = slice(margin + offset, margin + offset + size)
        self._buffers.append((buffer, part))
        return buffer[part].reshape(shape)

    def array(self, values: Any, dtype: Any = None, *, offset: int = 0) -> Any:
        values = np.asarray(values, dtype)
        out = self.output(values.shape, values.dtype, offset=offset)
        self.backend.assign(values, out=out)
        return out

    def state(self) -> Any:
        return self.array([5, 1, RUNNING], np.int64)

    def read(self, array: Any) -> np.ndarray:
        """In double precision."""
        values = self.backend.download(array)
        return (widen(values) if values.dtype == BF16 else values).astype(np.float64)

    def check(self) -> None:
        """Fail if anything was written beside the arrays."""
        for buffer, part in self._buffers:
            size = buffer.dtype.itemsize
            raw = np.ascontiguousarray(self.backend.download(buffer)).view(np.uint8)
            around = np.concatenate([raw[: part.start * size], raw[part.stop * size :]])
            assert (around == POISON).all(), "written beside the array"


def assert_within(got: np.ndarray, want: Any, bound: Any, what: Any = "") -> None:
    want, bound = np.broadcast_arrays(np.asarray(want), np.asarray(bound))
    within = np.abs(got - want) <= bound
    if not within.all():
        at = tuple(int(i) for i in np.argwhere(~within)[0])
        pytest.fail(f"{what}{list(at)}: expected {want[at]} +- {bound[at]}, got {got[at]}")


def launched(backend: Any, step: Callable[[], None]) -> list[str]:
    """The names of what ``step`` launches when it is recorded, which it is after it ran once."""
    step()
    return [launch.key[0] for launch in backend.record(step)]


def as_bf16(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``values`` as BF16, and what these are in double precision."""
    bits = narrow(values.astype(np.float32))
    return bits, widen(bits).astype(np.float64)
