"""What a fit takes from the process while it runs: threads, and BLAS on one of them."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

from chainrule.backends.contract.work import Work
from chainrule.backends.numpy.blas_threads import single_thread
from chainrule.host_cores import usable_cores


class FitScope:
    """A fit of this thread."""

    def __init__(self, threads: int, held: contextlib.ExitStack) -> None:
        self.threads = threads
        self._held, self._holds_blas = held, False

    def hold_blas(self) -> None:
        """From now on to the end of the fit BLAS has one thread: steps are divided among our own."""
        if not self._holds_blas:
            self._held.enter_context(single_thread())
            self._holds_blas = True


class _OfThread(threading.local):
    scope: FitScope | None = None


_thread = _OfThread()


@contextlib.contextmanager
def fit_scope(work: Work) -> Iterator[None]:
    """A fit, with as many threads as it may have."""
    outer = _thread.scope
    with contextlib.ExitStack() as held:
        _thread.scope = FitScope(work.threads or usable_cores(), held)
        try:
            yield
        finally:
            _thread.scope = outer


def current() -> FitScope | None:
    """The fit of this thread, if it is in one."""
    return _thread.scope
