"""L-BFGS through SciPy: minima that are known in closed form, and a trainer around it."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.evaluation import Evaluator
from chainrule.optim.lbfgs import LBFGS

pytest.importorskip("scipy", reason="SciPy is not installed")

N, N_IN, N_OUT = 80, 4, 2


@pytest.fixture
def rows(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    X = rng.normal(size=(N, N_IN))
    y = X @ rng.normal(size=(N_IN, N_OUT)) + rng.normal(size=(N, N_OUT))
    return X, y, rng.uniform(0, 2, N)


def linear(backend: cr.Backend | None = None, **options: Any) -> cr.MLP:
    return cr.MLP([N_IN, N_OUT], **({"loss": "squared_error", "backend": backend, "dtype": "float64"} | options))


def ridge(X: np.ndarray, y: np.ndarray, w: np.ndarray, decay: float) -> np.ndarray:
    """The minimum of sum_i w_i |x_i W + b - y_i|^2 / (sum w N_OUT) + decay / 2 |W|^2: W, then b as the last row."""
    X1 = np.column_stack([X, np.ones(len(X))])
    scale = 2 / (w.sum() * N_OUT)
    penalty = decay * np.diag([1.0] * N_IN + [0.0])
    return np.linalg.solve(scale * X1.T @ (w[:, None] * X1) + penalty, scale * X1.T @ (w[:, None] * y))


@pytest.mark.parametrize("decay", [0.0, 0.3])
@pytest.mark.parametrize("weighted", [True, False])
def test_lbfgs_finds_the_ridge_regression(backend, rows, weighted, decay):
    """The closed form, on every backend: decay of W and not of b, row weights, the mean over outputs."""
    X, y, w = rows
    net = linear(backend)
    optimizer = cr.LBFGS(weight_decay=decay, tolerance=1e-10)
    run = cr.Trainer(net, optimizer).fit(X, y, sample_weight=w if weighted else None)
    want = ridge(X, y, w if weighted else np.ones(N), decay)
    found = net.parameter_arena.download()
    np.testing.assert_allclose(found["dense0.W"], want[:-1], rtol=1e-7)
    np.testing.assert_allclose(found["dense0.b"], want[-1], rtol=1e-7)
    assert run.stopped == "completed"
    assert run.history.epochs == run.steps < 40


def test_a_net_in_float32_ends_as_near_as_float32_allows(rows):
    X, y, _ = rows
    net = linear(dtype="float32")
    cr.Trainer(net, cr.LBFGS(weight_decay=0.1)).fit(X, y)
    assert net.parameter_arena.flat.dtype == np.float32
    np.testing.assert_allclose(net.parameters()["dense0.W"], ridge(X, y, np.ones(N), 0.1)[:-1], atol=1e-3)


def test_lbfgs_ends_at_the_tolerance_of_the_gradient(rng):
    """A net with a hidden layer: every |df/dW| is below the tolerance, and an Adam that began there would not move."""
    X = rng.normal(size=(60, 3))
    y = np.tanh(X @ rng.normal(size=(3, 2))).argmax(axis=1)
    net, decay, tolerance = cr.MLP([3, 5, 2], activation="tanh", dtype="float64", seed=1), 0.01, 1e-6
    cr.Trainer(net, cr.LBFGS(500, weight_decay=decay, tolerance=tolerance)).fit(X, y)
    _, gradients = net.loss_and_gradients(X, y)
    for name, gradient in gradients.items():
        penalty = decay * net.parameters()[name] if name.endswith(".W") else 0
        assert np.abs(gradient + penalty).max() <= tolerance, name


def test_lbfgs_history_is_of_the_weights_after_each_iteration(rows):
    """Loss, metric and validation of one set of weights: those that a callback is shown."""
    X, y, w = rows
    net, seen = linear(), []
    trainer = cr.Trainer(net, cr.LBFGS(6), callbacks=[lambda record: seen.append(record.net.copy())])
    run = trainer.fit(X[:60], y[:60], sample_weight=w[:60], validation=(X[60:], y[60:]))
    assert run.history.epochs == len(seen) == 6
    for i, (copied, data) in enumerate((t, d) for t in seen for d in ("train", "valid")):
        part = (X[:60], y[:60], w[:60]) if data == "train" else (X[60:], y[60:])
        prefix = "" if data == "train" else "valid_"
        for name, value in Evaluator(copied, copied.upload_rows(*part))().items():
            if data == "train" and name == "r2":
                assert "r2" not in run.history, "of several targets it is recorded of validation rows alone"
                continue
            assert run.history[prefix + name][i // 2] == pytest.approx(value, rel=1e-12)
    best = int(np.argmin(run.history["valid_loss"]))
    assert run.best_epoch == best + 1
    np.testing.assert_array_equal(net.parameter_arena.flat, seen[best].parameter_arena.flat)


def test_lbfgs_max_evaluations_ends_it_without_convergence(rows):
    X, y, _ = rows
    passes = []

    class Counted(cr.LBFGS):
        def minimize(self, function: Any, start: np.ndarray, **options: Any) -> bool:
            return super().minimize(lambda point: passes.append(0) or function(point), start, **options)

    whole = cr.Trainer(linear(), Counted(tolerance=1e-10)).fit(X, y)
    needed = len(passes)
    assert whole.converged
    assert whole.history.epochs > 4
    passes.clear()
    cut = cr.Trainer(linear(), Counted(tolerance=1e-10, max_evaluations=4)).fit(X, y)
    assert cut.converged is False
    assert 4 <= len(passes) <= 6 < needed
    assert cut.history["loss"] == whole.history["loss"][: cut.history.epochs]
    assert cr.Trainer(linear(), cr.LBFGS(2)).fit(X, y).converged is False
    stopped = cr.Trainer(linear(), cr.LBFGS(), callbacks=[lambda record: record.stop()]).fit(X, y)
    assert (stopped.stopped, stopped.converged) == ("callback", False)
    assert cr.Trainer(linear(), cr.SGD(), epochs=1).fit(X, y).converged is None


def test_lbfgs_with_early_stopping_and_interruption(rows):
    X, y, _ = rows
    stopping = cr.EarlyStopping(patience=2, min_delta=10.0)
    run = cr.Trainer(linear(), cr.LBFGS(), early_stopping=stopping).fit(X, y, validation=0.2)
    assert (run.stopped, run.history.epochs, run.best_epoch) == ("early", 3, 1)
    net, seen = linear(), []

    def stop(record: cr.EpochRecord) -> None:
        seen.append(record.net.parameter_arena.flat.copy())
        if record.epoch == 2:
            trainer.stop()

    trainer = cr.Trainer(net, cr.LBFGS(), callbacks=[stop])
    assert trainer.fit(X, y).stopped == "interrupted"
    assert len(seen) == 2
    np.testing.assert_array_equal(net.parameter_arena.flat, seen[1])


def test_lbfgs_cut_short_in_a_line_search_keeps_the_last_iteration(monkeypatch, rows):
    def minimize(self: cr.LBFGS, function: Any, start: np.ndarray, *, after_iteration: Any, **_: Any) -> None:
        after_iteration(start + 1)
        function(start + 2)
        raise KeyboardInterrupt

    monkeypatch.setattr(cr.LBFGS, "minimize", minimize)
    net = linear()
    before = net.parameter_arena.download()["dense0.W"]
    run = cr.Trainer(net, cr.LBFGS()).fit(*rows[:2])
    assert (run.stopped, run.history.epochs) == ("interrupted", 1)
    np.testing.assert_array_equal(net.parameters()["dense0.W"], before + 1)


def test_lbfgs_with_frozen_parameters(rows):
    X, y, _ = rows
    net = linear(seed=3)
    before = net.parameter_arena.download()["dense0.W"]
    cr.Trainer(net, cr.LBFGS(groups=[cr.ParameterGroup("*.W", lr_factor=0.0)], tolerance=1e-10)).fit(X, y)
    np.testing.assert_array_equal(net.parameters()["dense0.W"], before)
    np.testing.assert_allclose(net.parameters()["dense0.b"], (y - X @ before).mean(axis=0), rtol=1e-6)


def test_a_loss_that_is_not_finite(rows):
    X, y, _ = rows
    net = linear(dtype="float32")
    before = net.parameter_arena.download()
    with pytest.raises(cr.DivergenceError, match="L-BFGS diverged in iteration 1: the loss is inf") as caught:
        cr.Trainer(net, cr.LBFGS()).fit(X, 1e30 * y)
    assert (caught.value.step, caught.value.epoch, caught.value.run.steps) == (0, 1, 0)
    np.testing.assert_equal(net.parameter_arena.download(), before)


WRONG = [
    ({"max_iterations": 0}, {}, r"max_iterations: expected .*, got 0"),
    ({"tolerance": -1.0}, {}, r"tolerance: expected .*, got -1.0"),
    ({"memory": 0}, {}, r"memory: expected .*, got 0"),
    ({"max_evaluations": 0}, {}, r"max_evaluations: expected .*, got 0"),
    ({"weight_decay": -1.0}, {}, r"weight_decay: expected .*, got -1.0"),
    ({}, {"ema": 0.9}, r"ema: expected None with LBFGS, .*, got 0.9"),
    ({}, {"accumulate": 2}, r"accumulate: expected 1 with LBFGS, .*, got 2"),
    ({}, {"stream": True}, r"stream: expected None with LBFGS, .*, got True"),
]


@pytest.mark.parametrize(("options", "trainer", "message"), WRONG, ids=[message for *_, message in WRONG])
def test_wrong_options(options, trainer, message):
    with pytest.raises(cr.OptionError, match=message):
        cr.Trainer(linear(), cr.LBFGS(**options), **trainer)


def test_lbfgs_takes_no_learning_rate(rows):
    for name in ("lr", "clip_norm"):
        with pytest.raises(TypeError, match=name):
            cr.LBFGS(**{name: 1.0})
    groups = [cr.ParameterGroup("*", lr_factor=0.5)]
    with pytest.raises(cr.OptionError, match=r"lr_factor: expected 0 or 1 with LBFGS, .*, got 0.5"):
        cr.Trainer(linear(), cr.LBFGS(groups=groups)).fit(*rows[:2])
    assert LBFGS(7).max_iterations == 7


def test_lbfgs_without_scipy_is_refused(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy.optimize", None)
    with pytest.raises(cr.OptionError, match="LBFGS needs SciPy, which is not installed") as caught:
        cr.Trainer(linear(), cr.LBFGS())
    assert "chainrule[scipy]" in caught.value.hint


def test_scipy_is_not_imported_before_it_is_asked_for():
    code = "import sys, chainrule as cr; cr.LBFGS(); sys.exit('scipy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
