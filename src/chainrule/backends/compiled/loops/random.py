"""Loops of random numbers: Philox, and dropout."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.backends.compiled.jit import loop

TILE = 1024  # blocks of Philox at a time


@loop(writes="")
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


@loop(writes="")
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


@loop(writes="")
def keep(x: Any, words: Any, threshold: Any, factor: Any, out: Any) -> None:
    zero = x.dtype.type(0)
    for j in range(x.size):
        value = x[j] * factor
        out[j] = value if words[j] >= threshold else zero


@loop(writes="")
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
