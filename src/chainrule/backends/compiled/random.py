"""Random numbers from counters: Philox and dropout."""

from __future__ import annotations

import numpy as np

from chainrule.backends.compiled.calls import call, each_member, known_dtype, number
from chainrule.backends.compiled.fallback import with_fallback
from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.contract.arrays import Array
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.backends.reference.random import counter_of_member, threshold


def fill_words(
    self: NumPyBackend, key: tuple[int, int], counter: tuple[int, int, int], first: int, words: Array
) -> None:
    loops = LOOPS.random
    if loops is not None:
        try:
            found = words if words.dtype == np.uint32 else np.empty(words.size, np.uint32)
            loops.philox_words(*key, *counter, first // 4, found)
            words[...] = found
            return
        except Exception as error:
            LOOPS.withdraw(error)
    NumPyBackend._fill_words(self, key, counter, first, words)


@with_fallback
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
    known_dtype(x, out)
    factor = number(1 / (1 - rate), x.dtype)
    for j, (of_x, of_out) in enumerate(each_member((x, 2), (out, 2))):
        counter_now = counter_of_member(counter, j)
        call(LOOPS.random.dropout, of_x, state, *key, *counter_now, threshold(rate), factor, 0, of_out)
