"""What a capture must not destroy, what it says if memory runs out, and what goes when a backend goes."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.contract.backend import RUNNING
from chainrule.backends.cupy.capture.collection import NoCollection
from emulation import streams
from emulation.compiled import compiler_problem
from emulation.simulated_cupy import DriverError, simulated
from emulation.streams import DEVICE, INSTANTIATED, OUT_OF_MEMORY, UPLOADED, CudaError

pytestmark = pytest.mark.skipif(bool(compiler_problem()), reason=compiler_problem() or "a compiler is there")


@pytest.fixture
def cupy() -> Iterator[Any]:
    with simulated() as module:
        yield module


def make() -> Any:
    from chainrule.backends.cupy.backend import CuPyBackend

    return CuPyBackend()


@pytest.fixture
def collects() -> Iterator[None]:
    """The collector is on, and is as it was when the test is over."""
    was = gc.isenabled()
    gc.enable()
    yield
    (gc.enable if was else gc.disable)()


def tick(device: Any) -> Any:
    """The launch of a tick that has run once."""
    state = device.empty((3,), np.int64)
    device.assign([0, 0, RUNNING], out=state)
    device.tick(state)
    (launch,) = device.record(lambda: device.tick(state))
    return launch


def train(device: Any) -> None:
    rng = np.random.default_rng(5)
    X, y = rng.normal(size=(60, 4)).astype(np.float32), rng.integers(0, 3, 60)
    net = cr.MLP([4, 8, 3], backend=device, seed=1)
    cr.Trainer(net, cr.Adam(1e-2), batch_size=8, epochs=2).fit(X, y, validation=0.2)
    net.predict_proba(X)


# ---- collection ------------------------------------------------------------------------------------------


def test_nothing_is_collected_during_a_capture(cupy, collects):
    """Garbage with streams in cycles, and more new objects than it takes for a collection."""
    device = make()
    launch, kept = tick(device), []

    def litter(stream: Any) -> None:
        for _ in range(5):
            cycle: list[Any] = [cupy.cuda.Stream()]
            cycle.append(cycle)
        kept.append([[] for _ in range(10 * gc.get_threshold()[0])])
        launch.start(stream)

    device.instantiate([launch._replace(start=litter)])
    assert not DEVICE.destroyed_in_capture
    assert gc.isenabled()


def test_what_is_destroyed_by_its_last_user_does_not_end_the_capture(cupy):
    device = make()
    launch = tick(device)
    doomed = [cupy.cuda.Stream()]

    def drop(stream: Any) -> None:
        doomed.clear()
        launch.start(stream)

    device.instantiate([launch._replace(start=drop)])
    assert DEVICE.destroyed_in_capture == ["a stream"]


@pytest.mark.parametrize("was_on", [True, False])
def test_the_collector_is_afterwards_as_before(cupy, collects, was_on):
    """Also if the capture fails."""
    device = make()
    launch, seen = tick(device), []

    def fail(stream: Any) -> None:
        seen.append(gc.isenabled())
        raise RuntimeError("no launch today")

    (gc.enable if was_on else gc.disable)()
    with pytest.raises(RuntimeError, match="no launch today"):
        device.instantiate([launch._replace(start=fail)])
    assert (seen, gc.isenabled()) == ([False], was_on)


def test_the_last_of_several_captures_switches_the_collector_on(collects):
    with NoCollection():
        with NoCollection():
            pass
        assert not gc.isenabled()
    assert gc.isenabled()


def test_ctrl_c_on_the_way_in_leaves_the_collector_on(collects, monkeypatch):
    disable = gc.disable

    def interrupted() -> None:
        disable()
        raise KeyboardInterrupt

    monkeypatch.setattr(gc, "disable", interrupted)
    with pytest.raises(KeyboardInterrupt), NoCollection():
        pass
    assert gc.isenabled()
    monkeypatch.undo()
    with NoCollection():
        assert not gc.isenabled()
    assert gc.isenabled()


def test_a_backend_goes_with_its_last_user_and_gives_its_memory_back(cupy, collects):
    """No cycle waits for the collector: streams, graphs, workspaces and scratch memory are gone at once."""
    before = DEVICE.session.used
    gc.collect()
    gc.disable()
    device = make()
    train(device)
    assert len(device._streams) > 1
    gone = weakref.ref(device)
    del device
    assert gone() is None
    assert DEVICE.session.used == before
    assert [stream.ptr for stream in DEVICE.streams] == [0]


# ---- out of memory ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("free", [INSTANTIATED - 1, INSTANTIATED + UPLOADED - 1], ids=["instantiate", "upload"])
def test_a_graph_that_finds_no_memory_says_so(cupy, free):
    device = make()
    launch = tick(device)
    device.instantiate([launch])
    cupy.get_default_memory_pool().free_all_blocks()
    used = DEVICE.session.used
    DEVICE.session.capacity = used + free
    with pytest.raises(cr.OutOfMemoryError, match=r"cuda:0 is out of memory: [\d,]+ bytes are free"):
        device.instantiate([launch])
    assert not DEVICE.is_capturing
    assert DEVICE.session.used == used
    DEVICE.session.capacity += INSTANTIATED + UPLOADED
    device.instantiate([launch])()
    device.synchronize()


def test_a_graph_gets_what_lies_unused_in_the_pool(cupy):
    device = make()
    launch = tick(device)
    device.instantiate([launch])
    unused = device.empty((1 << 20,), np.uint8)
    device.synchronize()
    del unused
    DEVICE.session.capacity = DEVICE.session.used
    device.instantiate([launch])()
    device.synchronize()


def test_a_fit_that_finds_no_memory_for_its_graphs_says_so(cupy, monkeypatch):
    monkeypatch.setattr(streams, "INSTANTIATED", 1 << 40)
    monkeypatch.setenv("CHAINRULE_TUNE", "0")  # or the first product to be timed would find none
    with pytest.raises(cr.OutOfMemoryError, match="cuda:0 is out of memory"):
        train(make())


@pytest.mark.parametrize("kind", [CudaError, DriverError])
def test_every_call_that_finds_no_memory_says_so(cupy, kind):
    """Of the runtime, or of the driver, which loads kernels; any other error stays what it is."""
    device = make()
    launch = tick(device)

    def start_with(status: int) -> None:
        def fail(stream: Any) -> None:
            raise kind("no", status)

        device.start(launch._replace(start=fail))

    with pytest.raises(cr.OutOfMemoryError):
        start_with(OUT_OF_MEMORY)
    with pytest.raises(kind, match="no"):
        start_with(OUT_OF_MEMORY + 1)


def test_a_backend_that_finds_no_memory_says_so(cupy):
    DEVICE.session.capacity = 1 << 20
    with pytest.raises(cr.OutOfMemoryError, match="33,554,432 bytes more are needed and 1,048,576 bytes are free"):
        make()
