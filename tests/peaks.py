"""How much memory something takes: NumPy's and Python's by tracemalloc, and Arrow's, which keeps its own books."""

from __future__ import annotations

import contextlib
import importlib.util
import tracemalloc
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

POOLS: list = []  # of Arrow's: what was made in one may live longer than the block


@dataclass
class Peak:
    """Bytes at most, beside what there was before."""

    bytes: int = 0


@contextlib.contextmanager
def peak_of() -> Iterator[Peak]:
    """The peak of the block, an upper bound if Arrow was at its highest at another moment."""
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
    """A matrix in a file."""
    np.save(folder / "rows.npy", array)
    return folder / "rows.npy"
