"""Threads of our own, which replay steps together: they sleep when there is nothing to do, and none is made twice.

A thread of Python, but for the length of a replay it holds no GIL. The one that asks only waits: so an exception that
Python raises in it at any time, as Ctrl-C does, never leaves the others at a barrier that it will not come to. Workers
go back to the pool by themselves, once all of them are done, whatever has become of who asked.
"""

from __future__ import annotations

import ctypes
import functools
import os
import queue
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Any

Task = Callable[[], None]


class TooFewThreadsError(RuntimeError):
    """This process may start no more threads."""


class Worker:
    """A thread that does what it is handed, in order. It ends when nobody has the worker any more."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[Task | None] = queue.SimpleQueue()
        thread = threading.Thread(target=_work, args=(self._tasks,), name="chainrule", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            if "new thread" not in str(error):  # of a signal handler
                raise
            raise TooFewThreadsError(str(error)) from error

    def hand(self, task: Task) -> None:
        """Do this; it raises nothing."""
        self._tasks.put(task)

    def __del__(self) -> None:
        self._tasks.put(None)


def _work(tasks: queue.SimpleQueue[Task | None]) -> None:
    while (task := tasks.get()) is not None:
        task()
        task = None  # its memory is not this thread's while it waits for the next


class _Pool:
    """Workers that have nothing to do. A fork leaves the child none of its parent's threads."""

    def __init__(self) -> None:
        self.idle: list[Worker] = []

    def forget(self) -> None:
        """In a forked child."""
        self.idle = []

    def take(self, count: int) -> list[Worker]:
        taken: list[Worker] = []
        try:
            while len(taken) < count:
                try:
                    taken.append(self.idle.pop())
                except IndexError:
                    taken.append(Worker())
        except BaseException:
            self.idle += taken
            raise
        return taken


_pool = _Pool()
if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
    os.register_at_fork(after_in_child=_pool.forget)


class _Job:
    """Tasks that are done together; a worker calls it, in which no signal is handled. A second call does nothing."""

    def __init__(self, tasks: Sequence[Task], pool: _Pool) -> None:
        self.is_over, self.errors = False, list[BaseException]()
        self._tasks, self._pool, self._workers = tasks, pool, pool.take(len(tasks))
        self._is_begun, self._ended = False, queue.SimpleQueue[None]()
        self._until_over = threading.Lock()
        self._until_over.acquire()

    def wait(self) -> BaseException | None:
        """Have it done, and return once it is; the last exception that arose meanwhile."""
        raised = None
        while not self.is_over:
            try:
                self._workers[0].hand(self)  # once more after an exception, which may have come before the first time
                self._until_over.acquire()
            except BaseException as error:
                raised = error
        try:
            return raised
        finally:
            raised = None  # it knows this frame, which is not to know it

    def __call__(self) -> None:
        if self._is_begun:
            return
        self._is_begun = True
        try:
            for number, worker in enumerate(self._workers[1:], 1):
                worker.hand(functools.partial(self._do, number))
            self._do(0)
            for _ in self._workers:
                self._ended.get()
            self._pool.idle += self._workers
        except BaseException as error:  # no memory for what is handed over; these workers are not used again
            self.errors.append(error)
        finally:
            self._tasks = ()  # from here on their memory is that of who asked alone
            self.is_over = True
            self._until_over.release()

    def _do(self, number: int) -> None:
        try:
            self._tasks[number]()
        except BaseException as error:
            self.errors.append(error)
        finally:
            self._ended.put(None)


def run_together(tasks: Sequence[Task]) -> None:
    """Do all of them at the same time, each on a thread; TooFewThreadsError before any has begun.

    An exception that arises meanwhile, in the caller or in a task, is raised once they are done: until then their
    memory is in use.
    """
    job = _Job(tasks, _pool)
    raised: BaseException | None = None
    try:
        try:
            raised = job.wait()
        except BaseException as error:  # one that came while it dealt with another
            raised = job.wait() or error
        if job.errors:
            raise job.errors[0] from raised
        if raised is not None:
            raise raised
    finally:
        del raised, job  # an exception knows this frame: it would keep the memory of the tasks for a cycle's time


@functools.cache
def functions_of_system() -> tuple[int, int]:
    """The addresses of what gives way to other threads, and of what sleeps for some microseconds."""
    if sys.platform == "win32":
        kernel = ctypes.WinDLL("kernel32")
        return _address(kernel.SwitchToThread), _address(kernel.SwitchToThread)
    library = ctypes.CDLL(None)
    return _address(library.sched_yield), _address(library.usleep)


def _address(function: Any) -> int:
    return ctypes.cast(function, ctypes.c_void_p).value or 0
