"""Loops of the compiled body for dropout and normalisation; like those of :mod:`loops`, with the same bits as NumPy.

Where there are several results, a row is worked through in a loop for each, while it stays in the nearest cache: a
compiler that has to tell more than a few arrays apart uses no vector instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.backends.compiled.jit import loop

TILE = 1024  # blocks of Philox at a time


# ---- dropout --------------------------------------------------------------------------------------


@loop
def philox_tile(k0: int, k1: int, c1: int, c2: int, c3: int, first: int, blocks: int, words: Any) -> None:
    """The words of ``blocks`` blocks from ``first`` on; no branch within, so that several are computed at once."""
    mask, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    m0, m1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
    w0, w1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
    for i in range(blocks):
        a, b, c, d = np.uint64(first + i) & mask, np.uint64(c1) & mask, np.uint64(c2) & mask, np.uint64(c3) & mask
        x, y = np.uint64(k0) & mask, np.uint64(k1) & mask
        for _ in range(10):
            p0, p1 = a * m0, c * m1
            a, b, c, d = (p1 >> shift) ^ b ^ x, p1 & mask, (p0 >> shift) ^ d ^ y, p0 & mask
            x, y = (x + w0) & mask, (y + w1) & mask
        words[4 * i] = np.uint32(a)
        words[4 * i + 1] = np.uint32(b)
        words[4 * i + 2] = np.uint32(c)
        words[4 * i + 3] = np.uint32(d)


@loop
def keep(x: Any, words: Any, threshold: Any, factor: Any, out: Any) -> None:
    zero = x.dtype.type(0)
    for j in range(x.size):
        value = x[j] * factor
        out[j] = value if words[j] >= threshold else zero


@loop
def dropout(
    x: Any, k0: int, k1: int, c1: int, c2: int, c3: int, threshold: Any, factor: Any, words: Any, out: Any
) -> None:
    """x, out flat; ``words`` (4 TILE,) uint32 is scratch memory."""
    size = x.size
    blocks = (size + 3) // 4
    for first in range(0, blocks, TILE):
        philox_tile(k0, k1, c1, c2, c3, first, min(TILE, blocks - first), words)
        part = slice(4 * first, min(4 * (first + TILE), size))
        keep(x[part], words, threshold, factor, out[part])


# ---- layer normalisation: NumPy adds up the rows ----------------------------------------------------


@loop
def less_first(x: Any, out: Any) -> None:
    n, k = x.shape
    for i in range(n):
        first = x[i, 0]
        for j in range(k):
            out[i, j] = x[i, j] - first


@loop
def square_distances(x: Any, mean: Any) -> None:
    n, k = x.shape
    for i in range(n):
        center = mean[i]
        for j in range(k):
            distance = x[i, j] - center
            x[i, j] = distance * distance


@loop
def normalize_rows(x: Any, mean: Any, inverse_std: Any, gain: Any, bias: Any, y: Any) -> None:
    n, k = x.shape
    for i in range(n):
        center, scale = mean[i], inverse_std[i]
        for j in range(k):
            y[i, j] = (x[i, j] - center) * scale * gain[j] + bias[j]


@loop
def row_gradients(dy: Any, x: Any, mean: Any, inverse_std: Any, product: Any, dgain: Any, dbias: Any) -> None:
    """``product`` becomes dy x^."""
    n, k = x.shape
    dgain[:] = 0
    dbias[:] = 0
    for i in range(n):
        center, scale = mean[i], inverse_std[i]
        for j in range(k):
            product[i, j] = dy[i, j] * ((x[i, j] - center) * scale)
        for j in range(k):
            dgain[j] += product[i, j]
        for j in range(k):
            dbias[j] += dy[i, j]


@loop
def times_gain(dy: Any, gain: Any, product: Any, g: Any) -> None:
    """product = product gain, g = dy gain: what is averaged over each row."""
    n, k = dy.shape
    for i in range(n):
        for j in range(k):
            product[i, j] *= gain[j]
        for j in range(k):
            g[i, j] = dy[i, j] * gain[j]


@loop
def row_input_gradient(g: Any, x: Any, mean: Any, inverse_std: Any, along_x: Any, along_one: Any, dx: Any) -> None:
    n, k = x.shape
    for i in range(n):
        center, scale, of_x, of_one = mean[i], inverse_std[i], along_x[i], along_one[i]
        for j in range(k):
            dx[i, j] = ((g[i, j] - (x[i, j] - center) * scale * of_x) - of_one) * scale


# ---- batch normalisation --------------------------------------------------------------------------


@loop
def column_moments(x: Any, mean: Any, var: Any) -> None:
    """The mean of x - first, first the first row, and the variance."""
    n, k = x.shape
    count = x.dtype.type(n)
    mean[:] = 0
    for i in range(n):
        for j in range(k):
            mean[j] += x[i, j] - x[0, j]
    for j in range(k):
        mean[j] /= count
    var[:] = 0
    for i in range(n):
        for j in range(k):
            distance = (x[i, j] - x[0, j]) - mean[j]
            var[j] += distance * distance
    for j in range(k):
        var[j] /= count


@loop
def normalize_columns(x: Any, mean: Any, inverse_std: Any, gain: Any, bias: Any, y: Any) -> None:
    n, k = x.shape
    for i in range(n):
        for j in range(k):
            y[i, j] = (x[i, j] - mean[j]) * inverse_std[j] * gain[j] + bias[j]


@loop
def column_gradients(dy: Any, x: Any, mean: Any, inverse_std: Any, dgain: Any, dbias: Any) -> None:
    n, k = x.shape
    dgain[:] = 0
    dbias[:] = 0
    for i in range(n):
        for j in range(k):
            dgain[j] += dy[i, j] * ((x[i, j] - mean[j]) * inverse_std[j])
        for j in range(k):
            dbias[j] += dy[i, j]


@loop
def column_input_gradient(
    dy: Any, x: Any, mean: Any, inverse_std: Any, along_x: Any, along_one: Any, factor: Any, dx: Any, row: Any
) -> None:
    n, k = x.shape
    for i in range(n):
        for j in range(k):
            row[j] = (x[i, j] - mean[j]) * inverse_std[j] * along_x[j]
        for j in range(k):
            dx[i, j] = (dy[i, j] - row[j] - along_one[j]) * factor[j]
