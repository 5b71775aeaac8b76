"""The launches of a step divided among threads, in *phases* at whose ends they wait for each other.

A launch says which rows it may be cut into; each thread takes a part. Within a phase no thread touches what another one
writes. So the rows of a batch go through the net in one phase, forward and backward, each thread with its own; what is
summed over all rows is divided by its results in the next, the gradient of each weight computed by one thread alone:
nothing is added up across threads, so that few bits depend on how many there are. Which launch may go into which phase
follows from the memory that each part reads and writes, without a word about it in ``nn``, as in
:mod:`~chainrule.backends.capture.dependencies`.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple, Protocol, Self

from chainrule.backends.capture.memory import Span

WINDOW: Final = 512  # launches that are looked at together: the time that it takes grows with their square
LINE: Final = 16  # numbers of a long vector: no two threads write to the same cache line


class Divisible(Protocol):
    """A launch, as far as it matters here."""

    @property
    def reads(self) -> tuple[Span, ...]: ...

    @property
    def writes(self) -> tuple[Span, ...]: ...

    @property
    def rows(self) -> int:
        """How many rows may be divided; 0 if none."""

    @property
    def grain(self) -> int:
        """Its parts end at a multiple of so many units of rows."""

    @property
    def cost(self) -> float:
        """About how long it takes one thread, in microseconds."""

    def part(self, start: int, stop: int) -> Self:
        """The launch of these rows alone."""


class Phases(NamedTuple):
    """What each thread does in each phase: ``launches[phase][thread]``, in order."""

    launches: list[list[list[Divisible]]]

    @property
    def cost(self) -> float:
        """About how long it takes all of them, in microseconds, without the waiting."""
        return sum(max(sum(launch.cost for launch in of_thread) for of_thread in phase) for phase in self.launches)


class _Part(NamedTuple):
    launch: Divisible
    reads: frozenset[int]  # cells
    writes: frozenset[int]
    cost: float


def divide(launches: Sequence[Divisible], threads: int, *, unit: int, by_rows: bool = True) -> Phases:
    """The phases of a step on so many threads; parts end at a multiple of ``unit`` rows.

    Without ``by_rows`` each launch is one thread's: for a step of several members, which share little.
    """
    phases: list[list[list[Divisible]]] = []
    for first in range(0, len(launches), WINDOW):
        some = launches[first : first + WINDOW]
        left = _in_cells([_cut(launch, threads, unit) if by_rows else [launch] for launch in some])
        while left:
            phase = _Phase(threads)
            left = [parts for parts in left if not phase.takes(parts)]
            phases.append(phase.launches)
    return Phases(phases)


def _cut(launch: Divisible, threads: int, unit: int) -> list[Divisible]:
    """A part for each thread, or the launch as a whole if it has too few rows."""
    rows, unit = launch.rows, unit * launch.grain
    if rows >= threads * 4 * unit * LINE:  # a vector of parameters, say
        unit *= LINE
    units = -(-rows // unit)
    if rows < threads * unit:
        return [launch]
    ends = [min(units * thread // threads * unit, rows) for thread in range(threads + 1)]
    parts = [launch.part(start, stop) for start, stop in itertools.pairwise(ends)]
    return parts if _are_apart(parts) else [launch]


def _are_apart(parts: Sequence[Divisible]) -> bool:
    """Whether no part touches what another one writes."""
    spans = sorted(
        (*span, number, writes)
        for number, part in enumerate(parts)
        for writes, of_part in ((True, part.writes), (False, part.reads))
        for span in of_part
        if span[0] < span[1]
    )
    reached, written = [0] * len(parts), [0] * len(parts)  # by each part so far: the last end of what it touches
    for start, stop, number, writes in spans:
        ends = reached if writes else written
        if any(end > start for other, end in enumerate(ends) if other != number):
            return False
        reached[number] = max(reached[number], stop)
        if writes:
            written[number] = max(written[number], stop)
    return True


def _in_cells(pieces: Sequence[Sequence[Divisible]]) -> list[list[_Part]]:
    """The borders of all spans cut the memory into cells that are touched as a whole or not at all."""
    touched = [[(launch, launch.reads, launch.writes) for launch in parts] for parts in pieces]
    borders = sorted({b for parts in touched for _, *both in parts for spans in both for span in spans for b in span})
    cell = {border: number for number, border in enumerate(borders)}

    def cells(spans: Iterable[Span]) -> frozenset[int]:
        return frozenset(number for start, stop in spans for number in range(cell[start], cell[stop]))

    return [
        [_Part(launch, cells(reads), cells(writes), launch.cost) for launch, reads, writes in parts]
        for parts in touched
    ]


class _Phase:
    """Launches that need no waiting: each cell is written by one thread at most, and then read by that one alone."""

    def __init__(self, threads: int) -> None:
        self.launches: list[list[Divisible]] = [[] for _ in range(threads)]
        self._load = [0.0] * threads
        self._written: list[set[int]] = [set() for _ in range(threads)]  # cells, by each thread in this phase
        self._read: list[set[int]] = [set() for _ in range(threads)]
        self._read_later: set[int] = set()  # by launches that have to wait for the next phase
        self._written_later: set[int] = set()

    def takes(self, parts: Sequence[_Part]) -> bool:
        """Take a launch in, unless it has to wait for another thread or for a launch that has."""
        every = range(len(self.launches))
        choices = [every] if len(parts) > 1 else [[t] for t in sorted(every, key=self._load.__getitem__)]
        for threads in choices:
            if all(self._may(part, thread) for part, thread in zip(parts, threads, strict=True)):
                for part, thread in zip(parts, threads, strict=True):
                    self._take(part, thread)
                return True
        for part in parts:
            self._read_later.update(part.reads)
            self._written_later.update(part.writes)
        return False

    def _may(self, part: _Part, thread: int) -> bool:
        apart = self._written_later.isdisjoint
        if not (apart(part.reads) and apart(part.writes) and self._read_later.isdisjoint(part.writes)):
            return False
        return all(
            written.isdisjoint(part.reads) and written.isdisjoint(part.writes) and read.isdisjoint(part.writes)
            for other, (written, read) in enumerate(zip(self._written, self._read, strict=True))
            if other != thread
        )

    def _take(self, part: _Part, thread: int) -> None:
        self.launches[thread].append(part.launch)
        self._load[thread] += part.cost
        self._read[thread].update(part.reads)
        self._written[thread].update(part.writes)
