"""What the tests of the contract share: dtypes, memory with poisoned borders, and Philox in plain integers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.contract.backend import BATCH, HALTED, RUNNING, STEP

BORDER = 16  # rows on either side: a multiple of the alignment, so that a flat slice starts as aligned as in an arena


def poison(dtype: Any) -> float:
    """A value that no kernel computes by chance."""
    return np.nan if np.dtype(dtype).kind == "f" else np.iinfo(dtype).max


class Memory:
    """Arrays on a backend: each a row slice of a longer buffer, whose other rows are poison and have to stay so."""

    def __init__(self, backend: cr.Backend) -> None:
        self.backend = backend
        self._buffers: list[tuple[Any, int]] = []

    def output(self, shape: tuple[int, ...], dtype: Any) -> Any:
        """Poison of this shape, for a kernel to overwrite."""
        buffer = self.backend.empty((shape[0] + 2 * BORDER, *shape[1:]), dtype)
        self.backend.assign(np.full(buffer.shape, poison(dtype), dtype), out=buffer)
        self._buffers.append((buffer, shape[0]))
        return buffer[BORDER : BORDER + shape[0]]

    def array(self, values: Any, dtype: Any = None) -> Any:
        """A writable copy of ``values``."""
        values = np.asarray(values, dtype)
        array = self.output(values.shape, values.dtype)
        self.backend.assign(values, out=array)
        return array

    def state(self, *, step: int = 0, batch: int = 0, halted: int = RUNNING) -> Any:
        values = [0, 0, 0]
        values[STEP], values[BATCH], values[HALTED] = step, batch, halted
        return self.array(values, np.int64)

    def read(self, array: Any) -> np.ndarray:
        """The values, in double precision if they are floats: arithmetic of the test adds no error of its own."""
        values = self.backend.download(array)
        return values.astype(np.float64) if values.dtype == np.float32 else values

    def check_borders(self) -> None:
        for buffer, n in self._buffers:
            values = self.backend.download(buffer)
            border = np.concatenate([values[:BORDER], values[BORDER + n :]])
            np.testing.assert_array_equal(border, np.full_like(border, poison(values.dtype)), "written past the end")


@pytest.fixture
def memory(backend: cr.Backend) -> Iterator[Memory]:
    """Memory of the backend under test; when the test is over, nothing may have been written beside the arrays."""
    memory = Memory(backend)
    with backend.running(), np.errstate(all="ignore"):
        yield memory
    memory.check_borders()


@pytest.fixture
def memory_of() -> type[Memory]:
    """Memory of a backend that a test has made itself."""
    return Memory


@pytest.fixture(params=["float32", "float64"])
def dtype(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def u(dtype: str) -> float:
    """The unit roundoff."""
    return float(np.finfo(dtype).eps) / 2


Words = tuple[int, int, int, int]


@pytest.fixture
def plain_philox() -> Callable[[Words, tuple[int, int]], Words]:
    """Philox4x32-10 as in the paper, in Python's integers."""

    def philox(counter: Words, key: tuple[int, int]) -> Words:
        (c0, c1, c2, c3), (k0, k1), low = counter, key, 2**32
        for _ in range(10):
            p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
            c0, c1, c2, c3 = p1 // low ^ c1 ^ k0, p1 % low, p0 // low ^ c3 ^ k1, p0 % low
            k0, k1 = (k0 + 0x9E3779B9) % low, (k1 + 0xBB67AE85) % low
        return c0, c1, c2, c3

    return philox
