"""A training step that runs once and is then replayed: recorded as launches, made into graphs, thrown away when stale.

How a list of launches becomes something that can be started at once is the device's affair
(:meth:`Launcher.instantiate`); this file decides what is recorded, when it is replayed and for how long it holds.
"""

from __future__ import annotations

from collections.abc import Callable

from chainrule.backends.cupy.capture.launcher import Launcher, NotRecordableError, ScratchError
from chainrule.backends.cupy.capture.launches import Launch

UNROLLED = 16  # steps per graph: a launch costs the host some 10 us, a step of a small net takes the device as long


class CapturedStep:
    """``replay(times)`` of one step.

    Parameters
    ----------
    step : obeys the law of the step
    launcher : records what the step launches, and makes graphs of it
    """

    def __init__(self, step: Callable[[], None], launcher: Launcher) -> None:
        self._step, self._launcher = step, launcher
        self._launches: list[Launch] | None = None
        self._graphs: dict[int, Callable[[], None]] = {}

    def replay(self, times: int) -> None:
        """Do the step ``times`` times."""
        if times and not self._is_current():
            times -= 1
            self._launches = None
            self._graphs.clear()
            # Started one by one this once: kernels are compiled, products tuned, scratch memory is allocated.
            self._step()
            self._launches = self._recorded()
        if self._launches is None:
            for _ in range(times):
                self._step()
            return
        for steps in (UNROLLED, 1):
            while times >= steps:
                self._graph(steps)()
                times -= steps

    def _is_current(self) -> bool:
        """Whether the step would still launch what was recorded: the same kernels, shapes, addresses and numbers.

        Asked at every call, which is once in many steps and while the device is still busy with earlier ones.
        """
        if self._launches is None:
            return False
        try:
            launches = self._launcher.record(self._step)
        except ScratchError:  # it asks for memory that it never had: something has changed
            return False
        return [launch.key for launch in launches] == [launch.key for launch in self._launches]

    def _recorded(self) -> list[Launch] | None:
        """The launches of the step, or None if it holds what can never be recorded."""
        try:
            return self._launcher.record(self._step)
        except NotRecordableError:
            return None

    def _graph(self, steps: int) -> Callable[[], None]:
        if steps not in self._graphs:
            assert self._launches is not None
            self._graphs[steps] = self._launcher.instantiate(self._launches * steps)
        return self._graphs[steps]
