"""Pieces of work for the device, each with the memory that it reads and writes.

A step becomes a list of these. What they touch says which of them may run side by side, so that the training
code can stay a plain sequence (see :mod:`~chainrule.backends.capture.dependencies`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from chainrule.backends.capture.memory import Span
from chainrule.backends.contract.backend import Array


class StreamHandle(NamedTuple):
    """The stream that a launch is queued in, which is current, and a workspace that no other stream's products use."""

    stream: int  # cudaStream_t
    workspace: int
    workspace_size: int  # bytes


class Launch(NamedTuple):
    """One kernel or product, bound to its arguments: ``start(stream)`` queues it in the stream and returns."""

    key: tuple[Any, ...]  # what is launched, with all numbers and addresses; the name first
    start: Callable[[StreamHandle], None]
    reads: tuple[Span, ...]
    writes: tuple[Span, ...]
    arrays: tuple[Array, ...]  # kept alive for as long as the launch can be repeated
