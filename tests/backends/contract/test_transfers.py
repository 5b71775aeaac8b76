"""Copies that run beside the work: what every backend promises, what the guard refuses, what CUDA does with them."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import GuardError
from emulation.backend import compiler_problem
from emulation.simulated_cupy import simulated


@pytest.mark.parametrize("kind", ["float32", "float64", "uint8", "bool", "int32"])
def test_what_is_sent_arrives(backend, kind):
    """In part of a longer array, and nothing beside it."""
    host = backend.host_buffer((7, 3), kind)
    assert (type(host), host.shape, host.dtype) == (np.ndarray, (7, 3), np.dtype(kind))
    assert host.flags.c_contiguous
    assert host.flags.writeable
    values = (np.arange(21).reshape(7, 3) % 2).astype(kind)
    target = backend.empty((10, 3), kind)
    backend.assign(np.ones((10, 3), kind), out=target)
    host[...] = values
    transfer = backend.send(host[:5], out=target[2:7])
    transfer.join()
    transfer.wait()
    host[...] = 0
    expected = np.ones((10, 3), kind)
    expected[2:7] = values[:5]
    np.testing.assert_array_equal(backend.download(target), expected)


def test_a_cpu_says_nothing_of_free_memory(backend):
    free = backend.free_memory()
    assert free is None or free > 0
    assert (free is None) == (backend.name != "cupy")


# ---- the guard ------------------------------------------------------------------------------------


@pytest.fixture
def be() -> cr.GuardedBackend:
    return cr.GuardedBackend()


def test_before_the_join_there_is_poison(be):
    host, target = np.ones(3), be.upload(np.zeros(3))
    transfer = be.send(host, out=target)
    assert np.isnan(be.download(target)).all()
    transfer.join()
    assert be.download(target).tolist() == [1, 1, 1]


@pytest.mark.parametrize("use", ["join", "wait"])
def test_a_buffer_is_not_written_before_the_wait(be, use):
    host = np.ones(3)
    transfer = be.send(host, out=be.empty((3,), np.float64))
    if use == "wait":
        transfer.join()  # a join is the device's affair: the host has still to wait
    host[1] = 2
    with pytest.raises(GuardError, match="the host wrote to a buffer that is on its way"):
        getattr(transfer, use)()


def test_a_buffer_is_not_sent_twice_before_the_wait(be):
    host = np.ones(3)
    be.send(host, out=be.empty((3,), np.float64)).join()
    with pytest.raises(GuardError, match="a buffer is sent that is still on its way"):
        be.send(host[1:], out=be.empty((2,), np.float64))


def test_after_the_wait_it_is(be):
    host, target = np.ones(3), be.empty((3,), np.float64)
    transfer = be.send(host, out=target)
    transfer.wait()
    host[:] = 2
    again = be.send(host, out=be.empty((3,), np.float64))
    transfer.join()
    assert be.download(target).tolist() == [1, 1, 1], "as it was sent, however late the work asks for it"
    again.wait()


def test_one_copy_at_a_time_to_one_place(be):
    target = be.empty((4,), np.float64)
    transfer = be.send(np.ones(3), out=target[:3])
    with pytest.raises(GuardError, match="two copies"):
        be.send(np.ones(2), out=target[2:])
    transfer.join()
    be.send(np.ones(2), out=target[2:]).join()


@pytest.mark.parametrize(
    "host",
    [np.ones(2), np.ones(3, np.float32), np.ones((3, 1)), np.ones(6)[::2]],
    ids=["shape", "dtype", "axes", "gaps"],
)
def test_only_what_fits_is_sent(be, host):
    with pytest.raises(GuardError, match=r"is sent to GuardedArray\(shape=\(3,\)"):
        be.send(host, out=be.empty((3,), np.float64))


def test_nothing_is_sent_within_a_step(be):
    target = be.empty((3,), np.float64)
    with pytest.raises(GuardError, match="within a recorded step"):
        be.capture(lambda: be.send(np.ones(3), out=target))(1)


# ---- CUDA, on simulated streams -------------------------------------------------------------------


@pytest.fixture
def cuda():
    if problem := compiler_problem():
        pytest.skip(problem)
    with simulated():
        from chainrule.backends.cupy.backend import CuPyBackend

        yield CuPyBackend()


def looks_at(cuda: cr.Backend) -> tuple[float, float, float]:
    """What work finds where 1 is sent to: asked for before the copy, beside it, and after the join."""
    found: list[float] = []
    host, target = cuda.host_buffer((2,), np.float32), cuda.upload(np.zeros(2, np.float32))
    memory = target.view(np.ndarray)

    def look() -> None:
        cuda._streams.main.push(lambda: found.append(float(memory[0])))

    look()
    host[:] = 1
    transfer = cuda.send(host, out=target)
    look()
    transfer.join()
    look()
    transfer.wait()
    host[:] = 2
    cuda.synchronize()
    assert cuda.download(target).tolist() == [1, 1]
    return found[0], found[1], found[2]


def test_a_copy_comes_after_earlier_work_and_before_what_is_asked_for_after_the_join(cuda):
    """And beside what is asked for between: streams continue in an order of chance, and both orders come up."""
    assert {looks_at(cuda) for _ in range(30)} == {(0, 0, 1), (0, 1, 1)}


def test_memory_that_cannot_be_locked_is_a_memory_error(cuda, monkeypatch):
    def refuse(size: int) -> None:
        raise cuda.xp.cuda.runtime.CUDARuntimeError("cudaErrorMemoryAllocation")

    monkeypatch.setattr(cuda.xp.cuda, "alloc_pinned_memory", refuse)
    with pytest.raises(MemoryError, match="the host cannot lock 24 bytes: cudaErrorMemoryAllocation"):
        cuda.host_buffer((2, 3), np.float32)


@pytest.mark.parametrize(
    ("driver", "pool", "limit", "used", "free"),
    [
        (1000, 0, 0, 0, 1000),
        (1000, 200, 0, 50, 1200),
        (1000, 200, 300, 50, 250),
        (100, 20, 900, 50, 120),
        (9, 0, 5, 8, 0),
    ],
)
def test_free_memory_counts_the_pool_and_its_limit(cuda, monkeypatch, driver, pool, limit, used, free):
    class Pool:
        free_bytes, get_limit, used_bytes = (staticmethod(lambda n=n: n) for n in (pool, limit, used))

    monkeypatch.setattr(cuda.xp.cuda.runtime, "memGetInfo", lambda: (driver, 10**6))
    monkeypatch.setattr(cuda.xp, "get_default_memory_pool", Pool)
    assert cuda.free_memory() == free
