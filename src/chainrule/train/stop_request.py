"""A request to end a running fit, or all fits that run side by side."""

from __future__ import annotations

from contextvars import ContextVar
from typing import Final


class StopRequest:
    """Call it to end a fit within a few steps; from a signal handler, a callback or another thread.

    A plain attribute rather than a ``threading.Event``, whose lock a signal handler may find taken by the code that it
    interrupted.
    """

    def __init__(self) -> None:
        self.requested = False

    def __call__(self) -> None:
        self.requested = True


# Of the fits that run side by side, one of which this code belongs to; None if it belongs to none.
GROUP: Final[ContextVar[StopRequest | None]] = ContextVar("chainrule_fits_side_by_side", default=None)


def group_stop() -> StopRequest:
    """The request to end all fits that run beside this one; one that nobody makes if none do."""
    return GROUP.get() or StopRequest()
