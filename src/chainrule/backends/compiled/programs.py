"""A recorded step as a program: a table of addresses, and the loop that calls them one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.backends.compiled import calls
from chainrule.backends.compiled.launches import WORD, Launch
from chainrule.backends.compiled.loops import replay
from chainrule.backends.numpy.memory import aligned


class Program:
    """Launches that one thread replays in order; call it with how often. No Python runs meanwhile, and no GIL is held."""

    def __init__(self, launches: Sequence[Launch]) -> None:
        self._launches = launches  # their arrays are to stay where they are
        sizes = [replay.size_for(len(launch.words(0))) for launch in launches]
        self._words = aligned((max(1, sum(sizes)),), np.dtype(np.int64))
        self._words.fill(0)
        self._table = np.zeros((len(launches), 3), np.int64)
        at = 0
        for number, (launch, size) in enumerate(zip(launches, sizes, strict=True)):
            place = self._words.ctypes.data + at * WORD
            words = launch.words(place)
            self._words[at : at + len(words)] = words
            self._table[number] = launch.address(), place, size
            at += size

    def __call__(self, times: int) -> None:
        replay.replay(self._table, times)


class StepRecorder:
    """What a captured step of the CPU needs: see :class:`chainrule.backends.capture.captured_step.Recorder`."""

    runs_first = False

    def __init__(self) -> None:
        self._memory: dict[Any, Any] = {}

    def record(self, step: Callable[[], None], known: Sequence[Launch] = ()) -> list[Launch]:
        return calls.record(step, known, self._memory)

    def program(self, launches: Sequence[Launch]) -> Callable[[int], None]:
        return Program(launches)
