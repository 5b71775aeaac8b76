"""The barrier of threads that replay together: what each has written before it, all of them see after it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess

import numpy as np
import pytest

pytest.importorskip("numba", reason="numba is not installed")

import numba

from chainrule.backends.compiled import crew
from chainrule.backends.compiled.loops.threads import wait_for_all

# The same in C, for ThreadSanitizer, which knows what is ordered before what on any processor.
TEXT = r"""
#include <pthread.h>
#include <sched.h>
static long counter, slots[4], wrong;
static void wait_for_all(long *own) {
    long goal = *own += 4;
    __atomic_fetch_add(&counter, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(&counter, LOAD) < goal) sched_yield();
}
static void *work(void *slot) {
    long own = 0, differ = 0;
    for (long round = 1; round <= 2000; round++) {
        *(long *)slot = round;
        wait_for_all(&own);
        for (int i = 0; i < 4; i++) differ += slots[i] != round;
        wait_for_all(&own);
    }
    __atomic_fetch_add(&wrong, differ, __ATOMIC_SEQ_CST);
    return 0;
}
int main(void) {
    pthread_t threads[4];
    for (int i = 0; i < 4; i++) pthread_create(threads + i, 0, work, slots + i);
    for (int i = 0; i < 4; i++) pthread_join(threads[i], 0);
    return wrong != 0;
}
"""
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


@pytest.mark.parametrize(("load", "is_right"), [("__ATOMIC_ACQUIRE", True), ("__ATOMIC_RELAXED", False)])
def test_nothing_is_read_that_is_not_ordered_after_its_write(tmp_path, load, is_right):
    tools = [shutil.which(name) for name in ("gcc", "setarch")]
    if None in tools:
        pytest.skip("needs gcc with ThreadSanitizer, and setarch")
    program = tmp_path / "barrier"
    (tmp_path / "barrier.c").write_text(TEXT)
    compiler = [
        "gcc",
        "-O2",
        "-g",
        "-fsanitize=thread",
        f"-DLOAD={load}",
        "-o",
        program,
        tmp_path / "barrier.c",
        "-lpthread",
    ]
    if subprocess.run(compiler, capture_output=True, check=False).returncode:
        pytest.skip("this gcc has no ThreadSanitizer")
    # Without random addresses, in which older versions of it do not find their way.
    done = subprocess.run(["setarch", "-R", program], capture_output=True, text=True, check=False, timeout=120)
    if "FATAL" in done.stderr or "setarch" in done.stderr:
        pytest.skip(done.stderr[:200])
    assert ("data race" in done.stderr) is not is_right, done.stderr
    assert (done.returncode == 0) is is_right
