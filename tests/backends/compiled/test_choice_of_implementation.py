"""Which implementation computes a fit: chosen by its work before the first step, and said afterwards."""

from __future__ import annotations

import itertools
import math
import types
from collections.abc import Iterator

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.compiled import fits, loading
from chainrule.backends.compiled.state import LOOPS, Loops
from chainrule.backends.contract.work import Work
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.train.work import work_of
from chainrule.verify.explain import random_rows

pytest.importorskip("numba", reason="numba is not installed")


@pytest.fixture(autouse=True)
def fresh(monkeypatch) -> Iterator[None]:
    """The loops as they are in a process that has just begun, and afterwards as they were."""
    monkeypatch.delenv("CHAINRULE_COMPILED", raising=False)
    before = dict(vars(LOOPS))
    vars(LOOPS).update(vars(Loops()))
    yield
    vars(LOOPS).update(before)


SHORT, LONG = Work(100, 30, 1e5, 1e5, 1e4), Work(100_000, 30, 1e5, 1e5, 1e4)


@pytest.fixture
def kept(monkeypatch) -> None:
    """Loops that an earlier process has compiled."""
    monkeypatch.setattr(loading.loop_cache, "has_loops", lambda: True)


def test_a_fit_loads_them_before_its_first_step_by_its_work(kept):
    assert loading.seconds_in_numpy(SHORT) < loading.LOADING < loading.seconds_in_numpy(LONG) < loading.COMPILING
    backend = compiled.CompiledBackend()
    with backend.fitting(SHORT):
        assert not LOOPS.is_loaded
    with backend.fitting(LONG):
        assert LOOPS.is_loaded


def test_a_fit_that_would_have_to_compile_them_is_longer(monkeypatch):
    monkeypatch.setattr(loading.loop_cache, "has_loops", lambda: False)
    backend = compiled.CompiledBackend()
    with backend.fitting(LONG):
        assert not LOOPS.is_loaded
    with backend.fitting(LONG._replace(steps=10 * LONG.steps)):
        assert LOOPS.is_loaded


def test_many_short_fits_load_them_by_their_work(kept):
    backend, count = compiled.CompiledBackend(), 0
    while not LOOPS.is_loaded:
        with backend.fitting(SHORT):
            count += 1
    assert count == math.ceil(loading.LOADING / loading.seconds_in_numpy(SHORT))


def seconds_pass(monkeypatch: pytest.MonkeyPatch, each: float) -> None:
    """Whenever fits ask for the time, so many have passed."""
    clock = itertools.count()
    monkeypatch.setattr(fits, "time", types.SimpleNamespace(perf_counter=lambda: each * next(clock)))


def test_predictions_load_them_by_the_time_spent(kept, monkeypatch):
    backend = compiled.CompiledBackend()
    seconds_pass(monkeypatch, 0.6 * loading.LOADING)
    for is_loaded in (False, True):
        with backend.running():
            pass
        assert LOOPS.is_loaded is is_loaded


def test_the_time_of_fits_and_of_what_is_within_counts_once(kept, monkeypatch):
    backend = compiled.CompiledBackend()
    seconds_pass(monkeypatch, 10 * loading.LOADING)
    with fits.time_outside() as outside, backend.fitting(SHORT):
        for _ in range(3):
            with backend.running():  # the rows that validate it
                pass
    assert not LOOPS.is_loaded
    assert outside.seconds == pytest.approx(20 * loading.LOADING)  # before the fit, and after it
    with fits.time_outside() as outside:
        with fits.time_outside() as inner:
            pass
        assert inner.seconds == pytest.approx(10 * loading.LOADING)
    assert outside.seconds == pytest.approx(20 * loading.LOADING)


@pytest.mark.parametrize(
    ("widths", "batch_size", "loss", "per_step"),
    [  # microseconds that a step takes NumPy on one core, about: measured on a Xeon of 2023
        ([100, 200, 10], 32, "squared_error", 120),
        ([64, 100, 10], 200, "softmax_cross_entropy", 195),
        ([32, 256, 256, 256, 1], 256, "squared_error", 2350),
        ([784, 512, 512, 10], 128, "softmax_cross_entropy", 4900),
    ],
)
def test_the_estimate_is_about_what_was_measured(widths, batch_size, loss, per_step):
    trainer = cr.Trainer(cr.MLP(widths, loss=loss), batch_size=batch_size, epochs=1)
    work = work_of(trainer.net, trainer.settings, batch_size)
    assert per_step / 2 < 1e6 * loading.seconds_in_numpy(work) < per_step * 2


def test_work_counts_what_takes_long(rng):
    def numbers(*layers: cr.Layer) -> float:
        trainer = cr.Trainer(cr.Network([*layers, cr.Dense(2)], 4), batch_size=8, epochs=1)
        return work_of(trainer.net, trainer.settings, 80).numbers

    plain = numbers(cr.Dense(50, "relu"))
    assert numbers(cr.Dense(50, "gelu")) > 1.5 * plain
    assert numbers(cr.Dense(50, "relu"), cr.Dropout(0.5)) > 1.5 * plain


def test_steps_that_are_not_recorded_are_said_once():
    with pytest.warns(cr.CompiledLoopsWarning, match="^steps are called one by one: a custom loss has no compiled"):
        runs = [fit_with_custom_loss(compiled.loaded()) for _ in range(2)]
    assert [run.execution["implementation"] for run in runs] == [
        "compiled, called one by one: a custom loss has no compiled loop"
    ] * 2


def fit_with_custom_loss(backend: cr.Backend) -> cr.Run:
    loss = cr.CustomLoss("half", lambda xp, z, t: ((z - t) ** 2).sum(axis=1) / 2, lambda xp, z, t: z - t)
    net = cr.MLP([3, 4, 1], loss=loss, backend=backend)
    return cr.Trainer(net, epochs=1).fit(np.ones((9, 3)), np.ones((9, 1)))


def test_a_run_says_how_it_was_computed():
    def execution(backend: cr.Backend, widths: list[int], **options: int) -> dict[str, str | int]:
        net = cr.MLP(widths, backend=backend)
        X, y = random_rows(net, 512, np.random.default_rng(0))
        return cr.Trainer(net, batch_size=256, epochs=1, **options).fit(X, y).execution

    short = [8, 4, 2]
    assert execution(compiled.CompiledBackend(), short)["implementation"].startswith("NumPy: the fit is shorter")
    assert execution(NumPyBackend(), short)["implementation"] == "NumPy"
    assert execution(cr.GuardedBackend(), short) == {"implementation": "guarded"}
    recorded = {"implementation": "compiled, recorded steps", "blas threads": 1}
    backend = compiled.loaded()
    assert execution(backend, short, threads=2) == {**recorded, "threads": 1}
    assert execution(backend, [64, 256, 256, 4], threads=2) == {**recorded, "threads": 2}
    assert execution(backend, [64, 256, 256, 4], threads=1) == {**recorded, "threads": 1}
    assert backend.execution()["implementation"] == "NumPy"  # outside of fits nothing is said of steps


@pytest.mark.parametrize(("setting", "why"), [("0", "CHAINRULE_COMPILED=0"), ("", "numba is not installed")])
def test_numpy_alone_says_why(monkeypatch, setting, why):
    monkeypatch.setenv("CHAINRULE_COMPILED", setting)
    monkeypatch.setattr(loading, "_is_installed", lambda: False)
    assert cr.backend("cpu").execution()["implementation"] == f"NumPy: {why}"
