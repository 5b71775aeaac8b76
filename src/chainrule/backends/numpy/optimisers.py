"""Optimisers on a host, which may read its own memory: numbers of the step are Python's."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.backend import BATCH, HALTED, RUNNING, STEP, WEIGHT
from chainrule.backends.contract.members import over_members
from chainrule.backends.numpy.memory import CHUNK
from chainrule.backends.reference.array_operations import ArrayOperations


@over_members
def accumulate(
    self: ArrayOperations, grads: Array, totals: Array, state: Array, *, group: int, mean: bool, out: Array
) -> None:
    batch = int(state[BATCH])
    first = batch - batch % group
    if batch == first:
        np.copyto(out, grads)
    elif mean:
        # Backwards and one by one, as the reference adds them: the order decides the last bit.
        weight = totals[first : batch + 1, WEIGHT][::-1].cumsum()[-1]
        self._approach(grads, out.dtype.type(totals[batch, WEIGHT] / (weight or 1)), out)
    else:
        np.add(out, grads, out=out)


def average(self: ArrayOperations, params: Array, state: Array, *, decay: float, out: Array) -> None:
    if state[HALTED] == RUNNING:
        t = float(state[STEP] + 1)
        self._approach(params, out.dtype.type(1 - min(decay, (1 + t) / (10 + t))), out)


def learning_rate(self: ArrayOperations, lr: Array, state: Array, factor: float) -> Array:
    rate = lr[min(state[BATCH], len(lr) - 1)] * factor
    return rate if state[HALTED] == RUNNING else np.float64(0.0)


def bias_corrected(
    self: ArrayOperations, rate: Array, state: Array, beta1: float, beta2: float, eps: float, dtype: Any, eps_hat: bool
) -> tuple[Array, Array]:
    # An array of one for the powers: NumPy's array loop and the C library round them differently, and all
    # implementations are to train the same weights.
    power1, power2 = np.power((beta1, beta2), float(state[STEP] + 1))
    root = math.sqrt(1 - power2)
    return dtype.type(rate * root / (1 - power1)), dtype.type(eps if eps_hat else eps * root)


def subtract(self: ArrayOperations, params: Array, update: Array, state: Array) -> None:
    if state[HALTED] == RUNNING:
        np.subtract(params, update, out=params)


def update_touched(
    self: ArrayOperations, update: Callable[..., None], touched: Array, params: Array, grads: Array, *moments: Array
) -> None:
    """The vectors are copied out, so many at a time as stay in the cache, updated, and copied back."""
    numbers, width = np.flatnonzero(touched), params.size // len(touched)
    most = max(1, CHUNK // width)
    tables = [None if a is None else a.reshape((len(touched), width)) for a in (params, grads, *moments)]
    for start in range(0, len(numbers), most):
        some = numbers[start : start + most]
        parts = [_taken(self, table, some, use=("vectors", i)) for i, table in enumerate(tables)]
        update(*parts)
        for i, (table, part) in enumerate(zip(tables, parts, strict=True)):
            if table is not None and part is not None and i != 1:  # a gradient is only read
                table[some] = part.reshape((len(some), width))


def _taken(self: ArrayOperations, table: Array | None, numbers: Array, *, use: Any) -> Array | None:
    if table is None:
        return None
    out = self._scratch((len(numbers), table.shape[1]), table.dtype, use=use)
    return table.take(numbers, axis=0, out=out, mode="clip").reshape(-1)  # "clip" writes straight into `out`
