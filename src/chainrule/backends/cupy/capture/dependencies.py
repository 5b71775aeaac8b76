"""Which launches of a step may run side by side: found from the memory that each reads and writes.

The training code is a plain sequence. Two launches of it must keep their order where one writes what the other reads
or writes; all others are free, so the weight gradient of a layer runs beside the gradient that goes on down, without a
word about it in ``nn``. As in a processor that issues out of order (Tomasulo 1967), without the renaming.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from chainrule.backends.cupy.capture.launches import Launch

NOBODY = -1


def dependencies(launches: Sequence[Launch]) -> list[tuple[int, ...]]:
    """For each launch the numbers of the earlier ones that it has to wait for, the newest first.

    It waits for whoever last wrote what it reads (read after write), and for whoever last wrote or has since read what
    it writes (write after write, write after read). What follows from another entry is left out.
    """
    # The borders of all spans cut the memory into cells that are touched as a whole or not at all.
    borders = sorted({border for launch in launches for pair in (*launch.reads, *launch.writes) for border in pair})
    cell_at = {border: cell for cell, border in enumerate(borders)}
    writer = [NOBODY] * len(borders)
    readers: list[list[int]] = [[] for _ in borders]
    found: list[tuple[int, ...]] = []
    before: list[int] = []  # of each launch, the set of all that come before it, as the bits of a number
    for number, launch in enumerate(launches):
        waits: set[int] = set()
        for start, stop in launch.reads:
            for cell in range(cell_at[start], cell_at[stop]):
                waits.add(writer[cell])
                readers[cell].append(number)
        for start, stop in launch.writes:
            for cell in range(cell_at[start], cell_at[stop]):
                waits.add(writer[cell])
                waits.update(readers[cell])
                writer[cell], readers[cell] = number, []
        needed: list[int] = []
        known = 0
        for other in sorted(waits - {NOBODY, number}, reverse=True):
            if not known >> other & 1:
                needed.append(other)
                known |= before[other] | 1 << other
        before.append(known)
        found.append(tuple(needed))
    return found


class Placement(NamedTuple):
    """The lane of a launch, and the launches of other lanes that the lane waits for first."""

    lane: int
    waits: tuple[int, ...]


def place(launches: Sequence[Launch], lanes: int) -> list[Placement]:
    """A lane for each launch: at most ``lanes`` of them, in each of which the order is kept.

    A launch goes on where the newest of those ended that it follows anyway. With all lanes taken by others it queues up
    behind the oldest, which may delay it and never does it wrong.
    """
    needed = dependencies(launches)
    before: list[int] = []
    last = [NOBODY] * lanes  # of each lane, the newest launch
    placements: list[Placement] = []
    for number, waits in enumerate(needed):
        known = 0
        for other in waits:
            known |= before[other] | 1 << other
        before.append(known)
        lane = _choose(last, known)
        last[lane] = number
        placements.append(Placement(lane, tuple(other for other in waits if placements[other].lane != lane)))
    return placements


def _choose(last: Sequence[int], known: int) -> int:
    follows = [(newest, lane) for lane, newest in enumerate(last) if newest != NOBODY and known >> newest & 1]
    if follows:
        return max(follows)[1]
    return min(range(len(last)), key=last.__getitem__)  # an empty lane, else the one that has waited longest
