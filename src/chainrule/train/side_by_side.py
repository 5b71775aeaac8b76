"""Independent fits side by side, each in a Python thread, with the results of a series.

What a fit computes does not depend on what runs beside it: random numbers are by purpose, a step has the same parts,
and matrix products have one thread here whether or not another fit runs.
"""

from __future__ import annotations

import contextlib
import contextvars
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Final, Generic, NamedTuple, TypeVar

from chainrule.backends.contract.backend import Backend
from chainrule.host_cores import usable_cores
from chainrule.host_memory import free_host_memory
from chainrule.nn.network import Network
from chainrule.train.stop_request import GROUP, StopRequest

T = TypeVar("T")

SHARE: Final = 0.5  # of the free memory that they may take together
COPIES: Final = 3  # of the rows: as cut out, as standardised, and those that are scored
ARENAS: Final = 8  # of parameters: with gradients, moments, best epoch, averages, and those of a copy
BATCH: Final = 1 << 16  # rows that pass through a net at once, at most, as a rule
WAIT: Final = 0.5  # seconds; Windows handles Ctrl-C between two waits only


def side_by_side(
    tasks: Sequence[Callable[[], T]],
    backend: Backend,
    *,
    threads: int | None = None,
    bytes_each: int = 0,
    on_end: Callable[[int, T], object] | None = None,
) -> list[T]:
    """The results of ``tasks``, in order, each of which fits a net of ``backend``.

    They run one after the other in this thread where the others would only wait: on a device, in NumPy without the
    compiled loops, which holds the GIL, and within a task of another group.

    Parameters
    ----------
    threads : tasks that may run at the same time; None for one per core that this process may use
    bytes_each : about what a task allocates: fewer run at the same time where memory is short
    on_end : called in this thread with the number of a task, from 0, and its result, in order

    Raises
    ------
    What a task or ``on_end`` raises, or a signal handler in this thread: all fits are asked to stop, and it is raised
    once they have.
    """
    count = min(len(tasks), threads_for(backend, threads, bytes_each))
    if count > 1:
        return _Workers(tasks, backend, on_end).results(count)
    return _in_series(tasks, backend, on_end)


def threads_for(backend: Backend, threads: int | None, bytes_each: int) -> int:
    """How many fits may run at the same time."""
    if is_beside_others() or backend.beside_others() is None:
        return 1
    count = usable_cores() if threads is None else threads
    free = free_host_memory() if bytes_each and count > 1 else None
    return count if free is None else max(1, min(count, int(SHARE * free) // bytes_each))


def is_beside_others() -> bool:
    """Whether this code is part of a fit beside which others run."""
    return GROUP.get() is not None


def bytes_of_fit(net: Network, rows: int) -> int:
    """About what a fit of such a net to so many rows allocates, with its own copy of them; rather more than less."""
    of_member = ARENAS * net.parameter_arena.layout.size + 2 * min(rows, BATCH) * sum(net.widths)
    return net.dtype.itemsize * (COPIES * rows * net.n_in + net.members * of_member)


def _in_series(
    tasks: Sequence[Callable[[], T]], backend: Backend, on_end: Callable[[int, T], object] | None
) -> list[T]:
    results = []
    for number, task in enumerate(tasks):
        results.append(_run(task, backend))
        if on_end is not None:
            on_end(number, results[-1])
    return results


def _run(task: Callable[[], T], backend: Backend) -> T:
    with backend.beside_others() or contextlib.nullcontext():
        return task()


class _Ended(NamedTuple, Generic[T]):
    number: int
    result: T | None = None
    error: BaseException | None = None


class _Workers(Generic[T]):
    """The threads of one group of tasks; they take tasks in order."""

    def __init__(
        self, tasks: Sequence[Callable[[], T]], backend: Backend, on_end: Callable[[int, T], object] | None
    ) -> None:
        self._tasks, self._backend, self._on_end = tasks, backend, on_end
        self._stop = StopRequest()
        self._numbers: queue.SimpleQueue[int] = queue.SimpleQueue()  # of the tasks that nobody has begun
        for number in range(len(tasks)):
            self._numbers.put(number)
        # Of the thread that asks: what NumPy does on overflow, for example. Each can be entered once.
        self._contexts = [contextvars.copy_context() for _ in tasks]
        self._ended: queue.SimpleQueue[_Ended[T] | None] = queue.SimpleQueue()  # None: a thread has ended

    def results(self, count: int) -> list[T]:
        """On so many threads, or as many as there can be."""
        threads: list[threading.Thread] = []
        try:
            for _ in range(count):
                threads.append(threading.Thread(target=self._work, name="chainrule fit", daemon=True))
                try:
                    threads[-1].start()
                except RuntimeError:  # this process may start no more
                    threads.pop()
                    break
            return self._collect(len(threads)) if threads else _in_series(self._tasks, self._backend, self._on_end)
        except BaseException:
            self._stop()
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
            raise

    def _collect(self, running: int) -> list[T]:
        found: list[T] = []
        waiting: dict[int, T] = {}
        errors: dict[int, BaseException] = {}
        while running:
            ended = self._next()
            if ended is None:
                running -= 1
            elif ended.error is not None:
                errors[ended.number] = ended.error
            else:
                waiting[ended.number] = ended.result  # type: ignore[assignment]
            while len(found) in waiting and not self._stop.requested:
                found.append(waiting.pop(len(found)))
                if self._on_end is not None:
                    self._on_end(len(found) - 1, found[-1])
        if errors:
            first = errors[min(errors)]
            try:
                raise first
            finally:  # an error that refers to itself, by this frame, would hold its arrays
                del first, errors
        return found

    def _next(self) -> _Ended[T] | None:
        while True:
            with contextlib.suppress(queue.Empty):
                return self._ended.get(timeout=WAIT)

    def _work(self) -> None:
        while not self._stop.requested:
            try:
                number = self._numbers.get_nowait()
            except queue.Empty:
                break
            try:
                self._ended.put(_Ended(number, self._contexts[number].run(self._one, number)))
            except BaseException as error:
                self._stop()  # here, so that this thread takes no other task
                self._ended.put(_Ended(number, error=error))
        self._ended.put(None)

    def _one(self, number: int) -> T:
        GROUP.set(self._stop)
        return _run(self._tasks[number], self._backend)
