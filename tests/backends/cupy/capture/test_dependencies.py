"""Order and freedom of launches: what must wait, what may run side by side, and on how many streams."""

from __future__ import annotations

import itertools
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.backends.capture.dependencies import dependencies
from chainrule.backends.cupy.capture.launches import Launch
from chainrule.backends.cupy.capture.stream_assignment import assign_streams


def launch(name: str, reads: Any = (), writes: Any = ()) -> Launch:
    return Launch((name,), print, tuple(reads), tuple(writes), ())


A, B, C, D = (0, 10), (10, 20), (20, 30), (30, 40)
AB = (0, 20)


@pytest.mark.parametrize(
    ("launches", "waits"),
    [
        ([launch("write", (), [A]), launch("read", [A])], [(), (0,)]),
        ([launch("read", [A]), launch("write", (), [A])], [(), (0,)]),
        ([launch("write", (), [A]), launch("write", (), [A])], [(), (0,)]),
        ([launch("read", [A]), launch("read", [A])], [(), ()]),
        ([launch("write", (), [A]), launch("write", (), [B])], [(), ()]),
        ([launch("both", [A], [A]), launch("both", [A], [A])], [(), (0,)]),
        ([launch("part", (), [B]), launch("whole", [AB])], [(), (0,)]),
        ([launch("whole", (), [AB]), launch("part", [B])], [(), (0,)]),
        ([launch("one", (), [A]), launch("two", [A], [B]), launch("three", [A, B])], [(), (0,), (1,)]),
        ([launch("one", (), [A]), launch("two", (), [B]), launch("three", [A, B])], [(), (), (1, 0)]),
        ([launch("edge", (), [(0, 5)]), launch("next", [(5, 10)])], [(), ()]),
    ],
)
def test_dependencies(launches, waits):
    assert dependencies(launches) == waits


def backward_of_two_layers() -> list[Launch]:
    """dz1 is there; then dW1 and dx beside each other, then dW0, then the optimiser."""
    dz1, dz0, dw1, dw0, weights = A, B, C, D, (40, 50)
    return [
        launch("loss", (), [dz1]),
        launch("dW1", [dz1], [dw1]),
        launch("dx", [dz1, weights], [dz0]),
        launch("dW0", [dz0], [dw0]),
        launch("adam", [dw1, dw0], [weights]),
    ]


def test_weight_gradients_run_beside_the_chain():
    launches = backward_of_two_layers()
    assert dependencies(launches) == [(), (0,), (0,), (2,), (3, 1)]
    streams = [assignment.stream for assignment in assign_streams(launches, 3)]
    assert streams[1] != streams[2]
    assert streams[2] == streams[3]


spans = st.tuples(st.integers(0, 8), st.integers(1, 4)).map(lambda s: (s[0], s[0] + s[1]))
steps = st.lists(
    st.tuples(st.lists(spans, max_size=3), st.lists(spans, max_size=2)).map(lambda rw: launch("any", *rw)), max_size=14
)


def run(launches: list[Launch], order: list[int]) -> list[int]:
    """The final memory where each launch writes a hash of its number and of all that it reads."""
    memory = list(range(16))
    for number in order:
        one = launches[number]
        read = tuple(memory[i] for start, stop in one.reads for i in range(start, stop))
        for start, stop in one.writes:
            for i in range(start, stop):
                memory[i] = hash((number, read, i))
    return memory


@given(steps, st.randoms(use_true_random=False))
def test_any_order_that_keeps_the_dependencies_gives_the_same_memory(launches, rng: random.Random):
    waits, order = dependencies(launches), []
    left = set(range(len(launches)))
    while left:
        ready = [number for number in sorted(left) if not left.intersection(waits[number])]
        order.append(rng.choice(ready))
        left.remove(order[-1])
    assert run(launches, order) == run(launches, list(range(len(launches))))


@given(steps, st.integers(1, 4))
def test_streams_and_their_waits_imply_every_dependency(launches, streams):
    assigned, known = assign_streams(launches, streams), []
    last: dict[int, int] = {}
    for number, assignment in enumerate(assigned):
        assert 0 <= assignment.stream < streams
        direct = {*assignment.waits, *([last[assignment.stream]] if assignment.stream in last else [])}
        known.append(direct.union(*(known[other] for other in direct)))
        last[assignment.stream] = number
    for number, waits in enumerate(dependencies(launches)):
        assert known[number].issuperset(waits)
        assert all(assigned[other].stream != assigned[number].stream for other in assigned[number].waits)


def test_no_dependency_is_stated_twice():
    launches = backward_of_two_layers() * 3
    waits = dependencies(launches)
    before: list[set[int]] = []
    for mine in waits:
        before.append(set(mine).union(*(before[other] for other in mine)))
        for one, other in itertools.permutations(mine, 2):
            assert one not in before[other]
