"""The loops of the compiled body, for numba. Nothing here decides anything: :mod:`backend` says when each is used.

**The same bits as the reference.** Each loop does what NumPy does to an element, in the same order and with the same
roundings (no fused multiply-add, no reassociation, sums over rows in NumPy's pairwise order), so a run may change from
one body to the other between two steps and nobody can tell. exp and log stay NumPy's own: two libraries round them
differently.

One thread each: these loops run at the speed of the caches, and a second pool of threads that spins beside BLAS's costs
more than it gains. They release the GIL and keep no state, so any number of Python threads may call them.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.backends.compiled.jit import loop

PAIRWISE = 128  # up to here NumPy's sum over a contiguous axis is one unrolled loop; beyond, it recurses


@loop
def add_bias(z: Any, b: Any) -> None:
    n, m = z.shape
    for i in range(n):
        for j in range(m):
            z[i, j] += b[j]


@loop
def add_bias_relu(y: Any, b: Any) -> None:
    n, m = y.shape
    zero = y.dtype.type(0)
    for i in range(n):
        for j in range(m):
            value = y[i, j] + b[j]
            y[i, j] = zero if value < zero else value  # a nan stays


@loop
def pairwise_sum(a: Any) -> Any:
    """The sum of up to PAIRWISE numbers in the order in which NumPy adds them (its pairwise_sum, loops_utils.h)."""
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


@loop
def squared_differences(p: Any, t: Any, difference: Any, square: Any, losses: Any) -> None:
    n, k = p.shape
    for i in range(n):
        for j in range(k):
            d = p[i, j] - t[i, j]
            difference[i, j] = d
            square[j] = d * d
        losses[i] = pairwise_sum(square)


@loop
def absolute_differences(p: Any, t: Any, sign: Any, row: Any, losses: Any) -> None:
    n, k = p.shape
    zero, one = p.dtype.type(0), p.dtype.type(1)
    for i in range(n):
        for j in range(k):
            d = p[i, j] - t[i, j]
            s = one if d > zero else (-one if d < zero else d - d)  # a nan stays
            sign[i, j] = s
            row[j] = d * s
        losses[i] = pairwise_sum(row)


@loop
def huber(p: Any, t: Any, delta: Any, gradient: Any, row: Any, losses: Any) -> None:
    n, k = p.shape
    minus_half = p.dtype.type(-0.5)
    for i in range(n):
        for j in range(k):
            d = p[i, j] - t[i, j]
            c = -delta if d < -delta else (delta if d > delta else d)
            gradient[i, j] = c
            row[j] = (d + c * minus_half) * c
        losses[i] = pairwise_sum(row)


@loop
def poisson(z: Any, t: Any, mean: Any, gradient: Any, row: Any, losses: Any) -> None:
    """``mean`` is exp(z)."""
    n, k = z.shape
    for i in range(n):
        for j in range(k):
            m = mean[i, j]
            row[j] = m - z[i, j] * t[i, j]
            gradient[i, j] = m - t[i, j]
        losses[i] = pairwise_sum(row)


@loop
def gamma(z: Any, t: Any, inverse: Any, gradient: Any, row: Any, losses: Any) -> None:
    """``inverse`` is exp(-z)."""
    n, k = z.shape
    one = z.dtype.type(1)
    for i in range(n):
        for j in range(k):
            ratio = inverse[i, j] * t[i, j]
            row[j] = z[i, j] + ratio
            gradient[i, j] = one - ratio
        losses[i] = pairwise_sum(row)


@loop
def less_twice_positive_part(z: Any, out: Any) -> None:
    n, k = z.shape
    zero, minus_two = z.dtype.type(0), z.dtype.type(-2)
    for i in range(n):
        for j in range(k):
            value = z[i, j]
            out[i, j] = (zero if value < zero else value) * minus_two + value


@loop
def sigmoid_losses(z: Any, t: Any, log1p: Any, row: Any, losses: Any) -> None:
    n, k = z.shape
    zero = z.dtype.type(0)
    for i in range(n):
        for j in range(k):
            value = z[i, j]
            row[j] = (log1p[i, j] + (zero if value < zero else value)) - value * t[i, j]
        losses[i] = pairwise_sum(row)


@loop
def sigmoid_less_targets(e: Any, t: Any) -> None:
    """e comes in as exp(-z) and goes out as 1 / (1 + e) - t."""
    n, k = e.shape
    one = e.dtype.type(1)
    for i in range(n):
        for j in range(k):
            e[i, j] = one / (e[i, j] + one) - t[i, j]


@loop
def adam(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    keep: Any,
    decay: Any,
    beta1: Any,
    rest1: Any,
    beta2: Any,
    rest2: Any,
    step_eps: Any,
    step_size: Any,
) -> None:
    """``keep`` is 1 but for decoupled decay, ``decay`` 0 but for coupled decay."""
    coupled = decay != 0
    for i in range(p.size):
        gradient = g[i] + p[i] * decay if coupled else g[i]  # 0 times a weight that is infinite would be nan
        first = m[i] * beta1 + gradient * rest1
        second = v[i] * beta2 + (gradient * gradient) * rest2
        m[i] = first
        v[i] = second
        p[i] = p[i] * keep - first / (math.sqrt(second) + step_eps) * step_size


@loop
def sgd(p: Any, g: Any, rate: Any, decay: Any) -> None:
    for i in range(p.size):
        p[i] -= (g[i] + p[i] * decay) * rate


@loop
def sgd_momentum(p: Any, g: Any, velocity: Any, rate: Any, decay: Any, momentum: Any, nesterov: bool) -> None:
    for i in range(p.size):
        gradient = g[i] + p[i] * decay
        v = velocity[i] * momentum + gradient
        velocity[i] = v
        p[i] -= (gradient + v * momentum if nesterov else v) * rate


@loop
def approach(target: Any, share: Any, out: Any) -> None:
    for i in range(out.size):
        out[i] += (target[i] - out[i]) * share


@loop
def philox_words(k0: int, k1: int, c1: int, c2: int, c3: int, out: Any) -> None:
    """``out`` (words,) uint32, as :func:`chainrule.backends.reference.philox.philox_words`."""
    mask, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    m0, m1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
    w0, w1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
    n = out.size
    for block in range((n + 3) // 4):
        a, b, c, d = np.uint64(block), np.uint64(c1), np.uint64(c2), np.uint64(c3)
        x, y = np.uint64(k0), np.uint64(k1)
        for _ in range(10):
            p0, p1 = a * m0, c * m1
            a, b, c, d = (p1 >> shift) ^ b ^ x, p1 & mask, (p0 >> shift) ^ d ^ y, p0 & mask
            x, y = (x + w0) & mask, (y + w1) & mask
        start = 4 * block
        out[start] = np.uint32(a)
        if start + 1 < n:
            out[start + 1] = np.uint32(b)
        if start + 2 < n:
            out[start + 2] = np.uint32(c)
        if start + 3 < n:
            out[start + 3] = np.uint32(d)
