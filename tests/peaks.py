"""Peak memory: that of NumPy and Python by tracemalloc, and that of Arrow's own pool."""

from __future__ import annotations

import contextlib
import importlib.util
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

POOLS: list = []  # of Arrow: its arrays may outlive the block


@dataclass
class Peak:
    """The most bytes that were allocated beyond those at the start."""

    bytes: int = 0


@contextlib.contextmanager
def peak_of() -> Iterator[Peak]:
    """The peak within the block; an upper bound, for the peak of Arrow may be at another moment."""
    found = Peak()
    with _arrow() as arrow:
        tracemalloc.start()
        try:
            yield found
        finally:
            found.bytes = tracemalloc.get_traced_memory()[1] + arrow()
            tracemalloc.stop()


@contextlib.contextmanager
def _arrow() -> Iterator:
    if importlib.util.find_spec("pyarrow") is None:
        yield lambda: 0
        return
    import pyarrow as pa

    before = pa.default_memory_pool()
    pool = pa.proxy_memory_pool(before)
    POOLS.append(pool)
    pa.set_memory_pool(pool)
    try:
        yield lambda: pool.max_memory() or 0
    finally:
        pa.set_memory_pool(before)


def saved_rows(folder: Path, array: np.ndarray) -> Path:
    """A matrix saved in a file."""
    np.save(folder / "rows.npy", array)
    return folder / "rows.npy"
