"""Page-locked memory of the host, and copies from it that run beside the kernels.

A copy is asynchronous only if the host's memory is page-locked and another stream carries it. Source: CUDA C++
Programming Guide, "Overlap of Data Transfer and Kernel Execution".
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.backends.contract.transfers import Transfer


class PinnedTransfer(Transfer):
    """A copy that a stream of its own carries; ``copied`` is its event."""

    def __init__(self, main: Any, copied: Any, arrays: tuple[Any, ...]) -> None:
        self._main, self._copied = main, copied
        self._arrays = arrays  # both ends are kept for as long as someone may still wait for the copy

    def join(self) -> None:
        self._main.wait_event(self._copied)

    def wait(self) -> None:
        self._copied.synchronize()


class Transfers:
    """Copies from the host for a backend whose kernels are queued in the stream ``main``.

    The stream of the copies is made with the first of them.
    """

    def __init__(self, cupy: Any, main: Any) -> None:
        self._cupy, self._main = cupy, main
        self._stream: Any = None
        self._lock = threading.Lock()

    def host_buffer(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Page-locked memory: it returns to CuPy's pool when the array is gone."""
        dtype = np.dtype(dtype)
        size = math.prod(shape) * dtype.itemsize
        try:
            memory = self._cupy.cuda.alloc_pinned_memory(max(1, size))
        except self._cupy.cuda.runtime.CUDARuntimeError as error:  # which is no MemoryError
            raise MemoryError(f"the host cannot lock {size:,} bytes: {error}") from error
        return np.ndarray(shape, dtype, buffer=memory)

    def download(self, arrays: Sequence[Array]) -> list[np.ndarray]:
        """NumPy copies: all on their way at once, through page-locked memory, before the host waits for them."""
        locked = [self.host_buffer(array.shape, array.dtype) for array in arrays]
        for array, host in zip(arrays, locked, strict=True):
            array.get(stream=self._main, out=host, blocking=False)
        self._main.synchronize()
        return [host.copy() for host in locked]

    def send(self, host: np.ndarray, out: Array) -> Transfer:
        """See :meth:`Backend.send`."""
        event = self._cupy.cuda.Event
        with self._lock:  # two streams would not wait for each other's copies, nor each for what the other waits for
            if self._stream is None:
                self._stream = self._cupy.cuda.Stream(non_blocking=True)
        # What was asked for so far may still read or write `out`: the copy queues behind it. What comes later does not
        # wait for the copy until it is joined.
        self._stream.wait_event(self._main.record(event(disable_timing=True)))
        out.set(host, stream=self._stream)
        # A blocking event: the host sleeps in `wait`, and would otherwise keep a core busy polling.
        copied = self._stream.record(event(block=True, disable_timing=True))
        return PinnedTransfer(self._main, copied, (host, out))
