"""Philox4x32-10: random numbers from counters.

Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011, section 3.3. A block of four
32-bit words is a function of a 128-bit counter and a 64-bit key, so any word of any step can be had by itself, in
any order, on any device, and there is no generator state to save.
"""

from __future__ import annotations

from typing import Any

from chainrule.backends.contract.backend import Array

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # golden ratio and sqrt(3) - 1: the key's increment per round
ROUNDS = 10
_MASK = 0xFFFFFFFF


def philox4x32(xp: Any, counter: tuple[Any, Any, Any, Any], key: tuple[int, int]) -> tuple[Array, ...]:
    """Four words for each counter: uint64 arrays holding values below 2^32.

    A round, with (hi, lo) the halves of a 64-bit product:
    (c0, c1, c2, c3) <- (hi(M1 c2) ^ c1 ^ k0,  lo(M1 c2),  hi(M0 c0) ^ c3 ^ k1,  lo(M0 c0)).
    The words of ``counter`` are ints or uint64 arrays of one shape; ``xp`` is the array module.
    """
    shift, mask = xp.uint64(32), xp.uint64(_MASK)
    m0, m1 = (xp.uint64(m) for m in MULTIPLIERS)
    c0, c1, c2, c3 = (xp.asarray(c, dtype=xp.uint64) for c in counter)
    k0, k1 = key
    for _ in range(ROUNDS):
        p0, p1 = c0 * m0, c2 * m1
        c0, c1, c2, c3 = (p1 >> shift) ^ c1 ^ xp.uint64(k0), p1 & mask, (p0 >> shift) ^ c3 ^ xp.uint64(k1), p0 & mask
        k0, k1 = (k0 + WEYL[0]) & _MASK, (k1 + WEYL[1]) & _MASK
    return c0, c1, c2, c3


def philox4x32_in_place(xp: Any, counter: tuple[Array, ...], key: tuple[int, int], p0: Array, p1: Array) -> None:
    """As :func:`philox4x32`, the words in place of the counter: all uint64 arrays of one shape; p0, p1 are scratch."""
    shift, mask = xp.uint64(32), xp.uint64(_MASK)
    m0, m1 = (xp.uint64(m) for m in MULTIPLIERS)
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        xp.multiply(c0, m0, out=p0)
        xp.multiply(c2, m1, out=p1)
        xp.right_shift(p1, shift, out=c0)
        xp.bitwise_xor(c0, c1, out=c0)
        xp.bitwise_xor(c0, xp.uint64(k0), out=c0)
        xp.bitwise_and(p1, mask, out=c1)
        xp.right_shift(p0, shift, out=c2)
        xp.bitwise_xor(c2, c3, out=c2)
        xp.bitwise_xor(c2, xp.uint64(k1), out=c2)
        xp.bitwise_and(p0, mask, out=c3)
        k0, k1 = (k0 + WEYL[0]) & _MASK, (k1 + WEYL[1]) & _MASK


def philox_words(xp: Any, count: int, counter: tuple[int, int, int], key: tuple[int, int], first: int = 0) -> Array:
    """``count`` words in element order: word e is word e % 4 of the block with counter (e // 4, *counter).

    They begin with word ``first``, a multiple of 4.
    """
    blocks = xp.arange(first // 4, first // 4 + (count + 3) // 4, dtype=xp.uint64)
    return xp.stack(philox4x32(xp, (blocks, *counter), key), axis=-1).reshape(-1)[:count]
