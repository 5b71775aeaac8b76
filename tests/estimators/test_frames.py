"""DataFrames with text and missing values, through everything that scikit-learn does with an estimator."""

from __future__ import annotations

import pickle
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")
pytest.importorskip("pandas", reason="pandas is not installed")

import pandas as pd
import sklearn
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import chainrule as cr
from chainrule import MLPClassifier

CPU = {"device": "cpu", "random_state": 0, "hidden_layer_sizes": (16,), "max_iter": 15, "learning_rate_init": 0.01}
PAGE = Path(__file__).parents[2] / "docs" / "scikit-learn.md"
NAMES = ["size", "kind", "floor", "city", "garden"]


@pytest.fixture
def frame(rng) -> Any:
    """Numbers, text, categories and booleans; holes in most; a city and a hole that one row alone has."""
    n = 160
    kind = rng.choice(["flat", "house", None], n, p=[0.5, 0.4, 0.1])
    floor = rng.integers(0, 4, n).astype(float)
    floor[7] = np.nan
    city = rng.choice(["Bonn", "Köln"], n).astype(object)
    city[11] = "Ulm"
    return pd.DataFrame(
        {
            "size": np.where(rng.random(n) < 0.1, np.nan, rng.normal(100, 20, n)),
            "kind": pd.Series(kind, dtype=object),
            "floor": floor,
            "city": pd.Categorical(city),
            "garden": rng.random(n) < 0.5,
        }
    )


def labels(frame: Any) -> np.ndarray:
    return np.where((frame["kind"] == "flat") | frame["size"].isna(), "cheap", "dear")


def prices(frame: Any) -> Any:
    size = frame["size"].fillna(150)
    return (3 * size + 50 * (frame["kind"] == "house") + 30 * frame["garden"]).rename("price")


def test_fit_and_predict(frame):
    y = labels(frame)
    clf = cr.MLPClassifier(**CPU).fit(frame, y)
    assert clf.score(frame, y) > 0.85
    assert clf.predict_proba(frame).shape == (160, 2)
    assert set(clf.predict(frame)) == {"cheap", "dear"}
    assert (clf.n_features_in_, clf.feature_names_in_.tolist()) == (5, NAMES)
    assert clf.network_.preparation.encoder.kinds == {
        "size": "number",
        "kind": "category",
        "floor": "number",
        "city": "category",
        "garden": "number",
    }
    assert clf.coefs_[0].shape[0] == clf.network_.n_in > 5
    reg = cr.MLPRegressor(**CPU).fit(frame, prices(frame))
    assert reg.score(frame, prices(frame)) > 0.7
    assert reg.network_.preparation.target_name == "price"


def test_text_or_holes_are_computed_in_float32_unless_asked(frame):
    y = labels(frame)
    assert cr.MLPClassifier(**CPU).fit(frame, y).predict_proba(frame).dtype == np.float32
    assert cr.MLPClassifier(**CPU, dtype="float64").fit(frame, y).predict_proba(frame).dtype == np.float64
    numbers = frame[["floor"]].fillna(0)
    assert cr.MLPClassifier(**CPU).fit(numbers, y).predict_proba(numbers).dtype == np.float64, "as of an array"


def test_embed_above_makes_vectors_of_many_categories(rng):
    """60 places, each with an effect of its own, which single columns for 32 of them cannot say."""
    place, effect = rng.integers(0, 60, 600), rng.normal(size=60)
    frame = pd.DataFrame({"place": [f"p{number}" for number in place], "size": rng.normal(size=600)})
    y = (3 * effect[place] + frame["size"]).rename("price")
    settings = CPU | {"max_iter": 40, "shrink": False}
    wide = cr.MLPRegressor(**settings).fit(frame, y)
    reg = cr.MLPRegressor(**settings, embed_above=32).fit(frame, y)
    assert reg.score(frame, y) > 0.95 > wide.score(frame, y)
    assert isinstance(reg.network_.layers[0], cr.Embedding)
    assert reg.coefs_[0].shape == (reg.network_.layers[0].width(reg.network_.n_in), 16)
    again = pickle.loads(pickle.dumps(reg))
    new = frame[:5].assign(place=["p1", "p2", "elsewhere", None, "p3"])
    np.testing.assert_array_equal(again.predict(new), reg.predict(new))
    clf = cr.MLPClassifier(**CPU, embed_above=32)
    assert clf.fit(frame, y > 0, eval_set=(frame, y > 0)).score(frame, y > 0) > 0.9
    plain = clf.set_params(embed_above=60).fit(frame, y > 0).network_
    assert not any(isinstance(layer, cr.Embedding) for layer in plain.layers)


def test_what_a_new_frame_may_hold(frame):
    """New categories and holes may be new; but the columns and their order are the same, and numbers stay numbers."""
    clf = cr.MLPClassifier(**CPU).fit(frame[20:], labels(frame)[20:])
    new = frame[:20].copy()
    new["city"] = new["city"].astype(object)
    new.loc[new.index[0], "city"] = "Rom"
    new.loc[new.index[1], "city"] = None
    assert np.isfinite(clf.predict_proba(new)).all()
    for wrong, match in (
        (frame[NAMES[::-1]], "must be in the same order"),
        (frame[NAMES[:-1]], "(?s)feature names should match.*missing.*garden"),
        (frame.assign(more=1), "(?s)feature names should match.*unseen.*more"),
        (
            frame.to_numpy(),
            "(?s)MLPClassifier was fitted on a DataFrame with text: expected a DataFrame, got ndarray.*set_output",
        ),
        (frame.assign(size="large"), "column 'size', row 0.*expected a number as in training, got 'large'"),
        (frame.assign(floor=np.inf), "expected a finite number"),
        (frame.assign(city=pd.Timestamp("2026-11-23")), "expected numbers, got X of dtype datetime64"),
    ):
        with pytest.raises(ValueError, match=match):
            clf.predict(wrong)


def test_folds_that_lack_a_category_or_a_hole(frame):
    y = labels(frame)
    clf = cr.MLPClassifier(**CPU)
    assert cross_val_score(clf, frame, y, cv=4).min() > 0.75
    search = GridSearchCV(clf, {"dropout": [0.0, 0.1]}, cv=2).fit(frame, y)
    assert search.best_estimator_.feature_names_in_.tolist() == NAMES
    assert cross_val_score(cr.MLPRegressor(**CPU), frame, prices(frame), cv=3).min() > 0.5


def test_a_pipeline_whose_steps_give_frames(frame):
    scaled = make_column_transformer(
        (StandardScaler(), ["size"]), remainder="passthrough", verbose_feature_names_out=False
    )
    pipeline = make_pipeline(scaled.set_output(transform="pandas"), cr.MLPClassifier(**CPU))
    assert cross_val_score(pipeline, frame, labels(frame), cv=3).min() > 0.75
    fitted = clone(pipeline).fit(frame, labels(frame))
    assert fitted[-1].feature_names_in_.tolist() == NAMES
    assert fitted.score(frame, labels(frame)) > 0.85


def test_encoder_ignores_rows_of_sample_weight_0_and_of_early_stopping(frame):
    """Medians and categories: neither held-out rows nor those without weight."""
    y = prices(frame)
    weights = np.ones(len(frame))
    weights[[7, 11]] = 0  # the only hole of floor, the only Ulm
    encoder = cr.MLPRegressor(**CPU).fit(frame, y, sample_weight=weights).network_.preparation.encoder
    assert "floor is missing" not in encoder.names
    assert "city = Ulm" not in encoder.names
    stopped = cr.MLPRegressor(**CPU, early_stopping=True)
    chosen = np.arange(0, 80), np.arange(80, 160)
    stopped._split = lambda *_: chosen
    preparation = stopped.fit(frame, y).network_.preparation
    first = frame[:80]
    assert preparation.encoder.columns[0].fill == first["size"].median()
    np.testing.assert_allclose(preparation.targets.mean, y[:80].mean())
    watched = cr.MLPRegressor(**CPU).fit(first, y[:80], eval_set=(frame[80:], y[80:]))
    assert watched.validation_scores_ == stopped.validation_scores_


def test_partial_fit_and_warm_start_of_frames(frame):
    y = labels(frame)
    clf = cr.MLPClassifier(**CPU, warm_start=True)
    for _ in range(20):
        clf.partial_fit(frame[:100], y[:100], classes=["cheap", "dear"])
    assert clf.score(frame, y) > 0.8
    encoder = clf.network_.preparation.encoder
    assert clf.fit(frame[100:], y[100:]).network_.preparation.encoder is encoder
    with pytest.raises(ValueError, match="in the same order"):
        clf.partial_fit(frame[NAMES[::-1]], y)
    opened = pickle.loads(pickle.dumps(clf))
    np.testing.assert_array_equal(opened.predict_proba(frame), clf.predict_proba(frame))


def test_frames_of_numbers_alone(rng):
    """As arrays are, but that a new row may have holes; float32 stays, and names need not be text."""
    X = rng.normal(size=(200, 3))
    y = X[:, 0] - X[:, 1]
    plain = cr.MLPRegressor(**CPU).fit(X, y)
    framed = cr.MLPRegressor(**CPU).fit(pd.DataFrame(X, columns=list("abc")), y)
    np.testing.assert_array_equal(plain.predict(X), framed.predict(pd.DataFrame(X, columns=list("abc"))))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        np.testing.assert_array_equal(framed.predict(X), plain.predict(X))
    assert np.isfinite(framed.predict(pd.DataFrame([[np.nan] * 3], columns=list("abc")))).all()
    with pytest.raises(ValueError, match="contains NaN"):
        plain.predict(X * np.nan)
    small = cr.MLPRegressor(**CPU).fit(pd.DataFrame(X.astype(np.float32)), y)
    assert small.coefs_[0].dtype == np.float32
    assert not hasattr(small, "feature_names_in_")


def test_polars_frames(frame):
    pl = pytest.importorskip("polars", reason="polars is not installed")
    frame = frame.astype({"city": object})
    theirs = pl.DataFrame({name: [None if pd.isna(v) else v for v in frame[name]] for name in NAMES})
    y = labels(frame)
    of_pandas, of_polars = (cr.MLPClassifier(**CPU).fit(X, y) for X in (frame, theirs))
    np.testing.assert_array_equal(of_polars.predict_proba(theirs), of_pandas.predict_proba(frame))
    assert cross_val_score(of_polars, theirs, y, cv=3).min() > 0.75
    if not hasattr(of_polars, "feature_names_in_"):  # older ones ask by a protocol that Polars 2 has no longer
        assert tuple(map(int, sklearn.__version__.split(".")[:2])) < (1, 9)
        np.testing.assert_array_equal(of_polars.predict(theirs.select(NAMES[::-1])), of_polars.predict(theirs))
        return
    assert of_polars.feature_names_in_.tolist() == NAMES
    with pytest.raises(ValueError, match="in the same order"):
        of_polars.predict(theirs.select(NAMES[::-1]))


ELSEWHERE = """
import sys
for name in ("sklearn", "pandas", "scipy"):
    sys.modules[name] = None  # importing it fails
import numpy as np
import chainrule as cr
net = cr.load(sys.argv[1], device="cpu")
said = net.predict_table(cr.read_table(sys.argv[2], like=net))
np.save(sys.argv[3], said.astype(str) if said.dtype == object else said)
"""


@pytest.mark.parametrize("kind", ["two classes", "three classes", "whole numbers", "prices"])
def test_the_model_file_needs_neither_scikit_learn_nor_pandas(frame, tmp_path, kind):
    """On another machine the same answers come of a CSV file, labels by their names."""
    y = {
        "two classes": labels,
        "three classes": lambda f: f["city"].astype(str),
        "prices": prices,
        "whole numbers": lambda f: np.where(f["garden"], 7.0, 3.0),
    }[kind](frame)
    fitted = (cr.MLPRegressor if kind == "prices" else cr.MLPClassifier)(**CPU).fit(frame, y)
    fitted.network_.save(tmp_path / "model.safetensors")
    frame.to_csv(tmp_path / "new.csv", index=False)
    paths = [str(tmp_path / name) for name in ("model.safetensors", "new.csv", "said.npy")]
    subprocess.run([sys.executable, "-c", ELSEWHERE, *paths], check=True)
    expected, said = fitted.predict(frame), np.load(tmp_path / "said.npy")
    if kind == "whole numbers":
        expected = expected.astype(int).astype(str)
    if kind == "prices":
        np.testing.assert_allclose(said, expected, rtol=1e-6)
    else:
        np.testing.assert_array_equal(said, expected)


def test_its_net_is_exported_with_the_columns(frame, tmp_path):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    clf = cr.MLPClassifier(**CPU).fit(frame, labels(frame))
    clf.network_.export_onnx(tmp_path / "net.onnx")
    session = runtime.InferenceSession(tmp_path / "net.onnx")
    feeds = {
        x.name: frame[[x.name]].astype(object).fillna("").astype(str).to_numpy(object)
        if x.type == "tensor(string)"
        else frame[[x.name]].to_numpy(np.float64)
        for x in session.get_inputs()
    }
    (said,) = session.run(["label"], feeds)
    np.testing.assert_array_equal(clf.classes_[said], clf.predict(frame))


def test_the_page(frame, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    frame.to_csv("new.csv", index=False)
    (block,) = (b for b in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S) if "frame" in b)
    monkeypatch.setattr(cr, "MLPClassifier", lambda: MLPClassifier(**CPU))
    names = {"cr": cr, "cross_val_score": cross_val_score, "GridSearchCV": GridSearchCV, "frame": frame}
    names["y"] = labels(frame)
    exec(compile(block, str(PAGE), "exec"), names)
    np.testing.assert_array_equal(names["labels"], names["clf"].predict(frame))
