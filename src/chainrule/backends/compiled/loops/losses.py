"""Loops of losses of classes, and of softmax. exp and log are NumPy's, in between."""

from __future__ import annotations

import math
from typing import Any

from chainrule.backends.compiled.jit import loop


@loop
def pairwise_sum(a: Any) -> Any:
    """The sum of up to 128 numbers in the order in which NumPy adds them (its pairwise_sum, loops_utils.h)."""
    n = a.size
    if n < 8:
        total = -a.dtype.type(0)
        for i in range(n):
            total += a[i]
        return total
    s0, s1, s2, s3, s4, s5, s6, s7 = a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]
    whole = n - n % 8
    for i in range(8, whole, 8):
        s0 += a[i]
        s1 += a[i + 1]
        s2 += a[i + 2]
        s3 += a[i + 3]
        s4 += a[i + 4]
        s5 += a[i + 5]
        s6 += a[i + 6]
        s7 += a[i + 7]
    total = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
    for i in range(whole, n):
        total += a[i]
    return total


@loop
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


@loop
def choose(x: Any, labels: Any, chosen: Any) -> None:
    for i in range(labels.size):
        chosen[i] = x[i, labels[i]]


@loop
def normalize_less_onehot(e: Any, labels: Any, normalizer: Any) -> None:
    n, k = e.shape
    one = e.dtype.type(1)
    for i in range(n):
        total = pairwise_sum(e[i])
        normalizer[i] = total
        for j in range(k):
            e[i, j] /= total
        e[i, labels[i]] -= one


@loop
def divide_by_sum(e: Any) -> None:
    n, k = e.shape
    for i in range(n):
        total = pairwise_sum(e[i])
        for j in range(k):
            e[i, j] /= total
