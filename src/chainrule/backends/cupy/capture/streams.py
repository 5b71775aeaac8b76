"""Streams of one device, and launches captured on them into a CUDA graph.

CuPy refuses cuBLAS and cuRAND while a stream is captured, and hands memory that was freed during a capture to the next
who asks although the graph still writes to it. So what is captured here are launches that were recorded before, whose
arguments are complete: no array is made, and a hook sees to it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from chainrule.backends.cupy.capture.dependencies import place
from chainrule.backends.cupy.capture.launches import Lane, Launch
from chainrule.errors import DeviceError

LANES: Final = 4  # the chain, and three beside it: more would each want a workspace and find no free multiprocessor
WORKSPACE_SIZE: Final = 32 << 20  # bytes a lane: what NVIDIA recommends for products on Hopper


class Lanes:
    """The streams of a backend: the first carries all eager work, the others exist once a graph wants them."""

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy
        self._lanes: list[tuple[Any, Lane, Any]] = []  # stream, its lane, the array that is the workspace
        self.main = self.stream(0)

    def stream(self, number: int) -> Any:
        """The CuPy stream of a lane."""
        self._add(number)
        return self._lanes[number][0]

    def lane(self, number: int) -> Lane:
        """A lane, with its workspace."""
        self._add(number)
        return self._lanes[number][1]

    def _add(self, number: int) -> None:
        cuda = self._cupy.cuda
        while len(self._lanes) <= number:
            stream = cuda.Stream(non_blocking=True)
            workspace = cuda.alloc(WORKSPACE_SIZE)
            self._lanes.append((stream, Lane(int(stream.ptr), int(workspace.ptr), WORKSPACE_SIZE), workspace))

    def instantiate(self, launches: Sequence[Launch]) -> Callable[[], None]:
        """A CUDA graph of these launches, as free as their memory allows; the function puts it in the main stream."""
        placements = place(launches, LANES)
        for placement in placements:
            self._add(placement.lane)  # streams and workspaces are made before the capture, never in it
        graph = self._capture(lambda: self._start_all(launches, placements))
        graph.upload(self.main)

        def start() -> None:
            graph.launch(self.main)

        return start

    def _start_all(self, launches: Sequence[Launch], placements: Sequence[Any]) -> None:
        event = self._event
        begin = event(self.main)
        marks: dict[int, Any] = {}
        awaited = {other for placement in placements for other in placement.waits}
        entered = {0}
        for number, (launch, placement) in enumerate(zip(launches, placements, strict=True)):
            stream, lane, _ = self._lanes[placement.lane]
            if placement.lane not in entered:  # what a stream does belongs to the graph once it waits for part of it
                stream.wait_event(begin)
                entered.add(placement.lane)
            for other in placement.waits:
                stream.wait_event(marks[other])
            with stream:
                launch.start(lane)
            if number in awaited:
                marks[number] = event(stream)
        for number in entered - {0}:
            self.main.wait_event(event(self._lanes[number][0]))

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
