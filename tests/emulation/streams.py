"""Streams, events and graphs of a device that is not there.

Work that is put in a stream is done later, in an order of chance, as far as streams and events leave any: code that
forgets to wait for something gets wrong numbers here, as it may on a device. What CUDA refuses during a capture is
refused.

Threads share the device as they share CUDA's: each has a current stream of its own, any may put work in any stream at
any time, and what one puts in a stream that another captures becomes part of that graph, which fails here for all to
see. What CUDA calls potentially unsafe (to allocate, to free, to destroy a stream or a graph, to wait for a stream) is
refused to the thread that captures, unless in relaxed mode; other threads are free to do it. Source: CUDA Runtime API,
cudaThreadExchangeStreamCaptureMode; CUDA C++ Programming Guide, "Prohibited and Unhandled Operations".
"""

from __future__ import annotations

import itertools
import random
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any

Work = Callable[[], None]

GLOBAL, THREAD_LOCAL, RELAXED = 0, 1, 2  # cudaStreamCaptureMode
OUT_OF_MEMORY, CAPTURE_UNSUPPORTED, CAPTURE_INVALIDATED = 2, 900, 901
INSTANTIATED, UPLOADED = 512, 2048  # bytes of the device per node of a graph: of no known card


class CudaError(RuntimeError):
    """What the CUDA runtime would answer."""

    def __init__(self, text: str, status: int = CAPTURE_UNSUPPORTED) -> None:
        super().__init__(text)
        self.status = status


class Event:
    """A mark in a stream; recorded again, it is another mark."""

    def __init__(self, block: bool = False, disable_timing: bool = False) -> None:
        self.asked = self.done = 0
        self.capture: tuple[Capture, set[int]] | None = None

    def record(self, stream: Stream) -> None:
        stream.record(self)

    def synchronize(self) -> None:
        with DEVICE.lock:
            if self.capture is not None:
                raise self.capture[0].invalidate("cudaErrorCapturedEvent: the host waits for an event of a capture")
            DEVICE.drain(lambda: self.done >= self.asked)


class Graph:
    """Captured work: a list of entries, and what each has to wait for."""

    def __init__(self, capture: Capture) -> None:
        self._works, self._waits, self.names = capture.works, capture.waits, capture.names
        self._session, self._taken = DEVICE.session, 0
        self._take(INSTANTIATED)

    def _take(self, each: int) -> None:
        self._session.take(each * len(self._works))
        self._taken += each * len(self._works)

    def __del__(self) -> None:
        self._session.give(self._taken)
        DEVICE.notice("a graph")

    def upload(self, stream: Stream) -> None:
        with DEVICE.lock:
            self._take(UPLOADED)

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

    def __init__(self, origin: Stream, mode: int) -> None:
        self.origin, self.mode, self.thread = origin, mode, threading.get_ident()
        self.works: list[Work] = []
        self.names: list[str] = []
        self.waits: list[set[int]] = []
        self.fronts: dict[Stream, set[int]] = {origin: set()}
        self.fault: CudaError | None = None

    def push(self, stream: Stream, work: Work, name: str) -> None:
        if threading.get_ident() != self.thread:
            self.invalidate("work of another thread landed in this capture")
        self.works.append(work)
        self.names.append(name)
        self.waits.append(set(self.fronts[stream]))
        self.fronts[stream] = {len(self.works) - 1}

    def invalidate(self, text: str) -> CudaError:
        """The error of a call that ends the capture: no graph comes of it."""
        self.fault = self.fault or CudaError(text)
        return CudaError(text)

    def finish(self) -> Graph:
        joined: set[int] = set()
        front = set(self.fronts[self.origin])
        while front:
            number = front.pop()
            joined.add(number)
            front |= self.waits[number] - joined
        for stream in self.fronts:
            stream.capture = None
        DEVICE.captures.remove(self)
        if self.fault is not None:
            raise CudaError(f"cudaErrorStreamCaptureInvalidated: {self.fault}", CAPTURE_INVALIDATED)
        if len(joined) < len(self.works):
            raise CudaError("cudaErrorStreamCaptureUnjoined: a stream of the capture was not joined with the first")
        return Graph(self)


class Stream:
    """A queue of work, which is done even if the stream is destroyed before."""

    _numbers = itertools.count(0x5000, 16)

    def __init__(self, null: bool = False, non_blocking: bool = False) -> None:
        self.ptr, self.device_id = (0, -1) if null else (next(self._numbers), 0)
        self.non_blocking = non_blocking
        self.queue: deque[tuple[Callable[[], bool], Work]] = deque()
        self.capture: Capture | None = None
        with DEVICE.lock:
            DEVICE.alive[self.ptr] = self
            DEVICE.queues.append(self.queue)

    def __del__(self) -> None:
        DEVICE.notice("a stream")

    def __enter__(self) -> Stream:
        DEVICE.current.append(self)
        return self

    def __exit__(self, *_: Any) -> None:
        DEVICE.current.pop()

    def _refuse_implicit_wait(self) -> None:
        """Of the legacy default stream: what it is given waits for all streams but those that are non-blocking."""
        for capture in DEVICE.captures if self.ptr == 0 else []:
            if not all(stream.non_blocking for stream in capture.fronts):
                raise capture.invalidate("cudaErrorStreamCaptureImplicit: the default stream would wait for a capture")

    def push(self, work: Work, name: str = "") -> None:
        """Put work in this stream, a kernel or product by its name."""
        with DEVICE.lock:
            self._refuse_implicit_wait()
            if self.capture is not None:
                self.capture.push(self, work, name)
            else:
                self.queue.append((lambda: True, work))

    def record(self, event: Event | None = None) -> Event:
        event = event if event is not None else Event()
        with DEVICE.lock:
            self._refuse_implicit_wait()
            event.asked += 1
            mark = event.asked
            event.capture = None
            if self.capture is not None:
                event.capture = (self.capture, set(self.capture.fronts[self]))
            else:
                self.queue.append((lambda: True, lambda: setattr(event, "done", mark)))
        return event

    def wait_event(self, event: Event) -> None:
        with DEVICE.lock:
            self._refuse_implicit_wait()
            if event.capture is not None:
                capture, front = event.capture
                if capture not in DEVICE.captures:
                    raise CudaError("cudaErrorInvalidValue: the event belongs to a capture that has ended")
                self.capture = capture
                capture.fronts.setdefault(self, set()).update(front)
            elif self.capture is not None:
                raise self.capture.invalidate(
                    "cudaErrorStreamCaptureIsolation: the event was recorded outside the capture"
                )
            else:
                mark = event.asked
                self.queue.append((lambda: event.done >= mark, lambda: None))

    def synchronize(self) -> None:
        with DEVICE.lock:
            if self.capture is not None:
                raise self.capture.invalidate(
                    "cudaErrorStreamCaptureUnsupported: the host waits during a capture for the stream that is captured"
                )
            DEVICE.drain(lambda: not self.queue)

    def begin_capture(self, mode: int | None = None) -> None:
        with DEVICE.lock:
            if self.ptr == 0 or self.capture is not None:
                raise CudaError("cannot capture this stream")
            self.capture = Capture(self, RELAXED if mode is None else mode)
            DEVICE.captures.append(self.capture)

    def end_capture(self) -> Graph:
        with DEVICE.lock:
            if self.capture is None or self.capture.origin is not self:
                raise CudaError("cudaErrorStreamCaptureUnmatched")
            if self.capture.mode != RELAXED and self.capture.thread != threading.get_ident():
                raise CudaError("cudaErrorStreamCaptureWrongThread")
            return self.capture.finish()


class Session:
    """The memory of the device, in bytes, from one reset to the next."""

    def __init__(self, capacity: int) -> None:
        self.capacity, self.used = capacity, 0

    def take(self, size: int) -> None:
        if self.used + size > self.capacity:
            raise CudaError("cudaErrorMemoryAllocation: out of memory", OUT_OF_MEMORY)
        self.used += size

    def give(self, size: int) -> None:
        self.used -= size


class Device:
    """All streams, and the dice that decide which continues."""

    CAPACITY = 8 << 30  # bytes that the device claims to have

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.dice = random.Random(20261123)

    def reset(self) -> None:
        self.alive: weakref.WeakValueDictionary[int, Stream] = weakref.WeakValueDictionary()
        self.queues: list[deque[tuple[Callable[[], bool], Work]]] = []
        self.captures: list[Capture] = []
        self.session = Session(self.CAPACITY)
        self.keep: list[Any] = []  # memory that was freed, and that queued work may yet touch
        self.destroyed_in_capture: list[str] = []  # by the thread that captured
        self._null = Stream(null=True)
        self.of_thread = threading.local()

    @property
    def current(self) -> list[Stream]:
        """The current streams of this thread, the inmost last."""
        stack: list[Stream] = self.of_thread.__dict__.setdefault("stack", [self._null])
        return stack

    @property
    def streams(self) -> list[Stream]:
        """Those that have not been destroyed."""
        return list(self.alive.values())

    @property
    def is_capturing(self) -> bool:
        return bool(self.captures)

    def notice(self, what: str) -> None:
        """``what`` is destroyed. An error of a destructor is seen by nobody; that of the capture is."""
        with self.lock:
            for capture in self.captures:
                if capture.thread == threading.get_ident():
                    self.destroyed_in_capture.append(what)
                    if capture.mode != RELAXED:
                        capture.invalidate(f"{what} is destroyed during a capture")

    def unsafe(self, what: str) -> None:
        """Refuse ``what`` to a thread that captures in another mode than relaxed."""
        for capture in self.captures:
            if capture.thread == threading.get_ident() and capture.mode != RELAXED:
                raise capture.invalidate(f"cudaErrorStreamCaptureUnsupported: {what} during a capture")

    def drain(self, is_done: Callable[[], bool]) -> None:
        """Do queued work until ``is_done``, while the host waits."""
        self.unsafe("the host waits")
        while not is_done():
            ready = [queue for queue in self.queues if queue and queue[0][0]()]
            if not ready:
                raise CudaError("deadlock: streams wait for each other")
            self.dice.choice(ready).popleft()[1]()


DEVICE = Device()
DEVICE.reset()
