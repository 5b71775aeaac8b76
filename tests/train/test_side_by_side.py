"""Fits side by side: the results of a series, in order, and what stops one stops all."""

from __future__ import annotations

import os
import signal
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.backends.numpy.blas_threads import can_limit
from chainrule.train import side_by_side as module
from chainrule.train.side_by_side import bytes_of_fit, side_by_side

FOREVER = 1_000_000  # epochs


@pytest.fixture
def cpu(monkeypatch) -> cr.Backend:
    """The CPU with its loops loaded, and two cores."""
    pytest.importorskip("numba", reason="numba is not installed")
    monkeypatch.setenv("OMP_NUM_THREADS", "2")
    return compiled.loaded()


def rows(n: int = 300) -> tuple[np.ndarray, np.ndarray]:
    X = np.random.default_rng(4).normal(size=(n, 5)).astype(np.float32)
    return X, X[:, 0] * X[:, 1]


def fit(backend: cr.Backend, seed: int = 0, epochs: int = 3, callbacks: Any = (), **options: Any) -> cr.Run:
    net = cr.MLP([5, 40, 1], loss="squared_error", backend=backend, seed=seed)
    trainer = cr.Trainer(net, cr.Adam(), batch_size=32, epochs=epochs, seed=seed, callbacks=callbacks, **options)
    return trainer.fit(*rows())


def meeting() -> Callable[[], None]:
    """What two threads have to call before either of them goes on; it fails if only one ever does."""
    barrier = threading.Barrier(2, timeout=20)
    return lambda: barrier.wait() and None


def threads_of(backend: cr.Backend, tasks: int = 4, **options: Any) -> set[int]:
    """Which threads run tasks, of which each leaves time for the others."""

    def task() -> int:
        time.sleep(0.05)
        return threading.get_ident()

    return set(side_by_side([task] * tasks, backend, **options))


def test_two_fits_run_at_the_same_time_with_the_bits_of_a_series(cpu):
    met = meeting()

    def task(seed: int, *, meet: bool) -> bytes:
        if meet:
            met()
        net = cr.MLP([5, 40, 1], loss="squared_error", backend=cpu, seed=seed)
        run = cr.Trainer(net, cr.Adam(), batch_size=32, epochs=5, seed=seed).fit(*rows(), validation=0.2)
        return net.parameter_arena.flat.tobytes() + repr(run.history["valid_loss"]).encode()

    together = side_by_side([lambda seed=seed: task(seed, meet=True) for seed in range(4)], cpu)
    series = side_by_side([lambda seed=seed: task(seed, meet=False) for seed in range(4)], cpu, threads=1)
    assert together == series
    assert len(set(together)) == 4


def test_threads_1_is_in_series_in_the_thread_that_asks(cpu):
    assert threads_of(cpu, threads=1) == {threading.get_ident()}
    assert len(threads_of(cpu)) == 2
    assert len(threads_of(cpu, threads=3)) == 3


def test_a_backend_whose_fits_would_wait_for_each_other_has_them_in_series(cpu):
    for backend in (NumPyBackend(), cr.GuardedBackend()):
        assert threads_of(backend) == {threading.get_ident()}


def test_a_group_within_a_group_is_in_series(cpu):
    inner = side_by_side([lambda: threads_of(cpu)] * 2, cpu)
    assert [len(found) for found in inner] == [1, 1]


def test_short_memory_puts_fits_in_series(cpu, monkeypatch):
    monkeypatch.setattr(module, "free_host_memory", lambda: 1000)
    assert len(threads_of(cpu, bytes_each=250)) == 2
    assert threads_of(cpu, bytes_each=251) == {threading.get_ident()}
    assert threads_of(cpu, bytes_each=5000) == {threading.get_ident()}


def test_bytes_of_a_fit_are_no_less_than_its_rows_and_parameters(cpu):
    net = cr.MLP([50, 400, 1], backend=cpu, loss="squared_error", dtype="float32")
    assert bytes_of_fit(net, 10_000) > 4 * (2 * 50 * 10_000 + 4 * net.parameter_arena.layout.size)
    assert bytes_of_fit(net, 20_000) > 1.5 * bytes_of_fit(net, 10_000)


def test_products_have_one_thread_before_and_after_the_steps_too(cpu):
    """Else their bits would depend on whether another fit has set that number."""
    if not can_limit():
        pytest.skip("the number of BLAS's threads cannot be set")
    threadpoolctl = pytest.importorskip("threadpoolctl", reason="threadpoolctl is not installed")

    def number() -> list[int]:
        return [one["num_threads"] for one in threadpoolctl.threadpool_info() if "numpy.libs" in one["filepath"]]

    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = number()
        assert [1] * len(before) == side_by_side([number], cpu)[0]
        assert side_by_side([number] * 2, cpu) == [[1] * len(before)] * 2
        assert number() == before


def test_results_are_told_in_order_in_the_thread_that_asks(cpu):
    first_may_end, told = threading.Event(), []

    def slow() -> str:
        assert first_may_end.wait(20)
        return "slow"

    def quick() -> str:
        first_may_end.set()
        return "quick"

    found = side_by_side(
        [slow, quick, quick], cpu, on_end=lambda *result: told.append((*result, threading.get_ident()))
    )
    assert found == ["slow", "quick", "quick"]
    assert told == [(i, found[i], threading.get_ident()) for i in range(3)]


def test_the_settings_of_numpy_for_the_thread_that_asks_are_those_of_all(cpu):
    with np.errstate(over="raise"):
        assert {found["over"] for found in side_by_side([np.geterr] * 3, cpu)} == {"raise"}


def test_an_error_in_one_fit_stops_the_others_and_is_raised(cpu):
    met, runs, told = meeting(), [], []

    def endless() -> None:
        met()
        runs.append(fit(cpu, epochs=FOREVER))

    def failing() -> None:
        met()
        raise RuntimeError("no net")

    with pytest.raises(RuntimeError, match="no net"):
        side_by_side([endless, failing, endless], cpu, on_end=lambda *result: told.append(result))
    assert [run.stopped for run in runs] == ["interrupted"], "and the third was never begun"
    assert told == [], "a fit that was stopped has no result"


def test_an_error_of_on_end_stops_the_others_and_is_raised(cpu):
    met, runs = meeting(), []

    def endless() -> None:
        met()
        runs.append(fit(cpu, epochs=FOREVER))

    def refuse(number: int, result: Any) -> None:
        raise OSError("no room")

    with pytest.raises(OSError, match="no room"):
        side_by_side([met, endless], cpu, on_end=refuse)
    assert [run.stopped for run in runs] == ["interrupted"]


@pytest.mark.parametrize("optimizer", [cr.Adam(), cr.LBFGS(max_iterations=FOREVER, tolerance=0)], ids=["adam", "lbfgs"])
def test_ctrl_c_stops_all_fits(cpu, optimizer):
    if isinstance(optimizer, cr.LBFGS):
        pytest.importorskip("scipy", reason="SciPy is not installed")
    runs, begun = [], meeting()

    def endless() -> None:
        net = cr.MLP([5, 40, 1], loss="squared_error", backend=cpu)
        trainer = cr.Trainer(net, optimizer, batch_size=32, epochs=FOREVER, callbacks=[once])
        runs.append(trainer.fit(*rows()))

    def once(record: cr.EpochRecord) -> None:
        if record.epoch == 1:
            begun()
            if threading.get_ident() == threads[0]:
                os.kill(os.getpid(), signal.SIGINT)

    threads: list[int] = []

    def first() -> None:
        threads.insert(0, threading.get_ident())
        endless()

    with pytest.raises(KeyboardInterrupt):
        side_by_side([first, endless, endless], cpu)
    assert [run.stopped for run in runs] == ["interrupted", "interrupted"]


def test_where_no_thread_can_be_started_they_are_in_series(cpu, monkeypatch):
    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    assert threads_of(cpu) == {threading.get_ident()}


def test_a_warning_that_is_an_error_is_raised_from_any_thread(cpu):
    met = meeting()

    def warn() -> None:
        met()
        warnings.warn("too few rows", UserWarning, stacklevel=1)

    with pytest.raises(UserWarning, match="too few rows"):
        side_by_side([warn, met], cpu)
