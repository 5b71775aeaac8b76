"""Several threads or one: the sooner of the two on a clock of the test's own, and always all that is asked for."""

from __future__ import annotations

import os
import signal
import threading

import pytest

pytest.importorskip("numba", reason="numba is not installed")

from chainrule.backends.compiled import choice as module
from chainrule.backends.compiled.choice import LOAD, Choice, Load
from chainrule.backends.compiled.crew import TooFewThreadsError


class Clock:
    """Work that takes as long as the test says."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, together: float, alone: float) -> None:
        self.now, self.seconds = 0.0, {True: together, False: alone}
        self.calls: list[tuple[bool, int]] = []
        self.has_threads = True
        monkeypatch.setattr(module.time, "perf_counter", lambda: self.now)
        self.choice = Choice(together=self.together, alone=self.alone, threads=2)

    def together(self, times: int) -> None:
        if not self.has_threads:
            raise TooFewThreadsError("no more")
        self._do(True, times)

    def alone(self, times: int) -> None:
        self._do(False, times)

    def _do(self, together: bool, times: int) -> None:
        assert LOAD.threads == (2 if together else 1)
        self.now += self.seconds[together] * times
        self.calls.append((together, times))

    def run(self, calls: int, times: int) -> float:
        """The share of the steps that were done together."""
        self.calls.clear()
        for _ in range(calls):
            self.choice(times)
        assert sum(done for _, done in self.calls) == calls * times
        return sum(done for together, done in self.calls if together) / (calls * times)


@pytest.mark.parametrize("times", [1, 50])
def test_the_faster_way_is_taken(monkeypatch, times):
    """Also if a call is too short to judge by."""
    fast = Clock(monkeypatch, together=5e-4, alone=1e-3)
    assert fast.run(20_000, times) > 0.97
    slow = Clock(monkeypatch, together=2e-3, alone=1e-3)
    slow.run(1000, times)
    assert slow.run(20_000, times) < 0.03


@pytest.mark.parametrize("times", [1, 50])
def test_it_follows_the_machine(monkeypatch, times):
    clock = Clock(monkeypatch, together=5e-4, alone=1e-3)
    clock.run(20_000, times)
    clock.seconds[True] = 5e-3  # others need the cores
    clock.run(2000, times)
    assert clock.run(20_000, times) < 0.1
    clock.seconds[True] = 5e-4
    clock.run(20_000, times)
    assert clock.run(20_000, times) > 0.9


def test_a_trial_is_short(monkeypatch):
    clock = Clock(monkeypatch, together=1e-3, alone=1e-1)
    clock.run(100, 100)
    assert max(times for together, times in clock.calls if not together) <= module.TRIAL / 1e-3


def test_one_alone_if_no_threads_can_be_started(monkeypatch):
    clock = Clock(monkeypatch, together=5e-4, alone=1e-3)
    clock.has_threads = False
    assert clock.run(1000, 20) == 0
    clock.has_threads = True
    clock.run(1000, 20)
    assert clock.run(1000, 20) > 0.9


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_other_errors_are_raised_and_nothing_is_done_twice(error):
    def together(times: int) -> None:
        raise error

    with pytest.raises(error):
        Choice(together=together, alone=lambda times: pytest.fail("done again"), threads=2)(3)
    assert LOAD.threads == 0


@pytest.mark.parametrize("threads", [2, 3])
def test_one_alone_beside_others_that_need_the_other_cores(threads):
    done: list[bool] = []
    choice = Choice(together=lambda _: done.append(True), alone=lambda _: done.append(False), threads=threads)
    with LOAD.more(threads - 2):
        choice(1)
    with LOAD.more(threads - 1):
        choice(1)
    choice(1)
    assert done == [True, False, True]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_forked_child_has_no_load():
    load = Load()
    with load.more(2):
        child = os.fork()
        if child == 0:
            os._exit(load.threads)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert load.threads == 2
    assert load.threads == 0


def test_load_of_many_threads():
    load = Load()

    def work() -> None:
        for _ in range(2000):
            with load.more(3):
                assert load.threads >= 3

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert load.threads == 0


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers that send signals")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # raised while a generator is closed
def test_load_after_signals_at_any_moment():
    load, numbers = Load(), iter(range(1, 10**9))

    class RungError(Exception):
        pass

    def ring(*_: object) -> None:
        raise RungError

    old = signal.signal(signal.SIGALRM, ring)
    try:
        for _ in range(1000):
            try:
                signal.setitimer(signal.ITIMER_REAL, next(numbers) % 97 * 1e-6 + 1e-6)
                for _ in range(300):
                    with load.more(1):
                        pass
                signal.setitimer(signal.ITIMER_REAL, 0)
            except RungError:
                pass
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert load.threads == 0
