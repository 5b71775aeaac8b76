"""One thread for NumPy's BLAS, for as long as somebody asks for it, and the number from before afterwards.

The number belongs to the process, so that several holders share it: the first sets 1, the last restores. (With OpenBLAS
on OpenMP it belongs to the thread that asks, and so do the holders.) A number that somebody else sets meanwhile, as
threadpoolctl does, is left alone. A forked child has no holder, and the number from before.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator

from chainrule.backends.numpy import blas
from chainrule.backends.numpy.blas import ThreadFunctions


class _Holders:
    """Who holds the number at 1, and what it was."""

    def __init__(self) -> None:
        self.held: set[object] = set()
        self.before = 1


class _OfThread(threading.local):
    def __init__(self) -> None:
        self.holders = _Holders()


class _State:
    """Everything that a fork has to renew."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # a signal handler may fork, or fit, while its own thread has it
        self.of_process = _Holders()
        self.of_thread = _OfThread()

    def holders(self, functions: ThreadFunctions) -> _Holders:
        return self.of_thread.holders if functions.per_thread else self.of_process


_state = _State()


def can_limit() -> bool:
    """Whether :func:`single_thread` does anything: not with Accelerate, a BLAS without threads, or an unknown one."""
    return _functions() is not None


@contextlib.contextmanager
def single_thread() -> Iterator[None]:
    """NumPy's BLAS on one thread within the block; without effect if that cannot be set (:func:`can_limit`).

    May be nested, and entered by several threads at once. Products of other threads are on one thread meanwhile too,
    except with OpenBLAS on OpenMP, where each thread that multiplies has to enter for itself.
    """
    functions = _functions()
    if functions is None:
        yield
        return
    state = _state
    holders, holder = state.holders(functions), object()
    try:
        _enter(functions, state, holders, holder)
        yield
    finally:
        try:
            _leave(functions, state, holders, holder)
        except BaseException:  # Ctrl-C in the midst of it: the number is restored nevertheless
            _leave(functions, state, holders, holder)
            raise


def _functions() -> ThreadFunctions | None:
    found = blas.find()
    return None if found is None else blas.thread_functions_of(found)


def _enter(functions: ThreadFunctions, state: _State, holders: _Holders, holder: object) -> None:
    with state.lock:
        now = functions.get()
        if not holders.held or now != 1:  # the second: somebody else's number, which is the one to go back to
            holders.before = now
        holders.held.add(holder)
        if now != 1:
            functions.set(1)


def _leave(functions: ThreadFunctions, state: _State, holders: _Holders, holder: object) -> None:
    """A second time does what an exception has kept the first from doing, or nothing."""
    if state is not _state:  # this is a child that was forked within the block, and holds nothing
        return
    with state.lock:
        if holders.held == {holder}:
            _restore(functions, holders)
        holders.held.discard(holder)


def _restore(functions: ThreadFunctions, holders: _Holders) -> None:
    if holders.before != 1 and functions.get() == 1:
        functions.set(holders.before)


def _before_fork() -> None:
    _state.lock.acquire()  # so that a child never sees half a change


def _after_fork_in_parent() -> None:
    _state.lock.release()


def _after_fork_in_child() -> None:
    global _state
    old, _state = _state, _State()
    for holders in (old.of_process, old.of_thread.holders):
        functions = _functions() if holders.held else None
        if functions is not None:
            _restore(functions, holders)


if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
