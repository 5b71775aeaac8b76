"""Loops of losses of classes, and of softmax. exp and log are NumPy's, in between."""

from __future__ import annotations

import math
from typing import Any

from chainrule.backends.compiled.jit import loop
from chainrule.backends.compiled.loops.sums import pairwise_sum, sum_in_double
from chainrule.backends.contract.backend import BATCH, HALTED, LOSS, RUNNING, STEP, WEIGHT


@loop(writes="shifted", rows="logits shifted")
def subtract_row_max(logits: Any, shifted: Any) -> None:
    n, k = logits.shape
    for i in range(n):
        largest = logits[i, 0]
        for j in range(1, k):
            value = logits[i, j]
            if value > largest or math.isnan(value):
                largest = value
        for j in range(k):
            shifted[i, j] = logits[i, j] - largest


@loop(writes="chosen", rows="x labels chosen")
def choose(x: Any, labels: Any, chosen: Any) -> None:
    for i in range(labels.size):
        chosen[i] = x[i, labels[i]]


@loop(writes="e normalizer", rows="e labels normalizer")
def normalize_less_onehot(e: Any, labels: Any, normalizer: Any) -> None:
    n, k = e.shape
    one = e.dtype.type(1)
    for i in range(n):
        total = pairwise_sum(e[i])
        normalizer[i] = total
        for j in range(k):
            e[i, j] /= total
        e[i, labels[i]] -= one


@loop(writes="e", rows="e")
def divide_by_sum(e: Any) -> None:
    n, k = e.shape
    for i in range(n):
        total = pairwise_sum(e[i])
        for j in range(k):
            e[i, j] /= total


# ---- from the losses of rows to that of a batch --------------------------------------------------------------------


@loop(writes="dz", rows="dz")
def times(dz: Any, factor: Any) -> None:
    """``factor`` (1,)."""
    n, k = dz.shape
    by = factor[0]
    for i in range(n):
        for j in range(k):
            dz[i, j] *= by


@loop(writes="state totals")
def record_loss(losses: Any, scale: Any, state: Any, totals: Any) -> None:
    """``scale`` (1,); totals (batches, 3) of one member."""
    batch = state[BATCH]
    loss = sum_in_double(losses) * scale[0]
    totals[batch, LOSS] = loss
    totals[batch, WEIGHT] = losses.size
    if state[HALTED] == RUNNING and not math.isfinite(loss):
        state[HALTED] = state[STEP]
