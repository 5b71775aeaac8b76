"""Recordings: what is asked for in the midst of one, and arguments that no loop may be called with."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.capture.captured_step import NotRecordableError
from chainrule.backends.capture.division import divide
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.compiled import calls
from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.numpy import blas
from chainrule.backends.numpy.backend import NumPyBackend

pytest.importorskip("numba", reason="numba is not installed")


def trained(backend: cr.Backend) -> tuple[bytes, list[float]]:
    rng = np.random.default_rng(0)
    net = cr.MLP([6, 9, 3], backend=backend, seed=0)
    run = cr.Trainer(net, batch_size=16, epochs=2, seed=0).fit(rng.normal(size=(50, 6)), rng.integers(0, 3, 50))
    return net.parameter_arena.flat.tobytes(), run.history["loss"]


def test_without_a_blas_that_can_be_called_numpy_multiplies(monkeypatch):
    be = compiled.loaded()
    expected = trained(NumPyBackend())
    monkeypatch.setattr(blas, "find", lambda: None)
    monkeypatch.setattr(blas, "problem", lambda: "none was found")
    monkeypatch.setattr(LOOPS, "compiled", set())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", cr.CompiledLoopsWarning)
        assert trained(be) == expected


def test_a_recording_goes_on_after_another_one_in_its_midst():
    be = compiled.loaded()
    state = be.empty((3,), np.int64)

    def step() -> None:
        be.tick(state)
        assert len(calls.record(lambda: be.tick(state), (), {}).launches) == 1
        be.tick(state)

    assert len(calls.record(step, (), {}).launches) == 2


def test_a_prediction_in_the_midst_of_a_recording_is_done():
    """By a signal handler, say."""
    be, X = compiled.loaded(), np.random.default_rng(1).normal(size=(4, 6))
    net = cr.MLP([6, 9, 3], backend=be, seed=0)
    expected, state, found = net.predict_proba(X).tolist(), be.empty((3,), np.int64), []

    def step() -> None:
        be.tick(state)
        found.append(net.predict_proba(X).tolist())

    assert len(calls.record(step, (), {}).launches) == 1
    assert found == [expected]


@pytest.mark.parametrize("shapes", [((4, 3), (2, 5), (4, 5)), ((4, 3), (3, 5), (2, 5)), ((4, 1), (1, 5), (4, 6))])
def test_products_of_shapes_that_do_not_fit_are_not_recorded(shapes):
    be = compiled.loaded()
    a, b, out = (be.empty(shape, np.float32) for shape in shapes)
    with pytest.raises(NotRecordableError):
        calls.record(lambda: be.matmul(a, b, out=out), (), {})


def test_sums_that_numpy_would_repeat_numbers_for_are_not_recorded():
    be = compiled.loaded()
    a, b, out = (be.empty(shape, np.float32) for shape in ((4, 3), (3,), (4, 3)))
    with pytest.raises(NotRecordableError):
        calls.record(lambda: be.add(a, b, out=out), (), {})


def test_zeros_of_either_sign_are_two_numbers():
    assert np.signbit(calls.number(-0.0, np.float32)[0])
    assert not np.signbit(calls.number(0.0, np.float32)[0])


def test_memory_with_gaps_between_numbers_is_not_recorded():
    be = compiled.loaded()
    numbers = be.empty((8,), np.float32)[::2]
    with pytest.raises(NotRecordableError):
        calls.record(lambda: be.fill(0.0, out=numbers), (), {})


@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_members_share_no_memory_that_they_would_wait_for(activation, monkeypatch):
    """Two threads do half of the work each."""
    from chainrule.backends.compiled import programs

    be, made = compiled.loaded(), []
    monkeypatch.setattr(programs, "LEAST_COST", 0.0)
    monkeypatch.setattr(programs, "LEAST_GAIN", 0.0)
    monkeypatch.setattr(programs, "divide", lambda *a, **o: made.append(divide(*a, **o)) or made[-1])
    rng = np.random.default_rng(0)
    net = cr.MLP([20, 40, 30, 3], activation=activation, backend=be, members=4, seed=0)
    cr.Trainer(net, batch_size=64, epochs=1, threads=2).fit(rng.normal(size=(128, 20)), rng.integers(0, 3, 128))
    phases = made[0]
    whole = sum(launch.cost for phase in phases.launches for of_thread in phase for launch in of_thread)
    assert phases.cost < 0.65 * whole
