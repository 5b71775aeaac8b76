"""Streams, events and graphs of a device that is not there.

Work that is put in a stream is done later, in an order of chance, as far as streams and events leave any: code that
forgets to wait for something gets wrong numbers here, as it may on a device. What CUDA refuses during a capture is
refused.
"""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Callable
from typing import Any

Work = Callable[[], None]


class CudaError(RuntimeError):
    """What the CUDA runtime would answer."""


class Event:
    """A mark in a stream; recorded again, it is another mark."""

    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self.asked = self.done = 0
        self.capture: tuple[Capture, set[int]] | None = None

    def record(self, stream: Stream) -> None:
        stream.record(self)

    def synchronize(self) -> None:
        DEVICE.drain(lambda: self.done >= self.asked)


class Graph:
    """Captured work: a list of entries, and what each has to wait for."""

    def __init__(self, capture: Capture) -> None:
        self._works, self._waits, self.names = capture.works, capture.waits, capture.names

    def upload(self, stream: Stream) -> None:
        pass

    def launch(self, stream: Stream) -> None:
        stream.push(self._run)

    def _run(self) -> None:
        left = set(range(len(self._works)))
        while left:
            number = DEVICE.dice.choice([n for n in sorted(left) if not left & self._waits[n]])
            self._works[number]()
            left.remove(number)

    def __len__(self) -> int:
        return len(self._works)

    @property
    def longest_chain(self) -> int:
        """Entries on the longest path: what cannot run side by side."""
        return self.longest_chain_if({})

    def longest_chain_if(self, take: dict[str, int]) -> int:
        """The longest path if entries of these names take so long, and all others 1."""
        length: list[int] = []
        for name, waits in zip(self.names, self._waits, strict=True):
            length.append(take.get(name, 1) + max((length[n] for n in waits), default=0))
        return max(length, default=0)


class Capture:
    """A capture under way: its streams, each with the entries that its next one waits for."""

    def __init__(self, origin: Stream) -> None:
        self.origin = origin
        self.works: list[Work] = []
        self.names: list[str] = []
        self.waits: list[set[int]] = []
        self.fronts: dict[Stream, set[int]] = {origin: set()}

    def push(self, stream: Stream, work: Work, name: str) -> None:
        self.works.append(work)
        self.names.append(name)
        self.waits.append(set(self.fronts[stream]))
        self.fronts[stream] = {len(self.works) - 1}

    def finish(self) -> Graph:
        joined: set[int] = set()
        front = set(self.fronts[self.origin])
        while front:
            number = front.pop()
            joined.add(number)
            front |= self.waits[number] - joined
        for stream in self.fronts:
            stream.capture = None
        if len(joined) < len(self.works):
            raise CudaError("cudaErrorStreamCaptureUnjoined: a stream of the capture was not joined with the first")
        return Graph(self)


class Stream:
    """A queue of work."""

    _numbers = itertools.count(0x5000, 16)

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        self.ptr = 0 if null else next(self._numbers)
        self.queue: deque[tuple[Callable[[], bool], Work]] = deque()
        self.capture: Capture | None = None
        DEVICE.streams.append(self)

    def __enter__(self) -> Stream:
        DEVICE.current.append(self)
        return self

    def __exit__(self, *_: Any) -> None:
        DEVICE.current.pop()

    def push(self, work: Work, name: str = "") -> None:
        """Put work in this stream, a kernel or product by its name."""
        if self.capture is not None:
            self.capture.push(self, work, name)
        else:
            self.queue.append((lambda: True, work))

    def record(self, event: Event | None = None) -> Event:
        event = event if event is not None else Event()
        event.asked += 1
        mark = event.asked
        event.capture = None
        if self.capture is not None:
            event.capture = (self.capture, set(self.capture.fronts[self]))
        else:
            self.queue.append((lambda: True, lambda: setattr(event, "done", mark)))
        return event

    def wait_event(self, event: Event) -> None:
        if event.capture is not None:
            capture, front = event.capture
            if capture.origin.capture is not capture:
                raise CudaError("cudaErrorInvalidValue: the event belongs to a capture that has ended")
            self.capture = capture
            capture.fronts.setdefault(self, set()).update(front)
        elif self.capture is not None:
            raise CudaError("cudaErrorStreamCaptureIsolation: the event was recorded outside the capture")
        else:
            mark = event.asked
            self.queue.append((lambda: event.done >= mark, lambda: None))

    def synchronize(self) -> None:
        DEVICE.drain(lambda: not self.queue)

    def begin_capture(self, mode: int | None = None) -> None:
        if self.ptr == 0 or self.capture is not None:
            raise CudaError("cannot capture this stream")
        self.capture = Capture(self)

    def end_capture(self) -> Graph:
        if self.capture is None or self.capture.origin is not self:
            raise CudaError("cudaErrorStreamCaptureUnmatched")
        return self.capture.finish()


class Device:
    """All streams, and the dice that decide which continues."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        self.current: list[Stream] = []
        self.dice = random.Random(20261123)
        self.keep: list[Any] = []  # memory that queued work may touch

    def reset(self) -> None:
        self.streams.clear()
        self.keep.clear()
        self.current = [Stream(null=True)]

    @property
    def is_capturing(self) -> bool:
        return any(stream.capture is not None for stream in self.streams)

    def drain(self, is_done: Callable[[], bool]) -> None:
        """Do queued work until ``is_done``; a host that waits during a capture is an error."""
        if self.is_capturing:
            raise CudaError("cudaErrorStreamCaptureUnsupported: the host waits during a capture")
        while not is_done():
            ready = [stream for stream in self.streams if stream.queue and stream.queue[0][0]()]
            if not ready:
                raise CudaError("deadlock: streams wait for each other")
            self.dice.choice(ready).queue.popleft()[1]()


DEVICE = Device()
DEVICE.reset()
