"""Streams for the launches of a step: which of them run side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chainrule.backends.capture.dependencies import NONE, dependencies
from chainrule.backends.cupy.capture.launches import Launch


class StreamAssignment(NamedTuple):
    """The number of a launch's stream, and the launches of other streams that the stream waits for first."""

    stream: int
    waits: tuple[int, ...]


def critical_first(launches: Sequence[Launch]) -> list[Launch]:
    """The launches in another order that their memory allows: by the longest chain that leads to each, then from each.

    A stream keeps its order, so what stands late in the program would wait for more than its memory asks for: the
    update of a layer's weights, which is written behind the backward pass, for the gradients of the layers below. Of
    those that may start together, the one with the longest chain behind it has the first choice of a stream.
    Source: Hu 1961, "Parallel sequencing and assembly line problems" (list scheduling).
    """
    needed = dependencies(launches)
    before: list[int] = []
    for waits in needed:
        before.append(1 + max((before[other] for other in waits), default=0))
    behind = [0] * len(launches)
    for number in reversed(range(len(launches))):
        for other in needed[number]:
            behind[other] = max(behind[other], behind[number] + 1)
    return [launches[number] for number in sorted(range(len(launches)), key=lambda n: (before[n], -behind[n]))]


def assign_streams(launches: Sequence[Launch], streams: int) -> list[StreamAssignment]:
    """A stream for each launch: at most ``streams`` of them, in each of which the order is kept.

    A launch continues the stream in which the newest of those ended that it follows anyway. If all streams are taken by
    others it queues up behind the oldest, which may delay it and never does it wrong.
    """
    needed = dependencies(launches)
    before: list[int] = []
    last = [NONE] * streams  # of each stream, the newest launch
    assigned: list[StreamAssignment] = []
    for number, waits in enumerate(needed):
        known = 0
        for other in waits:
            known |= before[other] | 1 << other
        before.append(known)
        stream = _choose(last, known)
        last[stream] = number
        assigned.append(StreamAssignment(stream, tuple(other for other in waits if assigned[other].stream != stream)))
    return assigned


def _choose(last: Sequence[int], known: int) -> int:
    follows = [(newest, stream) for stream, newest in enumerate(last) if newest != NONE and known >> newest & 1]
    if follows:
        return max(follows)[1]
    return min(range(len(last)), key=last.__getitem__)  # an empty stream, else the one that has waited longest
