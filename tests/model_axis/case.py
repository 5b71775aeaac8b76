"""A call of each method of the backend contract whose arrays have a model axis, as one net makes it.

The arrays of a call are named in ``read``, with shape and kind of values, and in ``written``, with shape and dtype
(``""`` is that of the net). With a model axis every array has one entry per member more in front, but for those that
are named in ``shared`` and for what members always share: ``state``, ``lr``, ``position``, the pieces of an encoding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

N, C, OUT, P = 7, 5, 4, 40  # rows, columns, outputs, parameters
ROWS, PARAMS, TOTALS = (N, C), (P,), (2, 3)

# Why a method of the contract has no model axis.
WITHOUT_MODEL_AXIS = {
    "memory and execution": (
        "assign", "beside_others", "capture", "download", "download_all", "empty", "execution", "fingerprint",
        "fitting", "free_memory", "host_buffer", "keep", "returned", "running", "send", "signs_per_row", "storage",
        "synchronize", "upload",
    ),
    "what members share": ("copy_columns", "tick"),
    "one answer for all": ("first_nonfinite", "mean_of_members"),
    "one call per member, whose number is in the counter": ("permutation", "uniform"),
}  # fmt: skip


class Case(NamedTuple):
    """``call(backend, arrays, j)`` is what the net of member ``j`` does by itself, and, with j = 0, all at once."""

    method: str
    call: Callable[[Any, Any, int], None]
    read: dict[str, tuple[tuple[int, ...], str]]
    written: dict[str, tuple[tuple[int, ...], str]]
    shared: tuple[str, ...] = ()
    what: str = ""

    @property
    def name(self) -> str:
        return " ".join([self.method, self.what]).strip()


def values(rng: np.random.Generator, shape: tuple[int, ...], kind: str, dtype: str) -> np.ndarray:
    if kind in {"labels", "codes"}:
        return rng.integers(0, OUT, shape).astype(np.int32)
    if kind == "marks":
        return rng.integers(0, 2, shape).astype(np.float32)
    if kind == "order":
        orders = [rng.permutation(shape[-1]) for _ in range(int(np.prod(shape[:-1])))]
        return np.array(orders, np.int64).reshape(shape)
    if kind == "bits":
        return np.zeros(shape, np.uint8)
    if kind == "ones":
        return np.ones(shape, np.float32)
    drawn = {
        "normal": lambda: rng.normal(size=shape),
        "positive": lambda: rng.uniform(0.2, 2, shape),
        "share": lambda: rng.uniform(0.05, 0.95, shape),
        "totals": lambda: rng.uniform(1, 3, shape),
    }
    if kind == "coded":  # numbers, and codes in the last column
        rows = rng.normal(size=shape)
        rows[..., -1] = rng.integers(0, OUT, shape[:-1])
        return rows.astype(dtype)
    return drawn[kind]().astype("float64" if kind == "totals" else dtype)
