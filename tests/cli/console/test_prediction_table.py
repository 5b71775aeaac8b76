"""Tables of predictions, written part by part: the same text, columns and bits as all rows at once."""

from __future__ import annotations

import csv
import io
import tracemalloc

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.cli.console import prediction_table as tables
from chainrule.cli.console.prediction_table import as_csv, as_npy, as_parquet, prediction_table
from chainrule.cli.console.probability_text import probability_cells, text_of
from chainrule.nn.answers_in_parts import answers_in_parts
from chainrule.nn.predictions import probabilities

LOSSES = {
    "softmax_cross_entropy": [4, 5],
    "sigmoid_cross_entropy": [4, 3],
    "squared_error": [4, 2],
    "gaussian_nll": [4, 4],
    "quantile": [4, 3],
}


def texts(values: np.ndarray) -> list[str]:
    with np.errstate(all="ignore"):
        return text_of(probability_cells(values[None]))[1:].split(",")


def beside_powers_of_ten() -> np.ndarray:
    powers = np.array([float(f"1e-{e}") for e in range(120)])
    factors = np.array([0.9999994999999, 0.99999949, 0.9999995, 1, 1.000005, 1.234565, 1.5, 9.999995])
    either_side = [np.nextafter(powers, to) for to in (0, 1)]
    single = powers[:40].astype(np.float32).astype(np.float64)
    return np.concatenate([*either_side, single, (powers[:, None] * factors).reshape(-1)])


def test_probabilities_have_the_text_of_a_format_with_six_digits(rng):
    middles = (rng.integers(10**5, 10**6, 5000) + 0.5) * 1e-9
    dyadic = np.concatenate([np.arange(1, 64, 2) / 2**m for m in range(6, 25)])
    unusual = np.array([0.0, -0.0, 1, 2, -1, np.nan, np.inf, -np.inf, 5e-324, 1e-99, 1e300])
    for values in (
        rng.integers(0, 0x3F800001, 20_000, dtype=np.uint32).view(np.float32),
        rng.integers(0, 0x3FF0000000000001, 20_000, dtype=np.uint64).view(np.float64),
        np.concatenate([rng.random(20_000), beside_powers_of_ten(), middles, dyadic, unusual]),
    ):
        assert texts(values) == [f"{v:.6g}" for v in values]


@pytest.mark.parametrize("loss", LOSSES)
def test_a_table_in_many_parts_is_that_of_one(loss, rng, monkeypatch):
    net = cr.MLP(LOSSES[loss], loss=loss, seed=3)
    if loss == "softmax_cross_entropy":
        net.preparation = cr.Preparation(classes=('a "b"', "c,d", "", "=1", "e"), target_name="p_e")
    X = rng.normal(size=(150, 4)).astype(np.float32)
    whole = "".join(as_csv(prediction_table(net, X)))
    monkeypatch.setattr(NumPyBackend, "working_set", 1)  # 64 rows at a time
    monkeypatch.setattr(tables, "CELLS_AT_ONCE", 20)
    monkeypatch.setattr(tables, "LETTERS_AT_ONCE", 12)
    parts = list(as_csv(prediction_table(net, X)))
    assert "".join(parts) == whole
    assert len(parts) > 15
    assert all(part.endswith("\n") for part in parts)
    if loss.endswith("cross_entropy"):
        p = net.predict_proba(X)
        _, *rows = csv.reader(io.StringIO(whole))
        assert [row[-p.shape[1] :] for row in rows] == [[f"{v:.6g}" for v in of_row] for of_row in p]


def test_answers_in_parts_have_the_bits_of_predict_proba(rng, monkeypatch):
    net, X = cr.MLP([4, 9, 3]), rng.normal(size=(151, 4)).astype(np.float32)
    monkeypatch.setattr(NumPyBackend, "working_set", 1)
    parts = list(answers_in_parts(net, X, [probabilities(net.backend, net.loss, net.dtype)]))
    assert [rows.stop - rows.start for rows, _ in parts] == [
        51,
        51,
        49,
    ]  # the last takes two rows again, and gives each once
    np.testing.assert_array_equal(np.concatenate([p for _, (p,) in parts]), net.predict_proba(X))


def test_rows_that_are_refused_are_named_before_anything_is_written(rng):
    X = rng.normal(size=(150, 4))
    X[130, 2] = np.nan
    with pytest.raises(cr.DataError, match="row 130, column 2"):
        prediction_table(cr.MLP([4, 3]), X)


@pytest.mark.parametrize("loss", LOSSES)
def test_npy_has_the_bytes_of_numpys_own(loss, rng, monkeypatch):
    net, X = cr.MLP(LOSSES[loss], loss=loss), rng.normal(size=(150, 4))
    monkeypatch.setattr(NumPyBackend, "working_set", 1)
    expected = io.BytesIO()
    np.save(expected, net.predict(X))
    assert b"".join(as_npy(net, X)) == expected.getvalue()


def test_parquet_in_row_groups(rng, monkeypatch):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    net, X = cr.MLP([4, 3]), rng.normal(size=(150, 4))
    net.preparation = cr.Preparation(classes=("a", "b", "c"))
    monkeypatch.setattr(NumPyBackend, "working_set", 1)
    monkeypatch.setattr(tables, "ROW_GROUP", 400)
    file = parquet.ParquetFile(io.BytesIO(b"".join(as_parquet(prediction_table(net, X)))))
    assert file.num_row_groups == 2
    found = file.read()
    assert found["prediction"].to_pylist() == ["abc"[j] for j in net.predict(X)]
    np.testing.assert_array_equal(np.stack(found.columns[1:], axis=1), net.predict_proba(X))


def test_memory_does_not_grow_with_the_rows(rng):
    """4,000 rows of 1,000 probabilities are 46 MB of CSV and 16 MB of numbers."""
    net = cr.MLP([2, 1000])
    X = rng.normal(size=(4000, 2)).astype(np.float32)
    tracemalloc.start()
    size = sum(map(len, as_csv(prediction_table(net, X))))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 40e6
    assert most < 32e6


@pytest.mark.parametrize("loss", LOSSES)
def test_answers_in_parts_on_every_backend(loss, backend, rng):
    net, X = cr.MLP(LOSSES[loss], loss=loss, backend=backend), rng.normal(size=(70, 4)).astype(np.float32)
    rows = "".join(as_csv(prediction_table(net, X))).splitlines()
    assert len(rows) == 71
    first = np.asarray(net.predict(X)).reshape(70, -1)[:, 0]
    np.testing.assert_array_equal([float(row.split(",")[0]) for row in rows[1:]], first)
