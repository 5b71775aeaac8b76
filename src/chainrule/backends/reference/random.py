"""Random numbers from counters, and dropout, which draws them."""

from __future__ import annotations

from typing import Any

from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.backend import BATCH, STEP
from chainrule.backends.contract.random import MEMBER_SHIFT
from chainrule.backends.reference.array_operations import ArrayOperations
from chainrule.backends.reference.philox import philox_words

BATCH_SHIFT = 16  # bits of a counter's word that are the layer's; the batch's number has those above
_WORD = 0xFFFFFFFF


def uniform(
    self: ArrayOperations, key: tuple[int, int], counter: tuple[int, int, int], *, low: float, high: float, out: Array
) -> None:
    words = _words(self, key, counter, out.size)
    u = (words >> self.xp.uint64(8)).astype(self.xp.float64) * 2.0**-24
    out[...] = (low + (high - low) * u).reshape(out.shape)


def permutation(self: ArrayOperations, key: tuple[int, int], counter: tuple[int, int, int], *, out: Array) -> None:
    # One sort of distinct 64-bit numbers, the word above, the element below: no order among equals to define.
    words = _words(self, key, counter, out.size)
    tagged = (words << self.xp.uint64(32)) | self.xp.arange(out.size, dtype=self.xp.uint64)
    tagged.sort()
    out[...] = (tagged & self.xp.uint64(0xFFFFFFFF)).astype(out.dtype)


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
    xp = self.xp
    words = philox_words(xp, x.size, _dropout_counter(self, state, counter), key).reshape(x.shape)
    out[...] = xp.where(words < xp.uint64(threshold(rate)), x.dtype.type(0), x * x.dtype.type(1 / (1 - rate)))


def _dropout_counter(self: ArrayOperations, state: Array, counter: tuple[int, int]) -> tuple[Any, Any, int]:
    word = self.xp.uint64(_WORD)
    step, batch = (state[i : i + 1].astype(self.xp.uint64) for i in (STEP, BATCH))
    return step & word, (batch * self.xp.uint64(1 << BATCH_SHIFT) + self.xp.uint64(counter[0])) & word, counter[1]


def counter_of_member(counter: tuple[int, int], j: int) -> tuple[int, int]:
    return counter[0], counter[1] + (j << MEMBER_SHIFT)


def threshold(rate: float) -> int:
    """The least word that is kept: rate 2^32, rounded."""
    return min(round(rate * 2.0**32), _WORD)


def fill_words(
    self: ArrayOperations, key: tuple[int, int], counter: tuple[int, int, int], first: int, words: Array
) -> None:
    words[...] = philox_words(self.xp, words.size, counter, key, first)


def _words(self: ArrayOperations, key: tuple[int, int], counter: tuple[int, int, int], count: int) -> Array:
    words = self.xp.empty(count, self.xp.uint64)
    self._fill_words(key, counter, 0, words)
    return words
