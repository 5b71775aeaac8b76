"""Which launches of a step may run side by side: found from the memory that each reads and writes.

The training code is a plain sequence. Two launches of it must keep their order if one writes what the other reads or
writes; all others are free, so the weight gradient of a layer runs beside the gradient that is passed further down,
without a word about it in ``nn``. As in a processor that issues out of order (Tomasulo 1967), without the renaming.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from chainrule.backends.capture.memory import Span

NONE = -1


class Touches(Protocol):
    """A launch, by the memory that it reads and writes."""

    @property
    def reads(self) -> tuple[Span, ...]: ...

    @property
    def writes(self) -> tuple[Span, ...]: ...


T = TypeVar("T", bound=Touches)


def dependencies(launches: Sequence[Touches]) -> list[tuple[int, ...]]:
    """For each launch the numbers of the earlier ones that it has to wait for, the newest first.

    It waits for the launch that last wrote what it reads (read after write), and for those that last wrote or have
    since read what it writes (write after write, write after read). What follows from another entry is left out.
    """
    # The borders of all spans cut the memory into cells that are touched as a whole or not at all.
    borders = sorted({border for launch in launches for pair in (*launch.reads, *launch.writes) for border in pair})
    cell_at = {border: cell for cell, border in enumerate(borders)}
    writer = [NONE] * len(borders)
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
        for other in sorted(waits - {NONE, number}, reverse=True):
            if not known >> other & 1:
                needed.append(other)
                known |= before[other] | 1 << other
        before.append(known)
        found.append(tuple(needed))
    return found


def as_early_as_possible(launches: Sequence[T]) -> list[T]:
    """The launches in another order that their memory allows: each behind those that can begin before it can.

    The step number at which a launch can begin is the length of the longest chain of launches that it waits for.
    """
    depth: list[int] = []
    for waits in dependencies(launches):
        depth.append(1 + max((depth[other] for other in waits), default=0))
    return [launches[number] for number in sorted(range(len(launches)), key=depth.__getitem__)]
