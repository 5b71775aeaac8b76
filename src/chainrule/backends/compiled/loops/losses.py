"""Loops of losses of classes, and of what all losses share. exp and log are NumPy's, in between."""

from __future__ import annotations

import math
from typing import Any

from chainrule.backends.compiled.jit import loop
from chainrule.backends.compiled.loops.sums import pairwise_sum, sum_in_double
from chainrule.backends.contract.backend import BATCH, CORRECT, HALTED, LOSS, RUNNING, STEP, WEIGHT


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


@loop(writes="chosen", rows="x labels chosen")
def choose_smoothed(x: Any, labels: Any, smoothing: Any, chosen: Any) -> None:
    """``smoothing``: the share of the label less that of any class, and the share of any class."""
    for i in range(labels.size):
        chosen[i] = smoothing[0] * x[i, labels[i]] + smoothing[1] * pairwise_sum(x[i])


@loop(writes="e normalizer", rows="e labels normalizer")
def normalize_less_targets(e: Any, labels: Any, smoothing: Any, normalizer: Any) -> None:
    """softmax - q of e, the exponentials; ``smoothing`` as above."""
    n, k = e.shape
    of_label, of_any = smoothing[0], smoothing[1]
    for i in range(n):
        total = pairwise_sum(e[i])
        normalizer[i] = total
        for j in range(k):
            e[i, j] = e[i, j] / total - of_any
        e[i, labels[i]] -= of_label


@loop(writes="losses factor", rows="losses rest power factor")
def focal(losses: Any, rest: Any, power: Any, gamma: Any, factor: Any) -> None:
    """-log p comes in ``losses``, with rest = 1 - p and its power; out go losses and factors f of the gradient."""
    one = losses.dtype.type(1)
    for i in range(losses.size):
        quotient = one if rest[i] == 0 else losses[i] / rest[i]
        factor[i] = power[i] * (one + gamma[0] * (one - rest[i]) * quotient)
        losses[i] *= power[i]


# ---- right or wrong ------------------------------------------------------------------------------------------------


@loop(writes="right", rows="classes labels right")
def are_labels_right(classes: Any, labels: Any, right: Any) -> None:
    for i in range(right.size):
        right[i] = classes[i] == labels[i]


@loop(writes="right", rows="logits targets right")
def are_signs_right(logits: Any, targets: Any, right: Any) -> None:
    """1 where all signs agree with targets > 1/2, else 0."""
    n, k = logits.shape
    for i in range(n):
        all_agree = True
        for j in range(k):
            all_agree &= (logits[i, j] > 0) == (targets[i, j] > 0.5)
        right[i] = all_agree


@loop(writes="totals")
def record_correct(right: Any, state: Any, totals: Any) -> None:
    totals[state[BATCH], CORRECT] = 0.0 + sum_in_double(right)


# ---- from the losses of rows to that of a batch --------------------------------------------------------------------


@loop(writes="x", rows="x")
def times(x: Any, factor: Any) -> None:
    """``factor`` (1,)."""
    n, k = x.shape
    by = factor[0]
    for i in range(n):
        for j in range(k):
            x[i, j] *= by


@loop(writes="x", rows="x row_factors")
def times_rows(x: Any, row_factors: Any, factor: Any) -> None:
    """``row_factors`` (n,), ``factor`` (1,)."""
    n, k = x.shape
    for i in range(n):
        by = row_factors[i] * factor[0]
        for j in range(k):
            x[i, j] *= by


@loop(writes="weight factor")
def total_weight(weights: Any, scale: Any, mean: int, weight: Any, factor: Any) -> None:
    """The sum of the weights, and what a weight times a gradient is still to be multiplied by; all (1,)."""
    weight[0] = 0.0 + sum_in_double(weights)
    divisor = 1.0
    if mean != 0 and weight[0] != 0:  # all weights 0: the gradient is 0 whatever it is divided by
        divisor = weight[0]
    factor[0] = scale[0] / divisor


@loop(writes="state totals")
def record_loss(losses: Any, weight: Any, scale: Any, state: Any, totals: Any) -> None:
    """``weight``, ``scale`` (1,); totals (batches, 3) of one member."""
    batch = state[BATCH]
    loss = (0.0 + sum_in_double(losses)) * scale[0]
    totals[batch, LOSS] = loss
    totals[batch, WEIGHT] = weight[0]
    if state[HALTED] == RUNNING and not math.isfinite(loss):
        state[HALTED] = state[STEP]
