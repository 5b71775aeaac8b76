"""A step that is kept for the predictions of a net: recorded once it pays, and never compared with its record."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from chainrule.backends.capture.captured_step import NotRecordableError
from chainrule.backends.compiled.choice import Pace
from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.contract.arrays import Array, MapsRows
from chainrule.backends.numpy.blas_threads import single_thread

# To record a step takes about as long as products of so many operations, or as so many steps save if they are short.
RECORDING: Final = 2e8
CALLS: Final = 20
UNDIVIDED: Final = 1e4  # operations of a product that BLAS never divides among its threads

PACE: Final = Pace()  # of all predictions: each alone is too short to find out what the machine is good at


class KeptStep:
    """``run(x, *outs)``, which does ``step(x, *outs)``, as :meth:`Backend.keep` has it.

    Called, it is on one thread of BLAS; recorded, on threads of our own if that pays: the bits are the same.

    Parameters
    ----------
    operations : of the products of all calls that are foreseen
    threads : asked for when the step is recorded
    """

    def __init__(self, step: MapsRows, operations: float, threads: Callable[[], int]) -> None:
        self._step, self._operations, self._threads = step, operations, threads
        self._calls = 0
        self._can_be_recorded = True
        self._x: Array = None
        self._outs: list[Array] = []
        self._program: Callable[[int], None] | None = None

    def __call__(self, x: Array, *outs: Array) -> None:
        if self._program is None and LOOPS.is_loaded and self._can_be_recorded:
            self._calls += 1
            if self._operations >= RECORDING or self._calls > CALLS:
                self._record(x, outs)
        if self._program is None and not (LOOPS.is_loaded and self._can_be_recorded):
            self._step(x, *outs)
        elif self._operations < UNDIVIDED:
            self._run(x, outs)
        else:
            with single_thread():
                self._run(x, outs)

    def _run(self, x: Array, outs: Sequence[Array]) -> None:
        if self._program is None:
            self._step(x, *outs)
            return
        self._x[...] = x
        self._program(1)
        for out, own in zip(outs, self._outs, strict=True):
            out[...] = own

    def _record(self, x: Array, outs: Sequence[Array]) -> None:
        """On arrays of its own, through which x and outs pass from now on; unless it cannot be recorded."""
        own_x, own_outs = x.copy(), [out.copy() for out in outs]
        recorder = LOOPS.programs.StepRecorder(self._threads(), PACE)
        try:
            program = recorder.program(recorder.record(lambda: self._step(own_x, *own_outs)))
        except NotRecordableError:
            self._can_be_recorded = False
        else:
            self._x, self._outs, self._program = own_x, own_outs, program
