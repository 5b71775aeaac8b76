"""Streams of one device, and launches captured on them into a CUDA graph.

One stream, ``main``, carries the work of all threads. It is never captured: what another thread puts in a stream that
is captured becomes part of that graph, and a host that waits for it ends the capture. Graphs are captured on streams
that nobody else has, by one thread at a time, and the finished graph is put in ``main``.

CuPy refuses cuBLAS and cuRAND while a stream is captured, and hands memory that was freed during a capture to the next
who asks although the graph still writes to it. So what is captured here are launches that were recorded before, whose
arguments are complete: no array is made, and a hook sees to it.
"""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from chainrule.backends.cupy.capture.collection import NoCollection
from chainrule.backends.cupy.capture.launches import Launch, StreamHandle
from chainrule.backends.cupy.capture.stream_assignment import StreamAssignment, assign_streams, critical_first
from chainrule.backends.cupy.memory import is_out_of_memory
from chainrule.errors import DeviceError

# The longest chain, and three beside it: each more would need a workspace and find no free multiprocessor.
MAX_STREAMS: Final = 4
WORKSPACE_SIZE: Final = 32 << 20  # bytes per stream: what NVIDIA recommends for products on Hopper


class _Branch(NamedTuple):
    stream: Any  # CuPy's
    handle: StreamHandle


class Streams:
    """The streams of a backend, made with ``main``; those for captures are made once a graph needs them.

    Each branch of a graph has a workspace. The first has that of ``main``: a graph runs there in its turn.
    """

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self.main = cupy.cuda.Stream(non_blocking=True)
        self._workspaces: list[Any] = []
        self._branches: list[_Branch] = []
        self._no_allocation = _no_allocation(cupy)
        self._lock = threading.RLock()  # a signal handler that captures in a capture is to fail, not to wait for ever
        self._is_capturing = False
        weakref.finalize(self, _release, cupy, self.main, self._workspaces).atexit = False  # the driver may be gone
        self.main_handle = self._handle(self.main, 0)

    def __len__(self) -> int:
        """Streams that graphs were captured on."""
        return len(self._branches)

    def _handle(self, stream: Any, number: int) -> StreamHandle:
        """``stream`` with workspace ``number``."""
        if number == len(self._workspaces):
            with self.main:  # whose arena `_release` empties
                self._workspaces.append(self._cupy.cuda.alloc(WORKSPACE_SIZE))
        return StreamHandle(int(stream.ptr), int(self._workspaces[number].ptr), WORKSPACE_SIZE)

    def _grow_to(self, count: int) -> None:
        while len(self._branches) < count:
            stream = self._cupy.cuda.Stream(non_blocking=True)
            self._branches.append(_Branch(stream, self._handle(stream, len(self._branches))))

    def instantiate(self, launches: Sequence[Launch]) -> Callable[[], None]:
        """A CUDA graph of these launches, as free as their memory allows; the function puts it in the main stream."""
        launches = critical_first(launches)
        assigned = assign_streams(launches, MAX_STREAMS)
        graph = self._graph(launches, assigned, again=False)
        if graph is None:
            graph = self._graph(launches, assigned, again=True)

        def start() -> None:
            graph.launch(self.main)

        return start

    def _graph(self, launches: Sequence[Launch], assigned: Sequence[StreamAssignment], *, again: bool) -> Any:
        """The graph, ready to be launched. None if memory ran out and some has been freed, unless this is ``again``."""
        graph = None
        try:
            with self._lock:
                if self._is_capturing:
                    raise DeviceError("a graph is captured within the capture of another")
                # Streams and workspaces are made before the capture, never in it.
                self._grow_to(1 + max((assignment.stream for assignment in assigned), default=0))
                graph = self._capture(lambda: self._start_all(launches, assigned))
            graph.upload(self.main)
        except Exception as error:
            graph = None  # which the error would keep
            if again or not is_out_of_memory(self._cupy, error):
                raise
            # A graph takes its memory from the driver, which cannot take back what lies unused in CuPy's pool.
            self._cupy.get_default_memory_pool().free_all_blocks()
        return graph

    def _start_all(self, launches: Sequence[Launch], assigned: Sequence[StreamAssignment]) -> None:
        first = self._branches[0].stream
        begin = self._event(first)
        events: dict[int, Any] = {}  # by the launches that others wait for
        awaited = {other for assignment in assigned for other in assignment.waits}
        entered = {0}
        for number, (launch, (place, waits)) in enumerate(zip(launches, assigned, strict=True)):
            stream, handle = self._branches[place]
            if place not in entered:  # what a stream does belongs to the graph once it waits for part of it
                stream.wait_event(begin)
                entered.add(place)
            for other in waits:
                stream.wait_event(events[other])
            with stream:
                launch.start(handle)
            if number in awaited:
                events[number] = self._event(stream)
        for place in entered - {0}:
            first.wait_event(self._event(self._branches[place].stream))

    def _event(self, stream: Any) -> Any:
        return stream.record(self._cupy.cuda.Event(disable_timing=True))

    def _capture(self, work: Callable[[], None]) -> Any:
        """The graph of what ``work`` puts in the first branch. The capture ends whatever happens."""
        first, mode = self._branches[0].stream, self._cupy.cuda.runtime.streamCaptureModeRelaxed
        self._is_capturing = True
        try:
            with NoCollection(), self._no_allocation():
                return self._captured(first, mode, work)
        finally:
            self._is_capturing = False

    def _captured(self, first: Any, mode: int, work: Callable[[], None]) -> Any:
        try:
            # Relaxed: something of another's that is destroyed in this thread all the same does not end the capture.
            # Nothing that is captured asks for memory or waits: the hook refuses the one, CUDA the other in any mode.
            first.begin_capture(mode=mode)  # within: Ctrl-C may come as soon as it has begun
            work()
        except BaseException as error:
            try:
                first.end_capture()
            except Exception as also:  # a capture that failed cannot become a graph; the first error says why
                error.add_note(f"the capture was given up: {also}")
            raise
        return first.end_capture()


def _release(cupy: Any, main: Any, workspaces: list[Any]) -> None:
    """Give back what a backend had of CuPy's pool: the arena of a stream that is gone would keep it for nobody.

    Arrays that outlive the backend go there later; CuPy takes what is in any arena if memory runs out.
    """
    workspaces.clear()
    failed = cupy.cuda.runtime.CUDARuntimeError  # if the device is at fault, somebody has been told before
    with contextlib.suppress(failed), cupy.cuda.Device(main.device_id):
        cupy.get_default_memory_pool().free_all_blocks(stream=main)


def _no_allocation(cupy: Any) -> Any:
    """A memory hook that refuses; a class of CuPy's, so it can only be defined once CuPy is there."""

    class NoAllocation(cupy.cuda.MemoryHook):  # type: ignore[misc]
        name = "chainrule: no allocation during capture"

        def malloc_preprocess(self, **facts: Any) -> None:
            raise DeviceError(f"{facts.get('size')} bytes are asked for while a graph is captured")

    return NoAllocation
