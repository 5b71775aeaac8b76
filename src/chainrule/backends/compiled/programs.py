"""A recorded step as a program: tables of addresses, one for each thread, and the loop that calls them in order."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

import numpy as np

from chainrule.backends.capture.captured_step import NotRecordableError
from chainrule.backends.capture.division import Phases, divide
from chainrule.backends.capture.memory import address
from chainrule.backends.compiled import calls, crew
from chainrule.backends.compiled.choice import LOAD, Choice, Pace
from chainrule.backends.compiled.launches import RESULT_AND_ERROR, WORD, Launch, Words, address_of, type_of, words_of
from chainrule.backends.compiled.loops import replay
from chainrule.backends.compiled.loops import threads as loops
from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.numpy import blas
from chainrule.backends.numpy.blas_threads import single_thread
from chainrule.backends.numpy.memory import ALIGNMENT, aligned

# What a step has to take for several threads to pay: they wake once in many steps, and wait for each other in each.
LEAST_COST: Final = 150.0  # microseconds on one thread
LEAST_GAIN: Final = 1.2  # times as fast
BARRIER: Final = 3.0  # microseconds for each time that they wait
MOST_PARTS: Final = 64  # of a step, however many threads are allowed
ABSENT: Final = 1 << 62  # in place of the arrivals at barriers: more than anybody waits for


class StepRecorder:
    """What a captured step of the CPU needs: see :class:`chainrule.backends.capture.captured_step.Recorder`.

    Parameters
    ----------
    threads : that may replay a step together
    pace : how fast several threads and one were in steps of this kind; else it is found out
    """

    runs_first = False

    def __init__(self, threads: int = 1, pace: Pace | None = None) -> None:
        self._threads, self._pace = threads, pace or Pace()
        self._memory: dict[Any, Any] = {}
        self._members = 1
        self.parts = 0  # of the last program, 0 before there is one

    def record(self, step: Callable[[], None], known: Sequence[Launch] = ()) -> list[Launch]:
        """What ``step`` launches; see :func:`calls.record`."""
        made = calls.record(step, known, self._memory, threads=self._threads)
        self._members = made.members
        return made.launches

    def program(self, launches: Sequence[Launch]) -> Callable[[int], None]:
        """``run(times)`` of all of these launches, on as many threads as pay."""
        try:
            made = self._program(launches)
        except Exception as error:
            LOOPS.withdraw(error)  # raises it again unless a loop did not compile
            raise NotRecordableError(LOOPS.problem) from error
        self.parts = made.parts
        return made

    def _program(self, launches: Sequence[Launch]) -> Program | SharedProgram:
        cost, threads = sum(launch.cost for launch in launches), min(self._threads, MOST_PARTS)
        while threads > 1 and cost >= LEAST_COST:
            phases = divide(launches, threads, unit=blas.rows_at_a_time(), by_rows=self._members < threads)
            if cost >= LEAST_GAIN * (phases.cost + BARRIER * len(phases.launches)):
                return SharedProgram(phases, self._pace)
            threads //= 2  # a step may have too few rows for so many
        return Program(launches)


class Program:
    """Launches that one thread replays in order; call it with how often. No Python runs, and no GIL is held."""

    parts = 1

    def __init__(self, launches: Sequence[Launch]) -> None:
        self._table = Table(launches)

    def __call__(self, times: int) -> None:
        with LOAD.more(1):
            self._table.replay(times)


class SharedProgram:
    """A step in parts: for several threads, which wait for each other at the end of each phase, or for one alone.

    The parts decide the bits, and who computes them does not. So the number of parts follows from the step and from
    the machine, and whether several threads pay is found out on the way: they do not where others need the cores.
    """

    def __init__(self, phases: Phases, pace: Pace) -> None:
        self.parts = len(phases.launches[0])
        every: list[Any] = [launch for phase in phases.launches for of_thread in phase for launch in of_thread]
        alone = Table(every)
        alone.replay(0)  # compiled here: no thread may fail where others wait for it
        together = _Together(phases, self.parts)
        self._choice = Choice(together=together, alone=alone.replay, threads=self.parts, pace=pace, units=phases.cost)

    def __call__(self, times: int) -> None:
        self._choice(times)


class _Together:
    """The parts of a step by several threads.

    Not of the program itself: with a reference from there and back, a cycle would keep the memory of a fit.
    """

    def __init__(self, phases: Phases, threads: int) -> None:
        self._counter = aligned((ALIGNMENT // WORD,), np.dtype(np.int64))
        self._barriers = [Barrier(self._counter, threads) for _ in range(threads)]
        self._tables = []
        for thread, barrier in enumerate(self._barriers):
            own: list[Any] = []
            for phase in phases.launches:
                own += [*phase[thread], barrier]
            self._tables.append(Table(own))
        self._begin()

    def _begin(self) -> None:
        self._counter.fill(0)
        for barrier in self._barriers:
            barrier.begin()

    def __call__(self, times: int) -> None:
        try:
            crew.run_together([functools.partial(_replay_part, t, times, self._counter) for t in self._tables])
        finally:
            if self._counter[0] >= ABSENT:
                self._begin()


def _replay_part(table: Table, times: int, counter: np.ndarray) -> None:
    try:
        with single_thread():  # for each thread by itself, as BLAS on OpenMP counts
            table.replay(times)
    except BaseException:
        counter[0] = ABSENT  # the others are not to wait for this one
        raise


class Called(Protocol):
    """A launch, as far as a table needs it."""

    def address(self) -> int: ...

    @property
    def words(self) -> Words: ...


class Barrier:
    """Where one thread waits for the others."""

    def __init__(self, counter: np.ndarray, threads: int) -> None:
        self._own = aligned((ALIGNMENT // WORD,), np.dtype(np.int64))
        self._arguments = (address(counter), self._own, threads, *crew.functions_of_system())

    def begin(self) -> None:
        """Nobody has arrived as yet."""
        self._own.fill(0)

    def address(self) -> int:
        return address_of(loops.wait_for_all, tuple(map(type_of, self._arguments)))

    @property
    def words(self) -> Words:
        return Words([*RESULT_AND_ERROR, *words_of(self._arguments)])


class Table:
    """Addresses and words, as :func:`chainrule.backends.compiled.loops.replay.replay` takes them."""

    def __init__(self, launches: Sequence[Called]) -> None:
        self._launches = launches  # their arrays are to stay where they are
        sizes = [replay.size_for(len(launch.words.values)) for launch in launches]
        self._words = aligned((max(1, sum(sizes)),), np.dtype(np.int64))
        place, words, rows = address(self._words), [0] * len(self._words), []
        at = 0
        for launch, size in zip(launches, sizes, strict=True):
            values, offsets = launch.words
            words[at : at + len(values)] = values
            for number in offsets:
                words[at + number] += place + at * WORD
            rows.append((launch.address(), place + at * WORD, size))
            at += size
        self._words[:] = words
        self._rows = np.array(rows, np.int64).reshape(len(rows), 3)

    def replay(self, times: int) -> None:
        """Call all of them, so many times."""
        replay.replay(self._rows, times)
