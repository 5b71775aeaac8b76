"""Sums in the order in which NumPy adds, so that they have its bits."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

BUFFER = 8192  # numbers; so many NumPy converts at a time if a sum has another dtype
BLOCK = 128  # numbers; more of them NumPy adds up in halves

# Unsigned: of a signed index a compiler does not know that it is not negative, which would count from the end.
I1, I2, I3, I4, I5, I6, I7, I8 = (np.uint64(i) for i in range(1, 9))

part: Any = numba.njit(nogil=True, error_model="numpy")


@part
def sum_of_block(a: Any) -> Any:
    """Of up to 128 numbers, by eight at a time (NumPy's pairwise_sum, loops_utils.h)."""
    n = a.size
    if n < 8:
        total: Any = -a.dtype.type(0)
        for i in range(n):
            total += a[i]
        return total
    s0, s1, s2, s3, s4, s5, s6, s7 = a[0], a[1], a[2], a[3], a[4], a[5], a[6], a[7]
    whole: Any = n - n % 8
    at = I8
    for _ in range(8, whole, 8):
        s0 += a[at]
        s1 += a[at + I1]
        s2 += a[at + I2]
        s3 += a[at + I3]
        s4 += a[at + I4]
        s5 += a[at + I5]
        s6 += a[at + I6]
        s7 += a[at + I7]
        at += I8
    total = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
    for i in range(whole, n):
        total += a[i]
    return total


@part
def pairwise_sum(a: Any) -> Any:
    """Of any count: the sum of two halves, the first a multiple of eight, and so on down to blocks."""
    n = a.size
    if n <= BLOCK:
        return sum_of_block(a)
    half = n // 2
    half -= half % 8
    return pairwise_sum(a[:half]) + pairwise_sum(a[half:])


@part
def block_in_double(a: Any) -> Any:
    """As :func:`sum_of_block`, of numbers that become doubles first."""
    n = a.size
    if n < 8:
        total: Any = -0.0
        for i in range(n):
            total += np.float64(a[i])
        return total
    s0, s1, s2, s3 = np.float64(a[0]), np.float64(a[1]), np.float64(a[2]), np.float64(a[3])
    s4, s5, s6, s7 = np.float64(a[4]), np.float64(a[5]), np.float64(a[6]), np.float64(a[7])
    whole: Any = n - n % 8
    at = I8
    for _ in range(8, whole, 8):
        s0 += np.float64(a[at])
        s1 += np.float64(a[at + I1])
        s2 += np.float64(a[at + I2])
        s3 += np.float64(a[at + I3])
        s4 += np.float64(a[at + I4])
        s5 += np.float64(a[at + I5])
        s6 += np.float64(a[at + I6])
        s7 += np.float64(a[at + I7])
        at += I8
    total = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
    for i in range(whole, n):
        total += np.float64(a[i])
    return total


@part
def pairwise_in_double(a: Any) -> Any:
    n = a.size
    if n <= BLOCK:
        return block_in_double(a)
    half = n // 2
    half -= half % 8
    return pairwise_in_double(a[:half]) + pairwise_in_double(a[half:])


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


@part
def squares_of_block(a: Any) -> Any:
    """As :func:`block_in_double`, of the squares of these doubles."""
    n = a.size
    if n < 8:
        total: Any = -0.0
        for i in range(n):
            total += np.float64(a[i]) * np.float64(a[i])
        return total
    d0, d1, d2, d3 = np.float64(a[0]), np.float64(a[1]), np.float64(a[2]), np.float64(a[3])
    d4, d5, d6, d7 = np.float64(a[4]), np.float64(a[5]), np.float64(a[6]), np.float64(a[7])
    s0, s1, s2, s3, s4, s5, s6, s7 = d0 * d0, d1 * d1, d2 * d2, d3 * d3, d4 * d4, d5 * d5, d6 * d6, d7 * d7
    whole: Any = n - n % 8
    for i in range(8, whole, 8):
        s0 += np.float64(a[i]) * np.float64(a[i])
        s1 += np.float64(a[i + 1]) * np.float64(a[i + 1])
        s2 += np.float64(a[i + 2]) * np.float64(a[i + 2])
        s3 += np.float64(a[i + 3]) * np.float64(a[i + 3])
        s4 += np.float64(a[i + 4]) * np.float64(a[i + 4])
        s5 += np.float64(a[i + 5]) * np.float64(a[i + 5])
        s6 += np.float64(a[i + 6]) * np.float64(a[i + 6])
        s7 += np.float64(a[i + 7]) * np.float64(a[i + 7])
    total = ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
    for i in range(whole, n):
        total += np.float64(a[i]) * np.float64(a[i])
    return total


@part
def pairwise_squares(a: Any) -> Any:
    """``np.square(a.astype(np.float64)).sum()``."""
    n = a.size
    if n <= BLOCK:
        return squares_of_block(a)
    half = n // 2
    half -= half % 8
    return pairwise_squares(a[:half]) + pairwise_squares(a[half:])
