"""The barrier of threads that replay together: what each has written before it, all of them see after it."""

from __future__ import annotations

import functools
import os

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed")

import numba

from chainrule.backends.compiled import crew
from chainrule.backends.compiled.loops.threads import wait_for_all

ROUNDS = int(os.environ.get("CHAINRULE_TEST_ROUNDS", "20000"))
APART = 8  # words of a cache line


@numba.njit(nogil=True)
def meet(counter, own, slots, thread, threads, rounds, give_way, sleep, passes):
    """How often a slot of another thread showed another round than this one, ``passes`` barriers a round."""
    wrong = 0
    for number in range(1, rounds + 1):
        for word in range(APART):
            slots[thread, word] = number
        if passes > 0:
            wait_for_all(counter, own, threads, give_way, sleep)
        for other in range(threads):
            for word in range(APART):
                wrong += slots[other, word] != number
        if passes > 1:
            wait_for_all(counter, own, threads, give_way, sleep)
    return wrong


def wrong_looks(threads: int, rounds: int, passes: int = 2) -> int:
    counter, slots = np.zeros(APART, np.int64), np.zeros((threads, APART), np.int64)
    owns, found = [np.zeros(APART, np.int64) for _ in range(threads)], []

    def go(thread: int) -> None:
        shared = int(counter.ctypes.data), owns[thread], slots, thread, threads, rounds
        found.append(meet(*shared, *crew.functions_of_system(), passes))

    crew.run_together([functools.partial(go, thread) for thread in range(threads)])
    assert len(found) == threads
    if passes:
        assert counter[0] == threads * rounds * passes, "each arrives as often as the others"
    return sum(found)


@pytest.mark.parametrize("threads", [2, 3, 4])
def test_all_see_what_was_written_before(threads):
    assert wrong_looks(threads, ROUNDS // threads) == 0


def test_without_barriers_they_do_not():
    """So that the test above can fail."""
    assert wrong_looks(2, 20_000, passes=0) > 0
