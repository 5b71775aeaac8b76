"""A column that never changed in training has weights that nothing was learnt for: another value changes nothing."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.cli.main import main
from pairwise import pairwise

pd = pytest.importorskip("pandas", reason="pandas is not installed")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FEW = {"hidden_layer_sizes": 8, "max_iter": 4, "random_state": 0, "device": "cpu"}
OTHERS = [2030.0, -1e300, 5e-324, np.finfo(np.float64).max]
FITS: dict[str, dict[str, Any]] = {
    "adam": {},
    "sgd": {"solver": "sgd", "learning_rate_init": 0.1},
    "sgd, adaptive": {"solver": "sgd", "learning_rate": "adaptive"},
    "sgd, invscaling": {"solver": "sgd", "learning_rate": "invscaling"},
    "lbfgs": {"solver": "lbfgs"},
    "no decay": {"weight_decay": 0.0, "alpha": 0.0},
    "float32": {"dtype": "float32"},
    "early stopping": {"early_stopping": True},
    "batch normalisation": {"normalization": "batch"},
    "layer normalisation": {"normalization": "layer"},
    "no shrinking": {"shrink": False},
}


def rows(rng: np.random.Generator, n: int = 120) -> tuple[Any, np.ndarray]:
    frame = pd.DataFrame({"x": rng.normal(size=n), "year": 2024.0, "z": rng.normal(size=n)})
    return frame, np.asarray(3 * frame.x + frame.z)


@pairwise(fit=FITS, kind=["frame", "array", "hole", "text"], task=["regress", "classify"])
def test_another_value_changes_no_prediction(rng, fit, kind, task):
    frame, y = rows(rng)
    if kind == "hole":
        frame.loc[2, "z"] = np.nan
    if kind == "text":
        frame["text"] = "a"
    take = (lambda f: f.to_numpy()) if kind == "array" else (lambda f: f)
    options = {**FEW, **FITS[fit]}
    if task == "regress":
        ask = cr.MLPRegressor(**options).fit(take(frame), y).predict
    else:
        ask = cr.MLPClassifier(**options).fit(take(frame), y > 0).predict_proba
    want = ask(take(frame))
    for other in OTHERS:
        np.testing.assert_array_equal(ask(take(frame.assign(year=other))), want)
    if kind == "text":
        np.testing.assert_array_equal(ask(frame.assign(text="b")), want)


@pytest.mark.parametrize("kind", ["eval_set", "weights of 0", "held out", "folds"])
def test_a_column_that_changes_only_where_nothing_is_learnt(rng, kind):
    """In held-out rows, and in rows of weight 0."""
    frame, y = rows(rng, 200)
    reg, weights = cr.MLPRegressor(**FEW, early_stopping=kind == "held out"), None
    if kind == "weights of 0":
        frame.loc[:20, "year"], weights = 1999.0, np.r_[np.zeros(21), np.ones(179)]
    if kind == "held out":
        # The split is that of the seed: a column that changes in one row of it, whichever that is.
        found = []
        for row in range(len(frame)):
            changed = frame.assign(year=np.where(np.arange(200) == row, 2030.0, 2024.0))
            reg.fit(changed, y)
            if reg.network_.preparation.features.is_constant[1]:
                found.append(np.abs(reg.predict(frame) - reg.predict(frame.assign(year=2030.0))).max())
            if len(found) == 2:
                break
        assert found == [0, 0]
        return
    if kind == "eval_set":
        reg.fit(frame, y, eval_set=(frame.assign(year=rng.normal(size=200)), y))
    elif kind == "folds":  # a row whose fold alone has another value: the others must not be thrown off by it
        frame.loc[7, "year"] = 1e9
        assert reg.fit(frame, y).score(frame, y) > 0
        return
    else:
        reg.fit(frame, y, sample_weight=weights)
    np.testing.assert_array_equal(reg.predict(frame), reg.predict(frame.assign(year=1e9)))


@pytest.mark.parametrize("kind", ["partial_fit", "warm_start"])
def test_a_column_that_changes_in_a_later_fit_is_learnt_from(rng, kind):
    """And a target that was constant so far."""
    frame, _ = rows(rng, 200)
    year = 2024 + rng.integers(0, 9, 200)
    reg = cr.MLPRegressor(**{**FEW, "max_iter": 60, "learning_rate_init": 0.02}, warm_start=kind == "warm_start")
    fit = reg.partial_fit if kind == "partial_fit" else reg.fit
    fit(frame, np.full(200, 5.0))
    assert (reg.predict(frame.assign(year=year)) == 5).all()
    y = 100.0 * (year - 2024)
    for _ in range(60 if kind == "partial_fit" else 1):
        fit(frame.assign(year=year), y)
    assert reg.score(frame.assign(year=year), y) > 0.5


def test_a_column_of_holes_alone(rng):
    frame, y = rows(rng)
    frame["year"] = np.nan
    reg = cr.MLPRegressor(**FEW).fit(frame, y)
    np.testing.assert_array_equal(reg.predict(frame), reg.predict(frame.assign(year=2030.0)))


FITTED = {"standard": cr.Standardization.fit, "robust": cr.Standardization.fit_robust}


@pytest.mark.parametrize("way", FITTED)
@pytest.mark.parametrize("limit", [3.0, np.inf])
@pytest.mark.parametrize("kind", ["float64", "float32", "float16", "uint8"])
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("optimizer", [lambda: cr.SGD(0.1), lambda: cr.AdamW(0.01)], ids=["sgd", "adamw"])
@pytest.mark.parametrize("implementation", ["numpy", "guarded"])
def test_a_trainer_with_a_standardisation(rng, way, limit, kind, stream, optimizer, implementation):
    """Also if narrow numbers are standardised batch by batch."""
    X = rng.integers(0, 100, (60, 3)).astype(kind)
    X[:, 1] = 7
    backend = cr.GuardedBackend() if implementation == "guarded" else cr.backend("cpu")
    net = cr.MLP([3, 6, 2], backend=backend)
    net.preparation = cr.Preparation(FITTED[way](X, limit=limit))
    cr.Trainer(net, optimizer(), epochs=2, batch_size=16, stream=stream).fit(X, (X[:, 0] > 50).astype(int))
    other = X.copy()
    other[:, 1] = [0, 250, 3] * 20
    np.testing.assert_array_equal(net.predict_proba(X), net.predict_proba(other))
    assert np.isfinite(np.asarray(net.predict_proba(other))).all()


# ---- files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scaling", ["standard", "robust"])
def test_the_command_and_its_files(rng, tmp_path, monkeypatch, capsys, scaling):
    monkeypatch.chdir(tmp_path)
    frame, y = rows(rng)
    frame["hole"] = np.nan
    frame.assign(y=y).to_csv("a.csv", index=False)
    options = ["--scaling", scaling, "--epochs", "3", "--run-dir", "run", "--device", "cpu"]
    assert main(["train", "a.csv", "--target", "y", *options]) == 0
    said = []
    for year, hole in ((2024.0, np.nan), (2030.0, 5.0), (-1e300, np.nan)):
        frame.assign(year=year, hole=hole).to_csv("new.csv", index=False)
        capsys.readouterr()
        assert main(["predict", "run", "new.csv"]) == 0
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] == said[2]
    assert main(["show", "run/model.safetensors"]) == 0
    assert "3 constant in training" in capsys.readouterr().out  # the year, the holes, and that they are holes
    assert main(["show", "run/model.safetensors", "--json"]) == 0
    json.loads(capsys.readouterr().out)
    assert main(["evaluate", "run", "a.csv", "--json"]) == 0
    json.loads(capsys.readouterr().out)


@pytest.mark.parametrize("limit", [3.0, np.inf])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_model_file_and_an_onnx_file(rng, tmp_path, limit, dtype):
    X = np.c_[rng.normal(size=(80, 2)), np.full(80, 2024.0)]
    net = cr.MLP([3, 6, 2], loss="squared_error", dtype=dtype)
    targets = cr.Standardization.fit(np.c_[X[:, 0], np.full(80, 0.1)])
    net.preparation = cr.Preparation(cr.Standardization.fit(X, limit=limit), targets)
    net.save(tmp_path / "model")
    opened = cr.load(tmp_path / "model", device="cpu")
    assert opened.preparation.features.is_constant.tolist() == [False, False, True]
    other = X.copy()
    other[:, 2] = np.resize(OTHERS, 80)
    want = net.predict(X)
    assert (want[:, 1] == 0.1).all()
    np.testing.assert_array_equal(opened.predict(other), want)
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    net.export_onnx(tmp_path / "net.onnx", rows=other)
    (said,) = runtime.InferenceSession(tmp_path / "net.onnx").run(None, {"X": other})
    assert (said[:, 1] == 0.1).all()
    np.testing.assert_allclose(said, want, rtol=1e-6, atol=1e-6)


# ---- targets ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [5.0, 0.1, 0.0, 1.7e9 + 0.1, -1e150, 1e-320])
@pytest.mark.parametrize("loss", ["squared_error", "absolute_error", "huber", "quantile", "gaussian_nll"])
def test_a_constant_target_is_predicted_to_the_bit(rng, value, loss):
    X = rng.normal(size=(50, 2))
    reg = cr.MLPRegressor(loss=loss, **FEW).fit(X, np.full(50, value))
    assert (reg.predict(100 * X) == value).all()
    from chainrule.nn.scores import score

    found = score(reg.network_, X, np.full(50, value))
    assert np.isfinite(list(found.values())).all(), found
    if loss == "gaussian_nll":
        assert (reg.network_.predict_distribution(X).variance == np.finfo(np.float64).tiny).all()


def test_rows_held_out_say_how_wrong_a_constant_is(rng):
    X = rng.normal(size=(60, 2))
    monitor = cr.Metric(lambda y, p: float(np.abs(y - p).max()), "worst", greater_is_better=False)
    with pytest.warns(UserWarning, match="valid_worst is undefined or constant: it was 1 in each"):
        reg = cr.MLPRegressor(**FEW, monitor=monitor).fit(X, np.full(60, 5.0), eval_set=(X, np.full(60, 6.0)))
    assert reg.history_["valid_worst"] == [1.0] * len(reg.history_["valid_worst"])
    assert reg.history_["valid_loss"][-1] > 0.1


def test_one_constant_target_of_several(rng):
    X = rng.normal(size=(60, 2))
    for loss in ("squared_error", "quantile", "gaussian_nll"):
        said = cr.MLPRegressor(loss=loss, shrink=False, **FEW).fit(X, np.c_[X[:, 0], np.full(60, 0.1)]).predict(X)
        assert (said[:, 1] == 0.1).all()
        assert np.ptp(said[:, 0]) > 0
