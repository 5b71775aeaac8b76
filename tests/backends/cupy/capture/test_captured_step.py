"""Captured steps: what is recorded, replayed and thrown away; what a capture refuses; what runs side by side.

The device is simulated (see :mod:`emulation`): its streams do their work in an order of chance, and refuse during a
capture what CUDA refuses.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.contract.backend import RUNNING
from chainrule.backends.cupy.capture.launcher import UNROLLED
from chainrule.backends.cupy.capture.streams import MAX_STREAMS
from chainrule.errors import DeviceError
from emulation.compiled import compiler_problem
from emulation.simulated_cupy import simulated
from emulation.streams import DEVICE, CudaError, Graph, Stream

pytestmark = pytest.mark.skipif(bool(compiler_problem()), reason=compiler_problem() or "a compiler is there")


@pytest.fixture
def device() -> Iterator[Any]:
    """The CUDA implementation on the simulated device, inside `running`."""
    with simulated():
        from chainrule.backends.cupy.backend import CuPyBackend

        backend = CuPyBackend()
        with backend.running():
            yield backend


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[Graph]:
    """Every launch of a graph, in order."""
    launched: list[Graph] = []
    launch = Graph.launch

    def noted(self: Graph, stream: Any) -> None:
        launched.append(self)
        launch(self, stream)

    monkeypatch.setattr(Graph, "launch", noted)
    return launched


def state_of(device: Any) -> Any:
    state = device.empty((3,), np.int64)
    device.assign([0, 0, RUNNING], out=state)
    return state


def steps_done(device: Any, state: Any) -> int:
    return int(device.download(state)[0])


@pytest.mark.parametrize("calls", [[1], [5], [1, 1, 1], [UNROLLED + 1], [64, 64], [0, 3, 0, 40]])
def test_replay_does_the_step_as_often_as_asked(device, graphs, calls):
    state = state_of(device)
    replay = device.capture(lambda: device.tick(state))
    for times in calls:
        replay(times)
    assert steps_done(device, state) == sum(calls)
    in_graphs = sum(len(graph) for graph in graphs)
    assert in_graphs == sum(calls) - 1, "all but the first step come from graphs"


@pytest.mark.parametrize("calls", [[1, 1, 1], [1, 4], [2], [UNROLLED + 3, 1, 2], [0, 5]])
def test_a_step_and_its_twin_are_done_in_turn(device, graphs, calls):
    """Each call begins with the step; the twin is recorded once two steps are asked for at a time."""
    states = [state_of(device), state_of(device)]
    replay = device.capture(*(lambda state=state: device.tick(state) for state in states))
    for times in calls:
        replay(times)
    if UNROLLED + 3 in calls:  # the first of each runs by itself; 16 in a graph, one in the next, and 1 + 1 + 1
        assert [steps_done(device, state) for state in states] == [1 + UNROLLED // 2 + 4, 1 + UNROLLED // 2]
    assert sum(steps_done(device, state) for state in states) == sum(calls)
    assert steps_done(device, states[1]) == {(1, 1, 1): 0}.get(tuple(calls), steps_done(device, states[1]))


def test_a_twin_that_changes_is_recorded_anew(device):
    first, holder = state_of(device), {"state": state_of(device)}
    replay = device.capture(lambda: device.tick(first), lambda: device.tick(holder["state"]))
    replay(2 + UNROLLED)
    old, holder["state"] = holder["state"], state_of(device)
    replay(2 + UNROLLED)
    assert [steps_done(device, state) for state in (first, old, holder["state"])] == [18, 9, 9]


def test_many_steps_are_few_launches(device, graphs):
    state = state_of(device)
    replay = device.capture(lambda: device.tick(state))
    replay(1 + 4 * UNROLLED + 3)
    assert [len(graph) for graph in graphs] == [UNROLLED] * 4 + [1] * 3


def test_a_step_that_changes_is_recorded_anew(device, graphs):
    """Another array, of the same shape: a graph that has the old address would continue to write to it."""
    holder = {"state": state_of(device)}
    replay = device.capture(lambda: device.tick(holder["state"]))
    replay(4)
    old, holder["state"] = holder["state"], state_of(device)
    replay(0)
    replay(3)
    assert steps_done(device, old) == 4
    assert steps_done(device, holder["state"]) == 3
    count = {"n": 1}

    def step() -> None:
        for _ in range(count["n"]):
            device.tick(old)

    replay = device.capture(step)
    replay(3)
    count["n"] = 2
    replay(3)
    assert steps_done(device, old) == 4 + 3 + 6


def test_a_step_that_fails_leaves_nothing_half_recorded(device):
    state, fails = state_of(device), [True]

    def step() -> None:
        device.tick(state)
        if fails[0]:
            raise ValueError("halfway")

    replay = device.capture(step)
    with pytest.raises(ValueError, match="halfway"):
        replay(3)
    fails[0] = False
    replay(3)
    assert steps_done(device, state) == 4


def test_the_capture_ends_although_a_launch_fails(device):
    state = state_of(device)
    replay = device.capture(lambda: device.tick(state))
    replay(1)
    broken = [launch._replace(start=_fail) for launch in device.record(lambda: device.tick(state))]
    with pytest.raises(RuntimeError, match="no launch today"):
        device.instantiate(broken)
    assert not DEVICE.is_capturing
    replay(2)
    assert steps_done(device, state) == 3


def test_ctrl_c_as_a_capture_begins_ends_it(device, monkeypatch):
    state = state_of(device)
    device.tick(state)
    launches = device.record(lambda: device.tick(state))
    begin = Stream.begin_capture

    def interrupted(self: Stream, mode: int | None = None) -> None:
        begin(self, mode)
        raise KeyboardInterrupt

    monkeypatch.setattr(Stream, "begin_capture", interrupted)
    with pytest.raises(KeyboardInterrupt):
        device.instantiate(launches)
    assert not DEVICE.is_capturing
    monkeypatch.undo()
    device.instantiate(launches)()
    assert steps_done(device, state) == 2


def test_a_capture_within_a_capture_is_refused(device):
    """A signal handler that predicts would wait for its own thread."""
    state = state_of(device)
    device.tick(state)
    (launch,) = device.record(lambda: device.tick(state))
    refused: list[str] = []

    def start(stream: Any) -> None:
        with pytest.raises(DeviceError) as caught:
            device.instantiate([launch])
        refused.append(caught.value.message)
        launch.start(stream)

    device.instantiate([launch._replace(start=start)])()
    assert refused == ["a graph is captured within the capture of another"]
    assert steps_done(device, state) == 2


def _fail(stream: Any) -> None:
    raise RuntimeError("no launch today")


def test_memory_that_is_asked_for_during_a_capture_is_refused(device):
    state = state_of(device)

    def allocate(stream: Any) -> None:
        device.empty((1000,), np.float32)

    launches = [launch._replace(start=allocate) for launch in device.record(lambda: device.tick(state))]
    with pytest.raises(DeviceError, match="4000 bytes are asked for while a graph is captured"):
        device.instantiate(launches)
    assert not DEVICE.is_capturing


def test_a_host_that_synchronises_during_a_capture_is_refused(device):
    state = state_of(device)
    launches = [
        launch._replace(start=lambda _: device.download(state)) for launch in device.record(lambda: device.tick(state))
    ]
    with pytest.raises(CudaError, match="waits during a capture"):
        device.instantiate(launches)
    assert not DEVICE.is_capturing


def test_graphs_can_be_switched_off(device, graphs, monkeypatch):
    monkeypatch.setenv("CHAINRULE_GRAPHS", "0")
    state = state_of(device)
    device.capture(lambda: device.tick(state))(5)
    assert steps_done(device, state) == 5
    assert not graphs


def train(backend: cr.Backend, *, steps: int = 40, widths: tuple[int, ...] = (12, 16, 16, 3), **options: Any) -> Any:
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(steps * 8 - 3, widths[0])).astype(np.float32), rng.integers(0, widths[-1], steps * 8 - 3)
    net = cr.MLP(widths, backend=backend, seed=1)
    run = cr.Trainer(net, cr.AdamW(1e-2), batch_size=8, epochs=2, **options).fit(X, y)
    return net.parameter_arena.download(), run


def test_training_runs_in_graphs_and_side_by_side(device, graphs):
    train(device)
    full = [graph for graph in graphs if len(graph) > 100]
    assert full, "the steps of an epoch are unrolled"
    # The longest chain: three layers forward, the loss, two products and two activation gradients, dW0, AdamW. The next
    # batch is fetched beside AdamW, and nothing waits for the weight gradients above, the counts or the tick, except
    # for the first batch of a graph and its last tick.
    assert full[0].longest_chain == 1 + 10 * UNROLLED + 1


def test_captured_and_eager_training_give_the_same_bits(device, monkeypatch):
    captured, _ = train(device)
    monkeypatch.setenv("CHAINRULE_GRAPHS", "0")
    eager, _ = train(device)
    np.testing.assert_equal(captured, eager)


def test_no_more_streams_than_there_are_workspaces(device):
    train(device, widths=(5, 8, 8, 8, 8, 8, 3), steps=20)
    assert len(device._streams) <= MAX_STREAMS


def test_a_second_fit_has_graphs_of_its_own(device, graphs):
    """Another optimiser, another batch size: nothing of the first fit's steps is replayed."""
    first, _ = train(device)
    graphs_of_first = list(graphs)
    graphs.clear()
    again, _ = train(device)
    assert not {id(graph) for graph in graphs_of_first} & {id(graph) for graph in graphs}
    np.testing.assert_equal(first, again)


def test_what_the_caller_put_in_his_own_stream_comes_first(device):
    """An array that the caller's stream is still filling is read when it is full."""
    cupy = device.xp
    outer = cupy.cuda.Stream()
    with outer:
        x = cupy.empty((4, 2), np.float32)
        x.set(np.arange(8, dtype=np.float32).reshape(4, 2))
        out = cupy.empty((4, 2), np.float32)
        with device.running():
            device.copy(device.upload(x), out=out)
        copied = out.get()
    np.testing.assert_array_equal(copied, np.arange(8).reshape(4, 2))


def test_what_runs_side_by_side_has_workspaces_of_its_own(device):
    """The first branch has that of eager work, in whose place a graph runs."""
    states = [state_of(device) for _ in range(MAX_STREAMS + 2)]
    handles: list[Any] = []

    def noted(launch: Any) -> Any:
        def start(stream: Any) -> None:
            handles.append(stream)
            launch.start(stream)

        return launch._replace(start=start)

    for state in states:
        device.tick(state)
    launches = device.record(lambda: [device.tick(state) for state in states])
    device.start(noted(launches[0]))
    device.instantiate([noted(launch) for launch in launches])
    eager, *captured = handles
    assert len(captured) == len(states)
    assert len({(handle.stream, handle.workspace) for handle in captured}) == MAX_STREAMS
    assert len({handle.workspace for handle in captured}) == MAX_STREAMS
    assert eager.workspace in {handle.workspace for handle in captured}
    assert eager.stream not in {handle.stream for handle in captured}
