"""Streams of one device, and launches captured on them into a CUDA graph.

CuPy refuses cuBLAS and cuRAND while a stream is captured, and hands memory that was freed during a capture to the next
who asks although the graph still writes to it. So what is captured here are launches that were recorded before, whose
arguments are complete: no array is made, and a hook sees to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from chainrule.backends.cupy.capture.launches import Launch, StreamHandle
from chainrule.backends.cupy.capture.stream_assignment import StreamAssignment, assign_streams, critical_first
from chainrule.errors import DeviceError

# The longest chain, and three beside it: each more would need a workspace and find no free multiprocessor.
MAX_STREAMS: Final = 4
WORKSPACE_SIZE: Final = 32 << 20  # bytes per stream: what NVIDIA recommends for products on Hopper


class _Stream(NamedTuple):
    stream: Any  # CuPy's
    handle: StreamHandle
    workspace: Any  # the memory that the handle names


class Streams:
    """The streams of a backend: the first carries all eager work, the others are made once a graph needs them."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._streams: list[_Stream] = []
        self._grow_to(1)
        self.main = self._streams[0].stream

    def __len__(self) -> int:
        return len(self._streams)

    @property
    def main_handle(self) -> StreamHandle:
        """The first stream, with its workspace."""
        return self._streams[0].handle

    def _grow_to(self, count: int) -> None:
        cuda = self._cupy.cuda
        while len(self._streams) < count:
            stream = cuda.Stream(non_blocking=True)
            workspace = cuda.alloc(WORKSPACE_SIZE)
            handle = StreamHandle(int(stream.ptr), int(workspace.ptr), WORKSPACE_SIZE)
            self._streams.append(_Stream(stream, handle, workspace))

    def instantiate(self, launches: Sequence[Launch]) -> Callable[[], None]:
        """A CUDA graph of these launches, as free as their memory allows; the function puts it in the main stream."""
        launches = critical_first(launches)
        assigned = assign_streams(launches, MAX_STREAMS)
        # Streams and workspaces are made before the capture, never in it.
        self._grow_to(1 + max((assignment.stream for assignment in assigned), default=0))
        graph = self._capture(lambda: self._start_all(launches, assigned))
        graph.upload(self.main)

        def start() -> None:
            graph.launch(self.main)

        return start

    def _start_all(self, launches: Sequence[Launch], assigned: Sequence[StreamAssignment]) -> None:
        begin = self._event(self.main)
        events: dict[int, Any] = {}  # by the launches that others wait for
        awaited = {other for assignment in assigned for other in assignment.waits}
        entered = {0}
        for number, (launch, (place, waits)) in enumerate(zip(launches, assigned, strict=True)):
            stream, handle, _ = self._streams[place]
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
            self.main.wait_event(self._event(self._streams[place].stream))

    def _event(self, stream: Any) -> Any:
        return stream.record(self._cupy.cuda.Event(disable_timing=True))

    def _capture(self, work: Callable[[], None]) -> Any:
        """The graph of what ``work`` puts in the main stream. The capture ends whatever happens."""
        cupy = self._cupy
        # Thread-local: what other threads do is their affair, what this one must not do is an error.
        self.main.begin_capture(mode=cupy.cuda.runtime.streamCaptureModeThreadLocal)
        try:
            with _no_allocation(cupy)():
                work()
        except BaseException as error:
            try:
                self.main.end_capture()
            except Exception as also:  # a capture that failed cannot become a graph; the first error says why
                error.add_note(f"the capture was given up: {also}")
            raise
        return self.main.end_capture()


def _no_allocation(cupy: Any) -> Any:
    """A memory hook that refuses; a class of CuPy's, so it can only be defined once CuPy is there."""

    class NoAllocation(cupy.cuda.MemoryHook):  # type: ignore[misc]
        name = "chainrule: no allocation during capture"

        def malloc_preprocess(self, **facts: Any) -> None:
            raise DeviceError(f"{facts.get('size')} bytes are asked for while a graph is captured")

    return NoAllocation
