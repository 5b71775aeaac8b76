"""Launches divided among threads: whatever thread is ahead within a phase, memory ends as after all in order."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

import hypothesis
import pytest
from hypothesis import strategies as st

from chainrule.backends.capture.division import divide

CELLS = 96  # of the memory, each a number


@dataclass(frozen=True)
class Rows:
    """Rows of one width in memory, with gaps between them if ``apart`` is more."""

    start: int
    width: int
    apart: int
    count: int

    def cells(self, row: int) -> range:
        return range(self.start + row * self.apart, self.start + row * self.apart + self.width)

    def part(self, start: int, stop: int) -> Rows:
        return Rows(self.start + start * self.apart, self.width, self.apart, stop - start)

    @property
    def spans(self) -> tuple[tuple[int, int], ...]:
        return tuple((self.cells(row).start, self.cells(row).stop) for row in range(self.count))


@dataclass(frozen=True)
class Step:
    """A launch that mixes all that it reads into each number that it writes: row by row, or all at once."""

    number: int
    grain = 1
    sources: tuple[Rows, ...]  # read
    target: Rows  # read and written
    shared: tuple[Rows, ...]  # read by every row
    by_rows: bool
    cost: float

    @property
    def reads(self):
        return tuple(span for rows in (*self.sources, self.target, *self.shared) for span in rows.spans)

    @property
    def writes(self):
        return self.target.spans

    @property
    def rows(self) -> int:
        return self.target.count if self.by_rows else 0

    def part(self, start: int, stop: int) -> Step:
        sources = tuple(rows.part(start, stop) for rows in self.sources)
        cost = self.cost * (stop - start) / self.rows
        return Step(self.number, sources, self.target.part(start, stop), self.shared, True, cost)

    def run(self, memory: list[int]) -> None:
        shared = [memory[cell] for rows in self.shared for row in range(rows.count) for cell in rows.cells(row)]
        whole = [memory[cell] for rows in self.sources for row in range(rows.count) for cell in rows.cells(row)]
        for row in range(self.target.count):
            read = [memory[cell] for rows in self.sources for cell in rows.cells(row)] if self.by_rows else whole
            for cell in self.target.cells(row):
                memory[cell] = hash((self.number, row if not self.by_rows else 0, memory[cell], *read, *shared))


def several_rows(count: int) -> st.SearchStrategy[Rows]:
    @st.composite
    def make(draw: st.DrawFn) -> Rows:
        width = draw(st.integers(1, 3))
        apart = draw(st.integers(width, 4))
        start = draw(st.integers(0, CELLS - (count - 1) * apart - width))
        return Rows(start, width, apart, count)

    return make()


@st.composite
def steps(draw: st.DrawFn) -> Step:
    count = draw(st.sampled_from([1, 2, 4, 7, 12]))
    some = st.lists(several_rows(count), max_size=2).map(tuple)
    shared = st.lists(several_rows(1), max_size=2).map(tuple)
    number = draw(st.integers(0, 3))
    return Step(
        number, draw(some), draw(several_rows(count)), draw(shared), draw(st.booleans()), draw(st.floats(0.1, 9))
    )


def run_mixed(phases, memory, random) -> None:
    """Each phase with its threads in any order, a launch at a time."""
    for phase in phases.launches:
        left = [list(of_thread) for of_thread in phase]
        while any(left):
            random.choice([of_thread for of_thread in left if of_thread]).pop(0).run(memory)


@hypothesis.given(
    launches=st.lists(steps(), max_size=12),
    threads=st.integers(2, 4),
    unit=st.sampled_from([1, 2, 3]),
    by_rows=st.booleans(),
    random=st.randoms(use_true_random=False),
)
@hypothesis.settings(max_examples=200)
def test_any_order_within_a_phase_gives_what_the_launches_give_in_order(launches, threads, unit, by_rows, random):
    want = list(range(CELLS))
    for launch in launches:
        launch.run(want)
    phases = divide(launches, threads, unit=unit, by_rows=by_rows)
    found = list(range(CELLS))
    run_mixed(phases, found, random)
    assert found == want
    assert all(len(phase) == threads for phase in phases.launches)
    assert all(any(phase) for phase in phases.launches), "a phase without work"


@hypothesis.given(launches=st.lists(steps(), max_size=12), threads=st.integers(2, 4), unit=st.sampled_from([1, 2, 3]))
def test_every_row_is_computed_once(launches, threads, unit):
    phases = divide(launches, threads, unit=unit)
    done = Counter(
        (launch.number, cell)
        for phase in phases.launches
        for of_thread in phase
        for launch in of_thread
        for row in range(launch.target.count)
        for cell in launch.target.cells(row)
    )
    assert done == Counter(
        (launch.number, cell) for launch in launches for row in range(launch.target.count)
        for cell in launch.target.cells(row)
    )  # fmt: skip


def one_step(count: int, *, sources: tuple[Rows, ...] = ()) -> Step:
    return Step(0, sources, Rows(0, 1, 1, count), (), True, 1.0)


@pytest.mark.parametrize("threads", [2, 3, 4])
@pytest.mark.parametrize("unit", [1, 4])
def test_rows_are_shared_out_evenly_in_whole_units(threads, unit):
    for rows in range(1, 4 * threads * unit * 16):
        phases = divide([one_step(rows)], threads, unit=unit)
        sizes = [sum(launch.target.count for launch in of_thread) for of_thread in phases.launches[0]]
        assert sum(sizes) == rows
        if rows < threads * unit:
            assert sorted(sizes)[-2] == 0, "too few rows for all"
        else:
            assert max(sizes) - min(sizes) < 2 * unit
            assert all(size % unit == 0 for size in sizes[:-1])


def test_a_long_vector_is_cut_between_cache_lines():
    phases = divide([one_step(1000)], 2, unit=1)
    assert [part.target.count % 16 for (part,) in phases.launches[0][:-1]] == [0]


def test_rows_that_read_what_others_write_are_not_divided():
    behind = Rows(1, 1, 1, 8)  # each row reads the next one
    assert len(divide([one_step(8, sources=(behind,))], 2, unit=1).launches[0][0]) == 1
    phases = divide([one_step(8, sources=(Rows(0, 1, 1, 8),))], 2, unit=1)
    assert [len(of_thread) for of_thread in phases.launches[0]] == [1, 1]


def test_the_cost_of_a_phase_is_that_of_its_slowest_thread():
    apart = [Step(i, (), Rows(40 * i, 1, 1, 8), (), False, cost) for i, cost in enumerate([5.0, 3.0])]
    assert divide(apart, 2, unit=1).cost == 5.0
    chain = [one_step(8), Step(1, (), Rows(0, 1, 1, 8), (), False, 3.0)]
    assert divide(chain, 2, unit=1).cost == pytest.approx(0.5 + 3.0)
    assert len(divide(chain, 2, unit=1).launches) == 2
    assert list(itertools.chain(*divide([], 2, unit=1).launches)) == []
