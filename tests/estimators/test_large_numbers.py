"""Numbers whose differences are small relative to them: every way to a prediction subtracts before it rounds."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.cli.main import main

pd = pytest.importorskip("pandas", reason="pandas is not installed")

LOSSES = ["squared_error", "absolute_error", "huber", "quantile", "gaussian_nll"]
AGREE = 1e-6  # deviations of the target: the rounding of a float32 net
FEW = {
    "hidden_layer_sizes": 16,
    "max_iter": 20,
    "random_state": 0,
    "device": "cpu",
    "learning_rate_init": 0.01,
    "shrink": False,
}


def offsets(rng: np.random.Generator, n: int = 300) -> Any:
    """A time stamp, a northing in metres, a large id, the ends of float64, and a target with an offset."""
    z = rng.normal(size=(n, 5))
    frame = pd.DataFrame(
        {
            "t": 1.76e9 + 30 * z[:, 0],
            "north": 5e6 + z[:, 1],
            "id": 10**15 + (100 * z[:, 2]).astype(np.int64),
            "small": 1e-170 * z[:, 3],
            "large": 1e200 * z[:, 4],
        }
    )
    return frame, 1.7e9 + 20 * (z[:, 0] + np.sin(z[:, 1]) + z[:, 2] * z[:, 3] / 2 + z[:, 4] / 3)


def said_by_the_command(model: Path, table: Path, folder: Path) -> np.ndarray:
    assert main(["predict", str(model), str(table), "-o", str(folder / "out.npy")]) == 0
    return np.load(folder / "out.npy")


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("holes", [False, True], ids=["numbers", "a hole and text"])
@pytest.mark.parametrize("dtype", ["auto", "float32"])
def test_every_way_to_a_prediction_says_the_same(rng, tmp_path, loss, holes, dtype):
    frame, y = offsets(rng)
    if holes:
        frame["text"] = rng.choice(list("ab"), len(frame))
        frame.loc[3, ["north", "text"]] = np.nan, None
    reg = cr.MLPRegressor(loss=loss, dtype=dtype, **FEW).fit(frame, y)
    net, new = reg.network_, frame.head(50)
    assert str(net.dtype) == ("float32" if holes or dtype == "float32" else "float64")
    net.save(tmp_path / "model")
    new.to_csv(tmp_path / "new.csv", index=False)
    said = {
        "command": said_by_the_command(tmp_path / "model", tmp_path / "new.csv", tmp_path),
        "csv": net.predict_table(cr.read_table(tmp_path / "new.csv", like=net)),
        "pandas": cr.load(tmp_path / "model", device="cpu").predict_table(cr.read_table(new, like=net)),
    }
    if not holes:
        said["array"] = net.predict(new.to_numpy(float))
    if pytest.importorskip("pyarrow"):
        new.to_parquet(tmp_path / "new.parquet")
        said["parquet"] = net.predict_table(cr.read_table(tmp_path / "new.parquet", like=net))
    expected = reg.predict(new)
    for way, values in said.items():
        assert values.dtype == expected.dtype == np.float64
        np.testing.assert_allclose(values, expected, rtol=0, atol=1e-12 * np.abs(y).max(), err_msg=way)
    middle = expected if expected.ndim == 1 else expected[:, 1]
    assert np.corrcoef(middle, y[:50])[0, 1] > 0.8, "no digits, no fit"


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("holes", [False, True], ids=["numbers", "a hole and text"])
def test_the_onnx_file_says_the_same(rng, tmp_path, loss, holes):
    pytest.importorskip("onnx")
    runtime = pytest.importorskip("onnxruntime")
    frame, y = offsets(rng)
    if holes:
        frame["text"] = rng.choice(list("ab"), len(frame))
        frame.loc[3, ["north", "text"]] = np.nan, None
    reg = cr.MLPRegressor(loss=loss, **FEW).fit(frame, y)
    found = reg.network_.export_onnx(tmp_path / "net.onnx")
    assert found.difference <= 1
    session = runtime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    feeds = {
        x.name: frame[[x.name]].fillna("").to_numpy(object) if "string" in x.type else frame[[x.name]].to_numpy(float)
        for x in session.get_inputs()
    }
    got = session.run(None, feeds)[0]
    assert got.dtype == np.float64
    np.testing.assert_allclose(got, reg.predict(frame), rtol=0, atol=(2 * AGREE if holes else 1e-9) * y.std())


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("shift", "scale"), [(1e9, 1.0), (-3e12, 1e3), (0, 1e-100), (0, 1e100), (1e106, 1e100)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_other_units_are_the_same_fit(rng, loss, shift, scale, dtype):
    """Columns and target moved and stretched; what is lost is what float64 had no digits for."""
    X = rng.normal(size=(200, 3))
    y = X[:, 0] + np.sin(X[:, 1])
    options = {**FEW, "loss": loss, "dtype": dtype}
    want = cr.MLPRegressor(**options).fit(X, y).predict(X)
    moved = cr.MLPRegressor(**options).fit(shift + scale * X, shift + scale * y).predict(shift + scale * X)
    lost = 5000 * np.finfo(float).eps * abs(shift) / scale  # the mean's roundings, grown by the training
    atol = lost + 1e-10 if dtype == "float64" else 1e-3
    np.testing.assert_allclose((moved - shift) / scale, want, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_labels_by_a_time_stamp(rng, dtype):
    t = 1.76e9 + rng.uniform(0, 60, 400)
    frame = pd.DataFrame({"t": t, "z": rng.normal(size=400)})
    labels = (np.sin((t - 1.76e9) / 8) > 0).astype(int)
    frame.loc[0, "z"] = np.nan
    clf = cr.MLPClassifier(**{**FEW, "hidden_layer_sizes": 64, "max_iter": 200}, dtype=dtype).fit(frame, labels)
    assert clf.score(frame, labels) > 0.9


@pytest.mark.parametrize("kind", ["early_stopping", "eval_set", "warm_start", "partial_fit", "shrink", "streamed"])
def test_a_time_stamp_keeps_its_digits_in_every_kind_of_fit(rng, kind):
    """The target of held-out rows has its digits too: the recorded r2 is that of ``score``."""
    frame, y = offsets(rng, 400)
    frame = frame[["t", "north", "id"]]
    frame.loc[3, "north"] = np.nan
    options = {**FEW, "max_iter": 60, "shrink": kind == "shrink"}
    if kind == "streamed":
        X = frame.fillna(5e6).to_numpy(float)
        net = cr.MLP([3, 16, 1], loss="squared_error")
        net.preparation = cr.Preparation(cr.Standardization.fit(X, limit=3.0), cr.Standardization.fit(y))
        run = cr.Trainer(net, cr.Adam(1e-2), epochs=60, batch_size=64, metrics=["rmse"], stream=True).fit(
            X, y, validation=(X, y)
        )
        said = net.predict(X)
        rmse = float(np.sqrt(np.mean((said - y) ** 2)))
        np.testing.assert_allclose(run.history["valid_rmse"][run.best_epoch - 1], rmse, rtol=1e-3)
    else:
        reg = cr.MLPRegressor(early_stopping=kind == "early_stopping", warm_start=kind == "warm_start", **options)
        if kind == "partial_fit":
            for _ in range(60):
                reg.partial_fit(frame, y)
        elif kind == "eval_set":
            reg.fit(frame, y, eval_set=(frame, y))
            np.testing.assert_allclose(reg.best_validation_score_, reg.score(frame, y), atol=1e-4)
        else:
            reg.fit(frame, y)
        said = reg.predict(frame)
    assert 1 - np.mean((said - y) ** 2) / y.var() > 0.6


KINDS = ["int64", "uint64", "int32", "uint8", "bool", "float16", "float32"]


@pytest.mark.parametrize("kind", KINDS)
def test_numbers_of_any_kind_are_standardised_as_doubles(rng, kind):
    X, y = rng.integers(0, 2 if kind == "bool" else 100, (2, 200, 3)).astype(kind)
    y = y[:, 0]
    for a, b in itertools.product((X, X.astype(np.float64)), (y, y.astype(np.float64))):
        reg = cr.MLPRegressor(dtype="float64", **FEW).fit(a, b)
        got = reg.predict(X)
        if a is X and b is y:
            want = got
        np.testing.assert_allclose(got, want, rtol=1e-9)


def test_a_uint64_target_beyond_int64(rng):
    X = rng.normal(size=(200, 2))
    y = (2**63 + 2**40 * (1 << 10) * (X[:, 0] - X[:, 0].min())).astype(np.uint64)
    assert cr.MLPRegressor(**{**FEW, "max_iter": 60}).fit(X, y).score(X, y) > 0.9


def test_the_largest_numbers_predict(rng):
    """x - mean and (x / limit)^2 overflow here; a feature that does is neither nan nor 0."""
    X = np.c_[1.79e308 * np.linspace(-1, 1, 201), rng.normal(size=201)]
    y = np.sign(X[:, 0]) * np.minimum(np.abs(X[:, 0]) / 1e308, 1)
    reg = cr.MLPRegressor(**{**FEW, "max_iter": 200}).fit(X, y)
    assert reg.score(X, y) > 0.9
    far = np.array([[1.7e308, 0], [-1.7e308, 0]])
    small = cr.MLPRegressor(**{**FEW, "max_iter": 200}).fit(X[:, [1]], X[:, 1])
    assert small.predict(far[:, :1])[0] > 1 > -1 > small.predict(far[:, :1])[1]
    np.testing.assert_allclose(small.predict(far[:, :1]), small.predict([[1e30], [-1e30]]), rtol=1e-12)
    with pytest.raises(ValueError, match="inf"):
        small.predict([[np.inf]])


def test_the_median_of_a_column_with_holes_at_the_largest_numbers():
    column = cr.NumberColumn.fit("a", np.array([1.7e308, 1.6e308, np.nan]))
    np.testing.assert_allclose(column.fill, 1.65e308)
