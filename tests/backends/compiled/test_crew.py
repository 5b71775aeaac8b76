"""Threads that replay together: nothing that is raised, at whatever moment, leaves one of them behind."""

from __future__ import annotations

import ctypes
import gc
import os
import random
import signal
import threading
import time
import weakref

import pytest

pytest.importorskip("numba", reason="numba is not installed")

from chainrule.backends.compiled import crew


@pytest.fixture
def pool(monkeypatch):
    """A pool of this test's own."""
    own = crew._Pool()
    monkeypatch.setattr(crew, "_pool", own)
    return own


def workers() -> int:
    return sum(thread.name == "chainrule" for thread in threading.enumerate())


def ends(condition, seconds=5.0) -> bool:
    """Whether it comes true."""
    until = time.monotonic() + seconds
    while not condition() and time.monotonic() < until:
        time.sleep(0.001)
    return bool(condition())


def test_all_tasks_at_the_same_time():
    meet = threading.Barrier(4)
    crew.run_together([lambda: meet.wait(30)] * 4)


def test_threads_are_used_again(pool):
    seen: set[int] = set()
    for _ in range(20):
        crew.run_together([lambda: seen.add(threading.get_ident())] * 3)
    assert len(seen) <= 3
    assert len(pool.idle) == 3


def test_callers_have_threads_of_their_own():
    meet = threading.Barrier(6)
    callers = [threading.Thread(target=crew.run_together, args=([lambda: meet.wait(30)] * 2,)) for _ in range(3)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(30)
    assert not any(caller.is_alive() for caller in callers)


def test_workers_end_when_nobody_has_them(pool):
    before = workers()
    crew.run_together([lambda: None] * 3)
    assert workers() == before + 3
    pool.idle.clear()
    assert ends(lambda: workers() == before)


def test_nothing_is_kept_of_what_was_done():
    class Memory:
        def __call__(self) -> None:
            pass

    gc.disable()
    try:
        tasks = [Memory() for _ in range(3)]
        watched = [weakref.ref(task) for task in tasks]
        crew.run_together(tasks)
        del tasks
        assert [reference() for reference in watched] == [None] * 3
    finally:
        gc.enable()


def test_an_error_of_a_task_is_raised_once_all_are_done():
    done = []

    def fails() -> None:
        raise MemoryError("of a task")

    def takes_long() -> None:
        time.sleep(0.05)
        done.append(True)

    with pytest.raises(MemoryError, match="of a task"):
        crew.run_together([fails, takes_long])
    assert done == [True]
    crew.run_together([takes_long, takes_long])


def test_no_more_threads(monkeypatch, pool):
    start, left = threading.Thread.start, [2]

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "chainrule":
            left[0] -= 1
            if left[0] < 0:
                raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    done = []
    with pytest.raises(crew.TooFewThreadsError, match="can't start"):
        crew.run_together([lambda: done.append(True)] * 3)
    assert done == []
    assert len(pool.idle) == 2, "those that were started are kept"
    crew.run_together([lambda: done.append(True)] * 2)
    assert done == [True] * 2


def interrupt(thread: int, error: type[BaseException]) -> None:
    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(error))


class StoppedError(Exception):
    """Raised from outside."""


@pytest.mark.parametrize("seed", range(3))
def test_exceptions_at_any_moment(pool, seed):
    """One at a time, anywhere: either nothing has begun, or everything is done."""
    rng, caller, quiet, is_over = random.Random(seed), threading.get_ident(), threading.Event(), threading.Event()

    def disturb() -> None:
        while not is_over.is_set():
            if quiet.wait(1):
                quiet.clear()
                time.sleep(rng.random() * 3e-4)
                interrupt(caller, StoppedError)

    disturber = threading.Thread(target=disturb)
    disturber.start()
    raised = 0
    try:
        for _ in range(300):
            # Python raises such an exception in a thread that is being started instead, which never begins then.
            pool.idle += [crew.Worker() for _ in range(2 - len(pool.idle))]
            begun, done = [], []

            def task(begun=begun, done=done) -> None:
                begun.append(True)
                time.sleep(1e-4)
                done.append(True)

            state = ()
            try:
                quiet.set()
                crew.run_together([task] * 2)
                state = len(begun), len(done)
                time.sleep(1e-3)  # until it has come
                for _ in range(100):
                    pass
            except StoppedError:
                state = state or (len(begun), len(done))
                raised += 1
            assert state in {(0, 0), (2, 2)}
    finally:
        is_over.set()
        for _ in range(3):
            try:
                disturber.join(30)
                break
            except StoppedError:
                pass
    assert raised > 200
    assert ends(lambda: workers() <= 8), "workers pile up"


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers that send signals")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # Thread.start, if it is interrupted
def test_signals_at_any_moment():
    class RungError(RuntimeError):
        """A RuntimeError, as that of too few threads is one."""

    def ring(*_: object) -> None:
        raise RungError

    rng, old, counts = random.Random(0), signal.signal(signal.SIGALRM, ring), []
    try:
        for _ in range(300):
            done: list[bool] = []

            def task(done=done) -> None:
                time.sleep(1e-4)
                done.append(True)

            try:
                signal.setitimer(signal.ITIMER_REAL, rng.random() * 5e-4 + 1e-6)
                crew.run_together([task] * 2)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except RungError:
                pass
            counts.append(len(done))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert set(counts) <= {0, 2}
    assert 2 in counts


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_threads_of_its_own():
    """Also while its parent's are at work."""
    crew.run_together([lambda: None] * 3)
    at_work, may_end = threading.Barrier(3), threading.Event()

    def works() -> None:
        at_work.wait(30)
        may_end.wait(30)

    caller = threading.Thread(target=crew.run_together, args=([works] * 2,))
    caller.start()
    at_work.wait(30)
    child = os.fork()
    if child == 0:
        meet, code = threading.Barrier(3), 1
        try:
            crew.run_together([lambda: meet.wait(30)] * 3)
            code = 0
        finally:
            os._exit(code)
    may_end.set()
    caller.join(30)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    meet = threading.Barrier(3)
    crew.run_together([lambda: meet.wait(30)] * 3)
