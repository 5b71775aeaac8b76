"""Random numbers from counters: Philox and dropout."""

from __future__ import annotations

import numpy as np

from chainrule.backends.compiled.state import COMPILED_DTYPES, LOOPS
from chainrule.backends.contract.arrays import Array
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.backends.numpy.random import counter_now
from chainrule.backends.reference.random import counter_of_member, threshold


def draw_words(self: NumPyBackend, key: tuple[int, int], counter: tuple[int, int, int], count: int) -> Array:
    loops = LOOPS.random
    if loops is not None:
        try:
            words = np.empty(count, np.uint32)
            loops.philox_words(*key, *counter, words)
            return words.astype(np.uint64)
        except Exception as error:
            LOOPS.withdraw(error)
    return NumPyBackend._words(self, key, counter, count)


def dropout(
    self: NumPyBackend,
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
    loops = LOOPS.random
    if loops is not None and x.dtype.char in COMPILED_DTYPES:
        least, factor = np.uint32(threshold(rate)), x.dtype.type(1 / (1 - rate))
        words = self._scratch((4 * loops.TILE,), np.uint32, use="words")
        try:
            now = counter_now(state, counter)
            loops.dropout(x.reshape(-1), *key, *now, least, factor, words, out.reshape(-1))
            return
        except Exception as error:
            LOOPS.withdraw(error)
    NumPyBackend.dropout(self, x, state, key=key, counter=counter, rate=rate, out=out)
