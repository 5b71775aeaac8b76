"""What a fit takes from the process while it runs: threads, and BLAS on one of them."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

from chainrule.backends.contract.work import Work
from chainrule.backends.numpy.blas_threads import single_thread
from chainrule.host_cores import usable_cores


class FitScope:
    """A fit of this thread."""

    def __init__(self, threads: int, held: contextlib.ExitStack) -> None:
        self.threads = threads
        self._held, self._holds_blas = held, False
        self.problem = ""  # why steps are called one by one, if some are
        self.parts = 0  # the most that a recorded step was divided into

    def note(self, problem: str, parts: int) -> None:
        """How a step was done."""
        self.problem, self.parts = self.problem or problem, max(self.parts, parts)

    def hold_blas(self) -> None:
        """From now on to the end of the fit BLAS has one thread: steps are divided among our own."""
        if not self._holds_blas:
            self._held.enter_context(single_thread())
            self._holds_blas = True


class _OfThread(threading.local):
    scope: FitScope | None = None
    counted = 0.0  # seconds, of fits and of what :func:`time_outside` has measured


_thread = _OfThread()


@contextlib.contextmanager
def fit_scope(work: Work) -> Iterator[None]:
    """A fit, with as many threads as it may have."""
    outer = _thread.scope
    with contextlib.ExitStack() as held:
        _thread.scope = FitScope(work.threads or usable_cores(), held)
        start, before = time.perf_counter(), _thread.counted
        try:
            yield
        finally:
            _thread.scope = outer
            _thread.counted = before + time.perf_counter() - start


class time_outside(contextlib.AbstractContextManager["time_outside"]):  # noqa: N801 - it is called in a with statement
    """The ``seconds`` of a block that are of no fit in it, and of no block of this kind in it."""

    seconds = 0.0

    def __enter__(self) -> time_outside:
        self._start, self._before = time.perf_counter(), _thread.counted
        return self

    def __exit__(self, *error: object) -> None:
        elapsed = time.perf_counter() - self._start
        self.seconds = max(0.0, elapsed - (_thread.counted - self._before))
        _thread.counted = self._before + elapsed


def current() -> FitScope | None:
    """The fit of this thread, if it is in one."""
    return _thread.scope
