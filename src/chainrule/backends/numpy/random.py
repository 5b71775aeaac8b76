"""Random numbers on a host: Philox in place, in pieces that stay in the cache."""

from __future__ import annotations

import numpy as np

from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.backend import BATCH, STEP
from chainrule.backends.numpy.memory import CHUNK
from chainrule.backends.reference import random as reference
from chainrule.backends.reference.array_operations import ArrayOperations
from chainrule.backends.reference.philox import philox4x32_in_place
from chainrule.backends.reference.random import BATCH_SHIFT, counter_of_member, threshold

_BLOCKS = np.arange(CHUNK // 4, dtype=np.uint64)  # of Philox, four words each
_WORD = 0xFFFFFFFF


def uniform(
    self: ArrayOperations, key: tuple[int, int], counter: tuple[int, int, int], *, low: float, high: float, out: Array
) -> None:
    if not out.flags.c_contiguous:
        reference.uniform(self, key, counter, low=low, high=high, out=out)
        return
    flat, factor = out.reshape(-1), (high - low) * 2.0**-24  # a power of two: no bit is lost by multiplying it first
    words = self._scratch((CHUNK,), np.uint32, use="words")
    numbers = self._scratch((CHUNK,), np.float64, use="numbers")
    for start in range(0, out.size, CHUNK):
        part = flat[start : start + CHUNK]
        self._fill_words(key, counter, start, words)
        np.right_shift(words, 8, out=words)
        np.multiply(words, factor, out=numbers)
        np.add(numbers, low, out=numbers)
        part[...] = numbers[: part.size]


def fill_words(
    self: ArrayOperations, key: tuple[int, int], counter: tuple[int, int, int], first: int, words: Array
) -> None:
    for start in range(0, words.size, CHUNK):
        part = words[start : start + CHUNK]
        for j, word in enumerate(_blocks_of(self, key, counter, first + start)):
            of_word = part[j::4]
            of_word[...] = word[: of_word.size]


def _blocks_of(
    self: ArrayOperations, key: tuple[int, int], counter: tuple[int, int, int], start: int
) -> tuple[Array, Array, Array, Array]:
    """The four words of the blocks of elements ``start`` to ``start + CHUNK``, (CHUNK / 4,) uint64 each."""
    c0, c1, c2, c3, p0, p1 = self._scratch((6, CHUNK // 4), np.uint64, use="philox")
    np.add(_BLOCKS, np.uint64(start // 4), out=c0)
    for word, value in zip((c1, c2, c3), counter, strict=True):
        word.fill(value)
    philox4x32_in_place(np, (c0, c1, c2, c3), key, p0, p1)
    return c0, c1, c2, c3


def dropout(
    self: ArrayOperations,
    x: Array,
    state: Array,
    *,
    key: tuple[int, int],
    counter: tuple[int, int],
    rate: float,
    out: Array,
) -> None:
    if x.ndim == 3:
        for j in range(len(x)):
            dropout(self, x[j], state, key=key, counter=counter_of_member(counter, j), rate=rate, out=out[j])
        return
    flat, result = x.reshape(-1), out.reshape(-1)
    drops = self._scratch((CHUNK // 4, 4), np.bool_, use="drops")
    least, factor, now = np.uint64(threshold(rate)), x.dtype.type(1 / (1 - rate)), counter_now(state, counter)
    for start in range(0, x.size, CHUNK):
        for j, word in enumerate(_blocks_of(self, key, now, start)):
            np.less(word, least, out=drops[:, j])
        part = result[start : start + CHUNK]
        np.multiply(flat[start : start + CHUNK], factor, out=part)
        np.copyto(part, 0, where=drops.reshape(-1)[: part.size])


def counter_now(state: Array, counter: tuple[int, int]) -> tuple[int, int, int]:
    """The three words of a dropout's counter that are the same for all elements."""
    step, batch = int(state[STEP]), int(state[BATCH])
    return step & _WORD, (counter[0] + (batch << BATCH_SHIFT)) & _WORD, counter[1]
