"""Threads of our own, which replay steps together: they sleep when there is nothing to do, and none is made twice.

A thread of Python, but for the length of a replay it holds no GIL. The one that asks only waits: so an exception that
Python raises in it at any time, as Ctrl-C does, never leaves the others at a barrier that it will not come to.
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


class Worker:
    """A thread that does what it is handed, in order."""

    def __init__(self) -> None:
        self._tasks: queue.SimpleQueue[Task] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="chainrule", daemon=True).start()  # RuntimeError if there is no room

    def hand(self, task: Task) -> None:
        """Do this; it raises nothing."""
        self._tasks.put(task)

    def _work(self) -> None:
        while True:
            self._tasks.get()()


class _Pool:
    """Workers that have nothing to do. A fork leaves the child none of its parent's threads, and a pool of its own."""

    def __init__(self) -> None:
        self.process, self.idle = os.getpid(), []  # type: ignore[var-annotated]

    def take(self, count: int) -> list[Worker]:
        if self.process != os.getpid():
            self.__init__()  # type: ignore[misc]
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


def run_together(tasks: Sequence[Task]) -> None:
    """Do all of them at the same time, each on a thread; RuntimeError, before any has begun, if there are too few.

    An exception that arises meanwhile is raised once they are done: until then their memory is in use.
    """
    workers = _pool.take(len(tasks))
    ended: queue.SimpleQueue[Any] = queue.SimpleQueue()

    def together() -> None:  # on a worker, in which no signal is handled
        for worker, task in zip(workers[1:], tasks[1:], strict=True):
            worker.hand(functools.partial(_run_and_tell, task, ended))
        tasks[0]()
        for _ in tasks[1:]:
            ended.get()
        done.put(None)

    done: queue.SimpleQueue[Any] = queue.SimpleQueue()
    raised: BaseException | None = None
    try:
        workers[0].hand(together)
        done.get()
    except BaseException as error:
        raised = error
        _wait_until_idle(workers[0])
    finally:
        _pool.idle += workers
    if raised is not None:
        raise raised


def _run_and_tell(task: Task, ended: queue.SimpleQueue[Any]) -> None:
    task()
    ended.put(None)


def _wait_until_idle(worker: Worker) -> None:
    """Whether or not it was handed its task before the exception: what it is handed now comes after that."""
    reached = threading.Event()
    while not reached.is_set():
        try:
            worker.hand(reached.set)
            reached.wait()
        except BaseException:
            continue


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
