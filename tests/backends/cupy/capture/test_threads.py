"""Threads that share a device: what one does while another captures, and what the first to come must not do twice.

Cold threads against the clock are a campaign of their own: :mod:`campaigns.shared_device`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.contract.backend import RUNNING
from chainrule.backends.cupy.gemm.matrix_product import MatrixProduct
from chainrule.backends.cupy.gemm.timing import GemmTimer
from emulation.compiled import compiler_problem
from emulation.simulated_cupy import SimulatedProduct, simulated

pytestmark = pytest.mark.skipif(bool(compiler_problem()), reason=compiler_problem() or "a compiler is there")


@pytest.fixture
def device(monkeypatch, tmp_path) -> Iterator[Any]:
    """The CUDA implementation on the simulated device; no algorithm has been chosen."""
    monkeypatch.setenv("CHAINRULE_CACHE_DIR", str(tmp_path))
    with simulated():
        from chainrule.backends.cupy.backend import CuPyBackend

        yield CuPyBackend()


def in_a_thread(work: Callable[[], Any]) -> Any:
    """What another thread makes of it, while this one waits."""
    return at_once(work)[0]


def at_once(*works: Callable[[], Any]) -> list[Any]:
    results: list[Any] = [None] * len(works)
    errors: list[BaseException] = []

    def do(number: int) -> None:
        try:
            results[number] = works[number]()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=do, args=(i,)) for i in range(len(works))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return results


def state_of(device: Any) -> Any:
    state = device.empty((3,), np.int64)
    device.assign([0, 0, RUNNING], out=state)
    return state


def steps_done(device: Any, state: Any) -> int:
    return int(device.download(state)[0])


def tick_with(device: Any, state: Any, also: Callable[[], Any]) -> Any:
    """A recorded tick that does something else when it is started: in a capture if it is captured."""
    device.tick(state)
    (launch,) = device.record(lambda: device.tick(state))

    def start(stream: Any) -> None:
        also()
        launch.start(stream)

    return launch._replace(start=start)


def test_a_second_thread_launches_and_downloads_while_a_graph_is_captured(device):
    """Its launches are not part of the graph, and it may wait for them."""
    captured, other = state_of(device), state_of(device)

    def work() -> int:
        device.tick(other)
        return steps_done(device, other)

    seen: list[int] = []
    replay = device.instantiate([tick_with(device, captured, lambda: seen.append(in_a_thread(work)))])
    assert seen == [1]
    replay()
    replay()
    assert (steps_done(device, captured), steps_done(device, other)) == (3, 1)


def test_a_second_thread_that_captures_waits_for_the_first(device):
    first, second = state_of(device), state_of(device)
    one = tick_with(device, second, lambda: None)
    replays: list[Any] = []
    rival = threading.Thread(target=lambda: replays.append(device.instantiate([one])))

    def begin() -> None:
        rival.start()
        rival.join(0.1)
        assert rival.is_alive()

    replays.append(device.instantiate([tick_with(device, first, begin)]))
    rival.join()
    assert len(replays) == 2
    for replay in replays:
        replay()
    assert (steps_done(device, first), steps_done(device, second)) == (2, 2)


def test_a_second_thread_allocates_and_frees_while_a_graph_is_captured(device):
    """What it is given is not memory of the graph, whose arrays the launch keeps."""
    state = state_of(device)

    def work() -> None:
        for _ in range(3):
            device.assign([7, 7, 7], out=device.empty((3,), np.int64))

    replay = device.instantiate([tick_with(device, state, lambda: in_a_thread(work))])
    replay()
    assert steps_done(device, state) == 2


# ---- what the first to come must not do twice ---------------------------------------------------------


def test_a_source_is_compiled_once(device, monkeypatch):
    compiled: list[str] = []
    module = device.xp.RawModule

    def slow(code: str, options: tuple[str, ...]) -> Any:
        compiled.append(code)
        time.sleep(0.02)
        return module(code=code, options=options)

    monkeypatch.setattr(device.xp, "RawModule", slow)
    states = [device.empty((3,), np.int64) for _ in range(4)]
    at_once(*(lambda state=state: device.fill(0, out=state) for state in states))
    assert len(compiled) == 1
    assert [steps_done(device, state) for state in states] == [0] * 4


def test_copies_from_the_host_go_through_one_stream(device, monkeypatch):
    """Two would not wait for each other, nor for what the stream of the kernels had before."""
    made, stream = [], device.xp.cuda.Stream

    def slow(**options: Any) -> Any:
        made.append(options)
        time.sleep(0.02)
        return stream(**options)

    monkeypatch.setattr(device.xp.cuda, "Stream", slow)
    arrays = [device.empty((4,), np.float32) for _ in range(4)]

    def send(i: int) -> None:
        host = device.host_buffer((4,), np.float32)
        host[:] = i
        device.send(host, out=arrays[i]).join()

    at_once(*(lambda i=i: send(i) for i in range(4)))
    assert len(made) == 1
    assert [device.download(array).tolist() for array in arrays] == [[i] * 4 for i in range(4)]


def test_a_thread_that_has_its_product_does_not_free_what_another_times(device, monkeypatch):
    """The other gives its arrays back at the worst moment: between the look whether they fit and their use."""
    timer, seen = GemmTimer(device), []

    class Product(MatrixProduct):
        def __ne__(self, other: object) -> bool:
            in_a_thread(timer.release)
            return super().__ne__(other)

    monkeypatch.setattr(SimulatedProduct, "run", lambda plan, *addresses, **_: seen.append(addresses[:3]))
    plan = SimulatedProduct(Product(4, 3, 5, False, False, 5, 3, 3))
    for _ in range(2):
        timer(plan)  # type: ignore[arg-type]
    assert len(seen) > 2
    assert all(min(addresses) > 0 for addresses in seen)


def test_the_product_of_members_is_planned_by_threads_at_once(device):
    """Each plans it; all have the algorithm of one member."""
    shapes = [(2, 4, 5), (2, 5, 3), (2, 4, 3)]
    a, b, *outs = [device.upload(np.ones(shape, np.float32)) for shape in (*shapes, *shapes[2:] * 3)]
    at_once(*(lambda out=out: device.matmul(a, b, out=out) for out in outs))
    for out in outs:
        np.testing.assert_array_equal(device.download(out), np.full((2, 4, 3), 5.0))


# ---- all of it ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["simulated", pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True)
def test_nets_that_are_trained_side_by_side_while_another_predicts(backend):
    """All start cold; afterwards, one after the other, they have the same bits."""

    def train(seed: int) -> bytes:
        rng = np.random.default_rng(seed)
        X, y = rng.normal(size=(120, 4)).astype(np.float32), rng.integers(0, 3, 120)
        net = cr.MLP([4, 8 + 8 * seed, 3], backend=backend, seed=seed)
        cr.Trainer(net, cr.Adam(1e-2), batch_size=11 + seed, epochs=3).fit(X, y, validation=0.2)
        return b"".join(array.tobytes() for array in net.parameter_arena.download().values())

    def predict() -> bytes:
        net = cr.MLP([4, 24, 3], backend=backend, seed=5)
        batches = (np.random.default_rng(n).normal(size=(n, 4)).astype(np.float32) for n in (3, 70, 31))
        return b"".join(net.predict_proba(x).tobytes() for x in batches)

    works = [lambda: train(0), lambda: train(1), predict]
    assert at_once(*works) == [work() for work in works]
