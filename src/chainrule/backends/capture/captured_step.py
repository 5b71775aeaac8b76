"""A training step as a list of launches: recorded once, replayed without Python, thrown away when it is stale.

A *launch* is one kernel, product or compiled loop, bound to its arguments. How a list of launches becomes something
that can be started at once is the device's affair (:meth:`Recorder.program`): CUDA graphs on a GPU, a compiled loop
over addresses on the CPU. This file decides what is recorded, when it is replayed and for how long it holds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, Protocol, TypeVar

from chainrule.errors import DeviceError


class ScratchError(DeviceError):
    """A step that is being recorded asks for scratch memory that it did not ask for when it ran."""


class NotRecordableError(DeviceError):
    """A step that calls what can never be recorded; it is started operation by operation instead."""


class Recorded(Protocol):
    """A launch that has been written down."""

    @property
    def key(self) -> Any:
        """What is launched, with all numbers and addresses."""


L = TypeVar("L", bound=Recorded)


class Recorder(Protocol[L]):
    """What a device has to provide."""

    runs_first: bool  # whether a step has to run once before it is recorded: kernels compiled, products tuned

    def record(self, step: Callable[[], None], known: Sequence[L] = ()) -> list[L]:
        """What ``step`` launches, in order, without starting any of it; ``known`` is what it launched before."""

    def program(self, launches: Sequence[L], *twins: Sequence[L]) -> Callable[[int], None]:
        """``run(times)`` of all of these launches; of a step with twins, of their launches in turn."""


class CapturedStep(Generic[L]):
    """``replay(times)`` of one step.

    Parameters
    ----------
    step : obeys the law of the step
    recorder : records what the step launches, and makes a program of it
    twins : do the same in other memory, and are taken in turn with the step
    """

    def __init__(
        self, step: Callable[[], None], recorder: Recorder[L], twins: Sequence[Callable[[], None]] = ()
    ) -> None:
        self._steps, self._recorder = [step, *twins], recorder
        self._launches: list[list[L]] = []  # of the step and its twins, as many as have been asked for at once
        self._run: Callable[[int], None] | None = None
        self.problem = ""  # why the step is not recorded, if it is not

    def replay(self, times: int, *, unchanged: bool = False) -> None:
        """Do the step ``times`` times; if it is ``unchanged`` since the last call, without a look at it."""
        if not times:
            return
        in_turn = min(times, len(self._steps))
        if len(self._launches) < in_turn or not (unchanged or self._is_current()):
            self._launches, self._run = [], None
            if self._recorder.runs_first:
                times -= in_turn
                for step in self._steps[:in_turn]:
                    step()
            self._record(in_turn)
        if self._run is None:
            for _ in range(times):
                self._steps[0]()
        elif times:
            self._run(times)

    def _is_current(self) -> bool:
        """Whether the step would still launch what was recorded: the same kernels, shapes, addresses and numbers.

        Asked at every call, which is once in many steps; on a GPU while it is still busy with earlier ones. The first
        call of an epoch would find it idle, and is told if there is nothing to ask.
        """
        try:
            return all(
                _are_equal(self._recorder.record(step, launches), launches)
                for step, launches in zip(self._steps, self._launches, strict=False)
            )
        except (ScratchError, NotRecordableError):  # it asks for what it never had: something has changed
            return False

    def _record(self, in_turn: int) -> None:
        """Record the step, and so many in all with its twins, unless they hold what can never be recorded."""
        try:
            launches = [self._recorder.record(step) for step in self._steps[:in_turn]]
            self._run = self._recorder.program(*launches)
        except NotRecordableError as error:
            self.problem = str(error)
        else:
            self._launches = launches


def _are_equal(launches: Sequence[L], known: Sequence[L]) -> bool:
    return len(launches) == len(known) and all(
        new is old or new.key == old.key for new, old in zip(launches, known, strict=True)
    )
