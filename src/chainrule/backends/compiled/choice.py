"""Several threads or one: whichever does the same work sooner, on a machine that others may need too."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Final

from chainrule.backends.compiled.crew import TooFewThreadsError

FIRST_TRIAL, LAST_TRIAL = 0.2, 5.0  # seconds until the slower way is tried again, at first and at most
TRIAL: Final = 0.02  # seconds that a trial takes, if both ways are as fast
BRIEF: Final = 0.002  # seconds; less is too short to judge a way by


class Load:
    """How many threads of this process replay steps now. A forked child has none of its parent's.

    Without a lock, which a signal handler that fits, or a child, could find taken; each holder is an entry of its own,
    so that an exception at any time, as Ctrl-C raises it, leaves none behind.
    """

    def __init__(self) -> None:
        self._held: dict[object, int] = {}
        if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
            os.register_at_fork(after_in_child=self._held.clear)

    @property
    def threads(self) -> int:
        return sum(self._held.copy().values())

    @contextlib.contextmanager
    def more(self, threads: int) -> Iterator[None]:
        holder = object()
        try:
            self._held[holder] = threads
            yield
        finally:
            self._held.pop(holder, None)


LOAD: Final = Load()


class Pace:
    """How fast both ways were of late, in seconds for a unit of work; of one choice, or of several that are alike.

    On a machine with other work a thread waits for one that has no core. Then one alone is faster, and how long that
    lasts no one knows: so the slower way is tried now and then, more seldom if it was in vain.
    """

    def __init__(self) -> None:
        self._seconds = {True: 0.0, False: float("inf")}  # of a unit, lately: together, and alone
        self._unjudged = {True: (0.0, 0.0), False: (0.0, 0.0)}  # seconds and units, too few as yet to judge by
        self._in_better = 0.0  # seconds since the other way was tried
        self._until_trial = FIRST_TRIAL

    @property
    def better(self) -> bool:
        """Whether several threads are faster."""
        return self._seconds[True] <= self._seconds[False]

    @property
    def is_trial_due(self) -> bool:
        return self._in_better >= self._until_trial

    def units_of_a_trial(self) -> float:
        """How much work takes the better way as long as a trial may take."""
        each = self._seconds[self.better]
        return TRIAL / each if each > 0 else float("inf")

    def learn(self, together: bool, seconds: float, units: float, *, is_trial: bool) -> None:
        """That so much work has taken so long."""
        if not is_trial:
            self._in_better += seconds
        before = self._unjudged[together]
        spent, done = before[0] + seconds, before[1] + units
        if spent < BRIEF:  # the next time counts too, and a trial goes on
            self._unjudged[together] = spent, done
            return
        self._unjudged[together] = 0.0, 0.0
        known, each = self._seconds[together], spent / done
        self._seconds[together] = each if is_trial or not 0 < known < float("inf") else (3 * known + each) / 4
        if is_trial:
            won = self._seconds[together] < self._seconds[not together]
            self._in_better, self._until_trial = 0.0, FIRST_TRIAL if won else min(2 * self._until_trial, LAST_TRIAL)


class Choice:
    """Work that several threads may do together, or one alone, with the same result: as was faster of late.

    Parameters
    ----------
    together, alone : do it so many times
    threads : that do it together
    pace : what is known of both ways
    units : of work in one time
    """

    def __init__(
        self,
        *,
        together: Callable[[int], None],
        alone: Callable[[int], None],
        threads: int,
        pace: Pace | None = None,
        units: float = 1.0,
    ) -> None:
        self._together, self._alone, self._threads = together, alone, threads
        self._pace, self._units = pace or Pace(), units

    def __call__(self, times: int) -> None:
        while times:
            times -= self._some(times)

    def _some(self, times: int) -> int:
        """Do it so many times, or in a trial perhaps fewer; how many."""
        if LOAD.threads + 1 >= self._threads:  # with this as many as there are cores: none needs help
            self._do(times, together=False)
            return times
        pace, units = self._pace, self._units
        is_trial = pace.is_trial_due
        if is_trial:
            times = max(1, int(min(times, pace.units_of_a_trial() / units)))
        start = time.perf_counter()
        together = self._do(times, together=pace.better is not is_trial)
        pace.learn(together, time.perf_counter() - start, times * units, is_trial=is_trial)
        return times

    def _do(self, times: int, *, together: bool) -> bool:
        """Whether it was done together."""
        if together:
            try:
                with LOAD.more(self._threads):
                    self._together(times)
            except TooFewThreadsError:
                together = False
        if not together:
            with LOAD.more(1):
                self._alone(times)
        return together
