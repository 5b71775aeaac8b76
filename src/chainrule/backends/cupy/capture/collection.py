"""No garbage collection while a graph is captured.

Python's cyclic collector runs in whatever thread happens to allocate, and destroys what it finds: a stream, a graph or
memory of the device, of this backend or of a net that was dropped long ago. CUDA calls that potentially unsafe in a
thread that captures, and ends a capture that is not in relaxed mode; of cudaFree, which waits for the device, it does
not say whether relaxed mode is enough.
"""

from __future__ import annotations

import gc
import threading
from typing import ClassVar


class NoCollection:
    """``with NoCollection():`` the collector is off, for the process: the last to leave switches it on if it was on."""

    _lock: ClassVar = threading.RLock()  # a signal handler may capture while its own thread has it
    _inside: ClassVar[set[NoCollection]] = set()
    _was_on: ClassVar[bool] = False

    def __enter__(self) -> None:
        try:
            with self._lock:
                if not self._inside:
                    NoCollection._was_on = gc.isenabled()
                self._inside.add(self)
                gc.disable()
        except BaseException:  # Ctrl-C, say, on the way in: then nobody leaves
            self._leave()
            raise

    def __exit__(self, *_: object) -> None:
        self._leave()

    def _leave(self) -> None:
        with self._lock:
            self._inside.discard(self)
            # If it was off it is left alone: CuPy's pool switches it off for a moment, in another thread perhaps, and
            # on again by itself. That this may fall into a capture is one reason for the relaxed mode of captures.
            if not self._inside and self._was_on:
                gc.enable()
