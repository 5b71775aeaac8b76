"""Loops of random numbers: Philox, and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.backends.compiled.jit import loop, part
from chainrule.backends.contract.backend import BATCH, STEP
from chainrule.backends.reference.random import BATCH_SHIFT

TILE = 1024  # blocks of Philox at a time


@loop(writes="out")
def philox_words(k0: int, k1: int, c1: int, c2: int, c3: int, first: int, out: Any) -> None:
    """``out`` (words,) uint32, from block ``first`` of :func:`chainrule.backends.reference.philox.philox_words` on."""
    mask, shift = np.uint64(0xFFFFFFFF), np.uint64(32)
    m0, m1 = np.uint64(0xD2511F53), np.uint64(0xCD9E8D57)
    w0, w1 = np.uint64(0x9E3779B9), np.uint64(0xBB67AE85)
    n = out.size
    for block in range((n + 3) // 4):
        a, b, c, d = np.uint64(first + block), np.uint64(c1), np.uint64(c2), np.uint64(c3)
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


@part
def philox_tile(k0: Any, k1: Any, c1: Any, c2: Any, c3: Any, first: Any, blocks: Any, words: Any) -> None:
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


@part
def keep(x: Any, words: Any, least: Any, factor: Any, out: Any) -> None:
    zero = x.dtype.type(0)
    for j in range(x.size):
        value = x[j] * factor
        out[j] = value if words[j] >= least else zero


@loop(writes="out", rows="x out", first="first")
def dropout(
    x: Any, state: Any, k0: int, k1: int, c2: int, c3: int, threshold: int, factor: Any, first: int, out: Any
) -> None:
    """x, out (n, m), rows from number ``first`` on; ``factor`` (1,). Words below ``threshold`` drop an element."""
    m, size = x.shape[1], x.size
    x_flat, out_flat, by, least = x.reshape(size), out.reshape(size), factor[0], np.uint32(threshold)
    step, batch = state[STEP], c2 + (state[BATCH] << BATCH_SHIFT)
    words = np.empty(4 * TILE, np.uint32)  # not the step's scratch memory: each thread has its own
    block = first * m // 4
    skip = first * m % 4  # rows of a part may begin within a block
    done = 0
    while done < size:
        count = min(4 * TILE - skip, size - done)
        philox_tile(k0, k1, step, batch, c3, block, (skip + count + 3) // 4, words)
        keep(x_flat[done : done + count], words[skip:], least, by, out_flat[done : done + count])
        block += TILE
        done += count
        skip = 0
