"""Predictions whose steps are recorded: the bits of NumPy, whichever call it is and however many threads there are."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import chainrule as cr

pytest.importorskip("numba", reason="numba is not installed")

from chainrule.backends.compiled import backend as compiled
from chainrule.backends.compiled import kept_step, programs
from chainrule.backends.compiled.kept_step import KeptStep
from chainrule.backends.numpy.backend import NumPyBackend

N, N_IN = 500, 6
X = np.random.default_rng(0).normal(size=(N, N_IN))
STANDARD = cr.Standardization(np.full(3, 1e6), np.array([1.0, 1e-3, 20.0]))
OWN = cr.CustomActivation("square", lambda _, z: z * z, lambda _, z: 2 * z)
HIDDEN = {
    "dense": lambda: [cr.Dense(64, "gelu"), cr.Dense(64, "relu")],
    "encoded": lambda: [cr.PiecewiseLinear.fit(X, bins=8), cr.Scale(), cr.Dense(64, "silu")],
    "normalised": lambda: [cr.Dense(64), cr.BatchNorm(), cr.Activation("tanh"), cr.Dropout(0.5), cr.LayerNorm()],
}
LOSSES = ["softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error", "poisson", "gaussian_nll", "quantile"]


@pytest.fixture
def recorded(monkeypatch) -> list[int]:
    """Into how many parts each step is divided that is recorded."""
    parts: list[int] = []
    program = programs.StepRecorder.program

    def counted(self, launches):
        made = program(self, launches)
        parts.append(made.parts)
        return made

    monkeypatch.setattr(programs.StepRecorder, "program", counted)
    return parts


def net_of(backend, hidden, loss, *, dtype="float32", members=1) -> cr.Network:
    loss = cr.Quantile([0.1, 0.5, 0.9]) if loss == "quantile" else loss
    outputs = {"gaussian_nll": 6, "softmax_cross_entropy": 3, "sigmoid_cross_entropy": 3}.get(loss, 3)
    net = cr.Network(
        [*HIDDEN[hidden](), cr.Dense(outputs)], N_IN, loss=loss, backend=backend, dtype=dtype, members=members
    )
    if loss in {"squared_error", "gaussian_nll"}:
        net.preparation = cr.Preparation(cr.Standardization.fit(X, limit=3.0), STANDARD)
    return net


def answers(net: cr.Network, rows: np.ndarray) -> list[np.ndarray]:
    found = [net.predict(rows)]
    if net.loss.task != "regress":
        found.append(net.predict_proba(rows))
    if net.loss_name == "gaussian_nll":
        found += net.predict_distribution(rows)
    return found


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_recorded_predictions_have_the_bits_of_called_ones(monkeypatch, recorded, loss, hidden):
    """In parts too, with a ragged last one of another length. A fused encoding has other bits than NumPy's."""
    for price in ("LEAST_COST", "LEAST_GAIN", "BARRIER"):
        monkeypatch.setattr(programs, price, 0)
    monkeypatch.setattr(compiled, "_threads", lambda: 2)
    monkeypatch.setattr(cr.Network, "evaluation_rows", lambda _, n: min(n, 200))
    for dtype, members in (("float32", 1), ("float64", 3)):

        def found(backend, dtype=dtype, members=members):
            return answers(net_of(backend, hidden, loss, dtype=dtype, members=members), X)

        recorded.clear()
        called = found(compiled.loaded() if hidden == "encoded" else NumPyBackend())
        assert not recorded
        with monkeypatch.context() as changed:
            changed.setattr(kept_step, "RECORDING", 0)
            for want, got in zip(called, found(compiled.loaded()), strict=True):
                np.testing.assert_array_equal(got, want, strict=True)
        assert set(recorded) == {2}


@pytest.mark.parametrize("rows", [X[:3], (X[:3] * 10).astype(np.int8), X[:3].astype(np.float32)])
def test_every_call_has_the_same_bits(monkeypatch, recorded, rows):
    monkeypatch.setattr(kept_step, "CALLS", 3)
    net, of_numpy = (net_of(backend, "dense", "poisson") for backend in (compiled.loaded(), NumPyBackend()))
    found = [net.predict(rows * scale) for _ in range(3) for scale in (1, 2)]
    assert len(recorded) == 1
    for scale in (1, 2):
        want = of_numpy.predict(rows * scale)
        for got in found[scale - 1 :: 2]:
            np.testing.assert_array_equal(got, want)


def test_recorded_predictions_follow_the_parameters(monkeypatch, recorded):
    monkeypatch.setattr(kept_step, "RECORDING", 0)
    net = net_of(compiled.loaded(), "normalised", "squared_error")
    for _ in range(2):
        cr.Trainer(net, epochs=1, batch_size=50).fit(X, X[:, :3])
        recorded.clear()
        got = net.predict(X[:4])
        fresh = net.copy(backend=NumPyBackend())
        fresh.preparation = net.preparation
        np.testing.assert_array_equal(got, fresh.predict(X[:4]))


def test_what_cannot_be_recorded_is_called(monkeypatch, recorded):
    monkeypatch.setattr(kept_step, "RECORDING", 0)
    net, of_numpy = (
        cr.Network([cr.Dense(4), OWN, cr.Dense(2)], N_IN, loss="squared_error", backend=backend)
        for backend in (compiled.loaded(), NumPyBackend())
    )
    for _ in range(3):
        np.testing.assert_array_equal(net.predict(X), of_numpy.predict(X))
    assert not recorded


def test_an_error_on_the_way_is_raised():
    def fails(x, out):
        raise MemoryError

    with pytest.raises(MemoryError):
        KeptStep(fails, operations=1e12, threads=lambda: 1)(X, X.copy())


def test_several_threads_predict_many_rows_with_one_net(monkeypatch):
    monkeypatch.setattr(kept_step, "RECORDING", 0)
    net = net_of(compiled.loaded(), "dense", "softmax_cross_entropy")
    rows = [np.random.default_rng(i).normal(size=(100 + i, N_IN)) for i in range(4)]
    want, wrong = [net_of(NumPyBackend(), "dense", "softmax_cross_entropy").predict_proba(x) for x in rows], []

    def work(i: int) -> None:
        for _ in range(50):
            if not np.array_equal(net.predict_proba(rows[i]), want[i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong
