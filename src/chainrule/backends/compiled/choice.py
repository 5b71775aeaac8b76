"""Several threads or one: whichever does the same work sooner, on a machine that others may need too."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

FIRST_TRIAL, LAST_TRIAL = 0.2, 5.0  # seconds until the slower way is tried again, at first and at most
BRIEF: Final = 0.002  # seconds; less is too short to judge a way by


class Load:
    """How many threads of this process replay steps now."""

    def __init__(self) -> None:
        self.threads = 0
        self._lock = threading.Lock()

    @contextlib.contextmanager
    def more(self, threads: int) -> Iterator[None]:
        with self._lock:
            self.threads += threads
        try:
            yield
        finally:
            with self._lock:
                self.threads -= threads


LOAD: Final = Load()


class Choice:
    """Work that several threads may do together, or one alone, with the same result: as was faster of late.

    On a machine with other work a thread waits for one that has no core. Then one alone is faster, and how long that
    lasts no one knows: so the slower way is tried now and then, more seldom if it was in vain.

    Parameters
    ----------
    together, alone : do it so many times
    threads : that do it together
    """

    def __init__(self, *, together: Callable[[int], None], alone: Callable[[int], None], threads: int) -> None:
        self._together, self._alone, self._threads = together, alone, threads
        self._seconds = {True: 0.0, False: float("inf")}  # of one time, lately: together, and alone
        self._in_better = 0.0  # seconds since the other way was tried
        self._until_trial = FIRST_TRIAL

    def __call__(self, times: int) -> None:
        others = LOAD.threads
        if others + 1 >= self._threads:  # with this as many as there are cores, which need no help from each other
            with LOAD.more(1):
                self._alone(times)
            return
        better = self._seconds[True] <= self._seconds[False]
        is_trial = self._in_better >= self._until_trial
        together = better is not is_trial
        start = time.perf_counter()
        if together:
            with LOAD.more(self._threads):
                together = self._try_together(times)
        if not together:
            with LOAD.more(1):
                self._alone(times)
        self._learn(together, time.perf_counter() - start, times, is_trial=is_trial)

    def _try_together(self, times: int) -> bool:
        try:
            self._together(times)
        except RuntimeError:  # this process may start no more threads
            return False
        return True

    def _learn(self, together: bool, seconds: float, times: int, *, is_trial: bool) -> None:
        if seconds >= BRIEF:
            known = self._seconds[together]
            each = seconds / times
            self._seconds[together] = each if is_trial or not 0 < known < float("inf") else (3 * known + each) / 4
        if not is_trial:
            self._in_better += seconds
            return
        won = self._seconds[together] < self._seconds[not together]
        self._in_better, self._until_trial = 0.0, FIRST_TRIAL if won else min(2 * self._until_trial, LAST_TRIAL)
