"""What a fit takes beside X, and that numbers of few bits and categories are the same rows as in float64."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.compiled import backend as compiled
from chainrule.nn.columns.table_encoder import TableEncoder
from peaks import peak_of

pd = pytest.importorskip("pandas")
pytest.importorskip("sklearn")

from chainrule import MLPClassifier, MLPRegressor  # noqa: E402

FEW = {"hidden_layer_sizes": (4,), "max_iter": 2, "random_state": 0}
OPTIONS = {
    "one net": FEW,
    "shrunk by folds": FEW | {"shrink": True},
    "a preset": {"preset": "fast", "max_iter": 2, "random_state": 0},
    "early stopping": FEW | {"early_stopping": True},
    "lbfgs": FEW | {"solver": "lbfgs"},
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("kind", ["uint8", "int16", "bool", "float16"])
def test_numbers_of_few_bits_give_what_float64_gives(rng, kind, options):
    X = rng.integers(0, 2 if kind == "bool" else 100, (120, 5)).astype(kind)
    y = X.astype(np.float64) @ [1.0, 2, 3, 4, 5] + rng.normal(size=120)
    for estimator, target in ((MLPRegressor, y), (MLPClassifier, y > np.median(y))):
        narrow, wide = (estimator(**options).fit(rows, target) for rows in (X, X.astype(np.float64)))
        np.testing.assert_array_equal(narrow.predict(X), wide.predict(X.astype(np.float64)))
        np.testing.assert_array_equal(narrow.predict(X[:1].astype(np.float64)), wide.predict(X[:1]))
        assert narrow.shrinkage_ == wide.shrinkage_
        for ours, theirs in zip(narrow.coefs_, wide.coefs_, strict=True):
            np.testing.assert_array_equal(ours, theirs, strict=True)


@pytest.mark.parametrize("kind", ["int8", "int16", "float16", "uint8", ">i2"])
def test_quartiles_and_gradients_are_those_of_float64(kind):
    """Two humps: what lies between the quartiles is no int8, and twice the largest float16 is none."""
    largest = 60_000 if kind == "float16" else np.iinfo(kind).max
    x = np.array([0 if kind == "uint8" else -largest, 1, largest - 1, largest] * 10).astype(kind)[:, None]
    found, wanted = (cr.Standardization.fit_robust(rows) for rows in (x, x.astype(np.float64)))
    np.testing.assert_array_equal([found.mean, found.scale], [wanted.mean, wanted.scale])
    net = cr.MLP([1, 4, 3], seed=1)
    net.preparation = cr.Preparation(features=wanted)
    cr.check_gradients(net, x, np.arange(40) % 3)


@pytest.mark.parametrize("kind", ["float16", ">i2", "int16"])
def test_steps_on_numbers_of_16_bits_are_recorded(rng, kind):
    pytest.importorskip("numba")
    net = cr.MLP([3, 4, 2], backend=compiled.loaded())
    net.preparation = cr.Preparation(features=cr.Standardization.fit(rng.normal(size=(50, 3))))
    run = cr.Trainer(net, epochs=2, batch_size=16).fit(rng.integers(0, 9, (50, 3)).astype(kind), np.arange(50) % 2)
    assert run.execution["implementation"] == "compiled, recorded steps"


def test_a_stream_of_bytes_gives_what_float64_gives(rng):
    X, y = rng.integers(0, 100, (60, 3)).astype(np.uint8), rng.normal(size=60)
    parts = [slice(0, 20), slice(20, 40), slice(40, 60)]
    narrow, wide = MLPRegressor(**FEW), MLPRegressor(**FEW)
    for part in parts:
        narrow.partial_fit(X[part], y[part])
        wide.partial_fit(X[part].astype(np.float64), y[part])
    np.testing.assert_array_equal(narrow.predict(X), wide.predict(X))


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_categories_in_bytes_give_what_float64_gives(rng, options, monkeypatch):
    frame = pd.DataFrame({"a": rng.choice(list("xyz"), 120), "b": rng.choice(list("uv"), 120), "n": np.arange(120) % 9})
    new = frame[:9].assign(a="never seen")
    y = rng.normal(size=120) + (frame["a"] == "x")
    compact = MLPRegressor(**options).fit(frame, y)
    wide = TableEncoder.encode
    monkeypatch.setattr(TableEncoder, "encode", lambda *given, compact=False, **named: wide(*given, **named))  # noqa: PLW0108 - without compact
    other = MLPRegressor(**options).fit(frame, y)
    for rows in (frame, new):
        np.testing.assert_array_equal(compact.predict(rows), other.predict(rows))


@pytest.mark.parametrize(("shrink", "most"), [(False, 0.6), (True, 2.2)])
def test_a_fit_on_bytes_takes_little_beside_them(rng, monkeypatch, shrink, most):
    """To be shrunk, one net is trained again on four fifths of the rows, and judged by the others.

    Some 20 MB are of the parts in which predictions are computed, however many rows there are.
    """
    monkeypatch.setenv("CHAINRULE_COMPILED", "0")  # loops that are read or compiled are no memory of rows
    X, y = rng.integers(0, 256, (20_000, 1_000), np.uint8), np.arange(20_000) % 2
    classifier = MLPClassifier((8,), max_iter=1, batch_size=256, shrink=shrink, random_state=0)
    classifier.fit(X[:1000], y[:1000])  # imports what a fit needs
    with peak_of() as peak:
        classifier.fit(X, y)
    assert peak.bytes < most * X.nbytes


def test_a_fit_on_text_takes_little_beside_its_columns(rng, monkeypatch):
    """20 columns of X for one of text: a byte each."""
    monkeypatch.setenv("CHAINRULE_COMPILED", "0")
    n, columns = 20_000, 40
    frame = pd.DataFrame({f"x{j}": rng.choice(list("abcdefghijklmnopqrst"), n) for j in range(columns)})
    classifier = MLPClassifier((8,), max_iter=1, batch_size=256, shrink=False, random_state=0)
    classifier.fit(frame[:1000], np.arange(1000) % 2)  # imports what a fit needs
    with peak_of() as peak:
        classifier.fit(frame, np.arange(n) % 2)
    assert peak.bytes < 2 * n * columns * 20
