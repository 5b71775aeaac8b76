"""Sums in the order in which NumPy adds, so that they have its bits."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.backends.compiled.jit import part

BUFFER = 8192  # numbers; so many NumPy converts at a time if a sum has another dtype
BLOCK = 128  # numbers; more of them NumPy adds up in halves

# Unsigned: of a signed index a compiler does not know that it is not negative, which would count from the end.
I1, I2, I3, I4, I5, I6, I7, I8 = (np.uint64(i) for i in range(1, 9))


@part
def number(x: Any) -> Any:
    return x


@part
def double(x: Any) -> Any:
    return np.float64(x)


@part
def square(x: Any) -> Any:
    """In double precision, in which no square of a float32 overflows."""
    return np.float64(x) * np.float64(x)


def _sum_of_block(of: Any) -> Any:
    """The sum of ``of`` each of up to 128 numbers, by eight at a time (NumPy's pairwise_sum, loops_utils.h)."""

    @part
    def sum_of_block(a: Any) -> Any:
        n = a.size
        if n < 8:
            total = -of(a.dtype.type(0))
            for i in range(n):
                total += of(a[i])
            return total
        s0, s1, s2, s3, s4, s5, s6, s7 = of(a[0]), of(a[1]), of(a[2]), of(a[3]), of(a[4]), of(a[5]), of(a[6]), of(a[7])
        whole = n - n % 8
        at: Any = I8
        for _ in range(8, whole, 8):
            s0 += of(a[at])
            s1 += of(a[at + I1])
            s2 += of(a[at + I2])
            s3 += of(a[at + I3])
            s4 += of(a[at + I4])
            s5 += of(a[at + I5])
            s6 += of(a[at + I6])
            s7 += of(a[at + I7])
            at += I8
        total = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
        for i in range(whole, n):
            total += of(a[i])
        return total

    return sum_of_block


def _pairwise(of: Any) -> Any:
    """The same of any count: the sum of two halves, the first a multiple of eight, and so on down to blocks."""
    sum_of_block = _sum_of_block(of)

    @part
    def pairwise(a: Any) -> Any:
        n = a.size
        if n <= BLOCK:
            return sum_of_block(a)
        half = n // 2
        half -= half % 8
        return pairwise(a[:half]) + pairwise(a[half:])

    return pairwise


pairwise_sum = _pairwise(number)
pairwise_in_double = _pairwise(double)
pairwise_squares = _pairwise(square)  # np.square(a.astype(np.float64)).sum()


@part
def sum_in_double(a: Any) -> Any:
    """``a.sum(dtype=np.float64)``."""
    if a.itemsize == 8:
        return pairwise_in_double(a)
    total = 0.0
    for start in range(0, a.size, BUFFER):
        total += pairwise_in_double(a[start : start + BUFFER])
    return total


@part
def pairwise_sum_of_column(a: Any) -> Any:
    """Of a matrix (n, 1)."""
    return pairwise_sum(a[:, 0])
