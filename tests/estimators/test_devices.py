"""Arrays of other libraries: what comes in on a device is answered there."""

from __future__ import annotations

import os
import pickle
from typing import Any

import numpy as np
import pytest

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # read when SciPy is imported
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import sklearn
from sklearn import config_context

import chainrule as cr
from chainrule.estimators import fitted_net
from emulation.backend import compiler_problem
from emulation.simulated_cupy import simulated

OPTIONS = {"random_state": 0, "hidden_layer_sizes": (8,), "max_iter": 3}


def data(rng: np.random.Generator, kind: str) -> tuple[str, np.ndarray, Any]:
    X = rng.normal(size=(60, 4))
    y = {
        "two classes": (X[:, 0] > 0).astype(int) + 3,
        "three classes": np.digitize(X[:, 0], [-0.5, 0.5]),
        "names": np.where(X[:, 0] > 0, "yes", "no"),
        "several labels": (X[:, :3] > 0).astype(int),
        "numbers": X[:, 0] - X[:, 1],
        "several numbers": X[:, :2],
    }[kind]
    return "MLPRegressor" if "numbers" in kind else "MLPClassifier", X, y


KINDS = ["two classes", "three classes", "names", "several labels", "numbers", "several numbers"]


# ---- array-api-strict, through scikit-learn's own dispatch ---------------------------------------------------------


@pytest.fixture
def xp():
    strict = pytest.importorskip("array_api_strict", reason="array-api-strict is not installed")
    if tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 7):  # later ones bring it with them
        pytest.importorskip("array_api_compat", reason="scikit-learn 1.6 needs array-api-compat, not installed")
    with config_context(array_api_dispatch=True):
        yield strict


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("device", "dtype"), [("CPU_DEVICE", "float64"), ("device1", "float32")])
def test_arrays_come_back_to_their_device(rng, xp, kind, device, dtype):
    name, X, y = data(rng, kind)
    X, where = X.astype(dtype), xp.Device(device)
    there, targets = xp.asarray(X, device=where), y if kind == "names" else xp.asarray(y, device=where)
    fitted = getattr(cr, name)(**OPTIONS, device="cpu").fit(there, targets)
    plain = getattr(cr, name)(**OPTIONS, device="cpu").fit(X, y)
    methods = ["predict"] if name == "MLPRegressor" else ["predict_proba", "predict_log_proba", "predict"]
    for method in methods:
        said, expected = getattr(fitted, method)(there), getattr(plain, method)(X)
        if expected.dtype.kind == "U":
            np.testing.assert_array_equal(said, expected)
            continue
        assert (type(said), said.device) == (type(there), where)
        host = np.asarray(said.to_device(xp.Device("CPU_DEVICE")))
        assert host.dtype == expected.dtype
        np.testing.assert_array_equal(host, expected)
    assert all(W.device == where for W in [*fitted.coefs_, *fitted.intercepts_])
    assert fitted.score(there, targets) == plain.score(X, y)
    opened = pickle.loads(pickle.dumps(fitted))
    assert type(opened.coefs_[0]) is np.ndarray
    np.testing.assert_array_equal(opened.predict(X), plain.predict(X))


def test_partial_fit_and_rows_held_out_on_a_device(rng, xp):
    _, X, y = data(rng, "two classes")
    where = xp.Device("device1")
    there, targets, weights = (xp.asarray(v, device=where) for v in (X, y, np.arange(60.0)))
    fitted, plain = (cr.MLPClassifier(**OPTIONS, device="cpu", early_stopping=True) for _ in range(2))
    fitted.fit(there, targets, sample_weight=weights, eval_set=(there, targets))
    plain.fit(X, y, sample_weight=np.arange(60.0), eval_set=(X, y))
    assert fitted.history_["valid_loss"] == plain.history_["valid_loss"]
    for each, rows, labels in ((fitted, there, targets), (plain, X, y)):
        each.set_params(early_stopping=False).partial_fit(rows, labels)
    assert fitted.loss_curve_ == plain.loss_curve_


def test_rows_of_another_library_than_at_fit_are_refused(rng, xp):
    pytest.importorskip("sklearn", minversion="1.9", reason="a rule of scikit-learn 1.9")
    _, X, y = data(rng, "numbers")
    fitted = cr.MLPRegressor(**OPTIONS, device="cpu").fit(xp.asarray(X), xp.asarray(y))
    with pytest.raises(ValueError, match="must use the same namespace"):
        fitted.predict(X)


# ---- CuPy, simulated --------------------------------------------------------------------------------------------


@pytest.fixture
def cupy(monkeypatch):
    if problem := compiler_problem():
        pytest.skip(problem)
    with simulated() as module:
        from chainrule.backends.cupy.backend import CuPyBackend

        device = CuPyBackend()
        usual = fitted_net.backend
        monkeypatch.setattr(fitted_net, "backend", lambda name: device if name == "cuda" else usual(name))
        yield module


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "several numbers"])
def test_cupy_in_cupy_out_without_any_setting(rng, cupy, kind):
    """On CUDA, to rounding what the CPU says; nothing of X goes through scikit-learn's own conversion."""
    name, X, y = data(rng, kind)
    there = cupy.asarray(X.astype(np.float32))
    targets = y if kind == "names" else cupy.asarray(y)
    fitted = getattr(cr, name)(**OPTIONS, device="cuda").fit(there, targets)
    assert (fitted.network_.backend.device, str(fitted.network_.dtype)) == ("cuda:0", "float32")
    plain = getattr(cr, name)(**OPTIONS, device="cpu").fit(X.astype(np.float32), y)
    methods = ["predict"] if name == "MLPRegressor" else ["predict_proba", "predict_log_proba", "predict"]
    for method in methods:
        said, expected = getattr(fitted, method)(there), getattr(plain, method)(X.astype(np.float32))
        if expected.dtype.kind == "U":
            assert (said == expected).mean() > 0.95
            continue
        assert type(said) is cupy.ndarray
        assert said.dtype == expected.dtype
        if expected.dtype.kind == "f":
            np.testing.assert_allclose(said.get(), expected, rtol=1e-3, atol=1e-3)
        else:
            assert (said.get() == expected).mean() > 0.95
    assert abs(fitted.score(there, targets) - plain.score(X.astype(np.float32), y)) < 0.05
    with pytest.raises(ValueError, match="X has 3 features, but MLP"):
        fitted.predict(cupy.asarray(X[:, :3]))


def test_cupy_rows_held_out(rng, cupy):
    _, X, y = data(rng, "numbers")
    fitted = cr.MLPRegressor(**OPTIONS, device="cuda", early_stopping=True).fit(cupy.asarray(X), cupy.asarray(y))
    plain = cr.MLPRegressor(**OPTIONS, device="cpu", early_stopping=True).fit(X, y)
    np.testing.assert_allclose(fitted.validation_scores_, plain.validation_scores_, rtol=1e-6)


def test_a_sorted_stream_on_cupy(rng, cupy):
    """The standardisation follows it there as on the CPU."""
    X = np.sort(rng.uniform(0, 1000, (300, 2)), axis=0)
    y = np.sin(X[:, 0] / 200)
    there, plain = (cr.MLPRegressor(**OPTIONS, device=device) for device in ("cuda", "cpu"))
    for part in np.array_split(np.arange(300), 5):
        there.partial_fit(cupy.asarray(X[part]), cupy.asarray(y[part]))
        plain.partial_fit(X[part], y[part])
    for name in ("features", "targets"):
        mine, its = (getattr(m.network_.preparation, name) for m in (there, plain))
        np.testing.assert_array_equal([mine.mean, mine.scale], [its.mean, its.scale])
    np.testing.assert_allclose(mine.mean, y.mean(), rtol=1e-12)
    np.testing.assert_allclose(there.predict(cupy.asarray(X)).get(), plain.predict(X), rtol=1e-6)
