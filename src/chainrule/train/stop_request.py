"""A request to end a running fit."""

from __future__ import annotations


class StopRequest:
    """Call it to end a fit within a few steps; from a signal handler, a callback or another thread.

    A plain attribute rather than a ``threading.Event``, whose lock a signal handler may find taken by the code that it
    interrupted.
    """

    def __init__(self) -> None:
        self.requested = False

    def __call__(self) -> None:
        self.requested = True
