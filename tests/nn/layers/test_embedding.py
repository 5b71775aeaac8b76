"""Embeddings in a net: gradients, training on every backend, invalid codes, files, explanations."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.errors import DataError, OptionError
from chainrule.nn.layers.embedding import usual_width
from chainrule.verify.explain import explain
from comparisons import numbers
from emulation.backend import EmulatedBackend, compiler_problem

N = 23
LAYER = cr.Embedding([3, 0], [7, 4], [2, 5], shares=[(), (0.5, 0.25, 0.125, 0.125)])
LAYERS = [LAYER, cr.Dense(6, "tanh"), cr.Dense(3)]
RNG = np.random.default_rng(5)
X = RNG.normal(size=(N, 5))
X[:, 3], X[:, 0] = RNG.integers(0, 7, N), RNG.integers(0, 4, N)
Y = np.arange(N) % 3


def make(backend: cr.Backend | None = None, dtype: str = "float64") -> cr.Network:
    net = cr.Network(LAYERS, 5, backend=backend, dtype=dtype, seed=3)
    net.preparation = cr.Preparation(cr.Standardization.fit(X, limit=2.0))
    return net


def train(net: cr.Network, **options) -> cr.Run:
    return cr.Trainer(net, cr.Adam(0.02), batch_size=6, **{"epochs": 3, "seed": 2} | options).fit(X, Y, validation=0.2)


def logits_by_hand(net: cr.Network, x: np.ndarray) -> np.ndarray:
    """From raw rows, in float64 and plain indices; the code 4 of column 0 is the mean."""
    p, s = net.parameter_arena.download(), net.preparation.features
    z = (x - s.mean) / s.scale
    z = z / np.sqrt(1 + (z / s.limit) ** 2)
    first = np.vstack([p["embedding0.E1"], np.array(LAYER.shares[1]) @ p["embedding0.E1"]])
    y = np.hstack([z[:, [1, 2, 4]], p["embedding0.E0"][x[:, 3].astype(int)], first[x[:, 0].astype(int)]])
    return np.tanh(y @ p["dense0.W"] + p["dense0.b"]) @ p["dense1.W"] + p["dense1.b"]


def test_embedding_gradients(backend):
    report = cr.check_gradients(make(backend), X, Y, np.linspace(0, 2, N))
    assert {"embedding0.E0", "embedding0.E1"} < set(report.complex_step)
    assert max(report.complex_step.values()) <= 1e-12
    assert max(report.central_difference.values()) <= 1e-6


def test_a_gradient_of_the_wrong_row_is_found(monkeypatch):
    right = NumPyBackend.embed_backward

    def wrong(self, dy, codes, plan, *, touched, dtables):
        right(self, dy, codes // 2, plan, touched=touched, dtables=dtables)

    monkeypatch.setattr(NumPyBackend, "embed_backward", wrong)
    with pytest.raises(cr.GradientError, match=r"embedding0\.E"):
        cr.check_gradients(make(NumPyBackend()), X, Y)


def test_every_backend_trains_the_same(backend):
    net, plain = make(backend), make(NumPyBackend())
    runs = train(net), train(plain)
    np.testing.assert_allclose(runs[0].history["loss"], runs[1].history["loss"], rtol=1e-11)
    want = plain.parameter_arena.download()
    for key, value in net.parameter_arena.download().items():
        np.testing.assert_allclose(value, want[key], rtol=0, atol=1e-11, err_msg=key)
    new = X.copy()
    new[::2, 0] = 4
    np.testing.assert_allclose(net.predict_proba(new), plain.predict_proba(new), atol=1e-11)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_cpu_backends_train_the_same_bits(dtype):
    pytest.importorskip("numba", reason="numba is not installed")
    ends = []
    for be in (NumPyBackend(), compiled.loaded(), cr.GuardedBackend()):
        net = make(be, dtype)
        run = train(net, ema=0.9)
        ends.append((run.history["loss"], net.parameter_arena.download(), net.predict_proba(X).tobytes()))
    for losses, parameters, probabilities in ends[1:]:
        assert (losses, probabilities) == (ends[0][0], ends[0][2])
        assert all(parameters[key].tobytes() == value.tobytes() for key, value in ends[0][1].items())


def test_embedding_codes_beyond_256_are_exact_in_bf16():
    """A net that has to know the code itself, of which bf16 has no exact one beyond 256."""
    if problem := compiler_problem():
        pytest.skip(problem)
    codes = np.repeat(np.arange(500, 516), 8)
    x = np.column_stack([codes, np.zeros(len(codes))])
    for be in (EmulatedBackend(precision="bf16"), NumPyBackend()):
        net = cr.Network([cr.Embedding([0], [600], [6]), cr.Dense(2)], 2, backend=be)
        cr.Trainer(net, cr.Adam(0.1), epochs=15, batch_size=64).fit(x, codes % 2)
        assert (net.predict(x) == codes % 2).all()


def test_predictions_are_those_of_the_formula(backend):
    """Codes are neither standardised nor limited; one that training never saw is the mean of the vectors."""
    net = make(backend)
    train(net)
    new = X.copy()
    new[:5, 0] = 4
    logits = logits_by_hand(net, new)
    exact = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(net.predict_proba(new), exact, rtol=1e-11)
    assert np.abs(net.predict_proba(new)[:5] - net.predict_proba(X)[:5]).max() > 1e-6


def test_streamed_rows_train_the_same_bits(backend):
    net, streamed = make(backend, "float32"), make(backend, "float32")
    train(net)
    train(streamed, stream=True)
    for key, value in net.parameter_arena.download().items():
        assert streamed.parameter_arena.download()[key].tobytes() == value.tobytes(), key


@pytest.mark.parametrize("kind", ["float32", "float64", "uint8", "int64"])
@pytest.mark.parametrize("prepared", [True, False])
def test_embedding_codes_of_any_dtype(backend, kind, prepared):
    x = np.abs(np.round(X)).astype(kind)
    net, plain = make(backend), make(NumPyBackend())
    for each in (net, plain):
        each.preparation = each.preparation if prepared else cr.Preparation()
        train_on = cr.Trainer(each, cr.SGD(0.1), batch_size=6, epochs=2)
        train_on.fit(x, Y)
    np.testing.assert_allclose(net.predict_proba(x), plain.predict_proba(x.astype(float)), atol=1e-11)


# ---- codes that are none --------------------------------------------------------------------------

BAD = {
    "beyond the last": ({(9, 3): 7.0}, "row 9, column 3: expected a code from 0 to 6, got 7"),
    "below 0": ({(9, 3): -1.0}, "row 9, column 3: expected a code from 0 to 6, got -1"),
    "no whole number": ({(9, 0): 0.5}, "row 9, column 0: expected a code from 0 to [34], got 0.5"),
    "nan": ({(9, 0): np.nan}, "row 9, column 0: expected a code from 0 to [34], got nan"),
    "the first of several": (
        {(9, 0): 9.0, (8, 3): 1e30, (12, 3): -1.0},
        "row 8, column 3: expected a code from 0 to 6, got 1e",
    ),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("what", BAD)
def test_an_embedding_refuses_invalid_codes(backend, what, stream):
    cells, words = BAD[what]
    x, net = X.copy(), make(backend)
    for at, value in cells.items():
        x[at] = value
    before = net.parameter_arena.download()
    with pytest.raises(DataError, match=words):
        net.predict(x)
    with pytest.raises(DataError, match=words):
        cr.Trainer(net, batch_size=50, shuffle=False, stream=stream).fit(x, Y)
    for key, value in net.parameter_arena.download().items():
        np.testing.assert_array_equal(value, before[key], "a refused row trained the net")


@pytest.mark.parametrize("stream", [False, True])
def test_an_embedding_takes_unseen_categories_in_predictions_alone(backend, stream):
    net, new = make(backend), X.copy()
    new[6, 0] = 4
    assert np.isfinite(net.predict_proba(new)).all()
    cr.Trainer(net, epochs=1, stream=stream).fit(X, Y, validation=(new, Y))
    with pytest.raises(DataError, match=r"row 6, column 0: expected a code from 0 to 3, got 4"):
        cr.Trainer(net, epochs=1, stream=stream).fit(new, Y)


REFUSED = {
    "no columns": (lambda: cr.Embedding([], []), "expected different columns, at least one"),
    "a column twice": (lambda: cr.Embedding([1, 1], [2, 2]), "different columns"),
    "a column of no number": (lambda: cr.Embedding(["a"], [2]), r"column: expected .*, got 'a'"),
    "one number": (lambda: cr.Embedding(3, [2]), "columns: expected a list"),
    "a count missing": (
        lambda: cr.Embedding([0, 1], [2]),
        "counts: expected one for each of 2 columns of codes, got 1",
    ),
    "no codes": (lambda: cr.Embedding([0], [0]), r"count: expected .*, got 0"),
    "codes beyond float32": (lambda: cr.Embedding([0], [2**24 + 1]), r"count: expected .*, got 16777217"),
    "a width of 0": (lambda: cr.Embedding([0], [2], [0]), r"width: expected .*, got 0"),
    "shares of others": (lambda: cr.Embedding([0], [2], [1], [(1.0,)]), "expected 2 shares that sum to 1"),
    "shares of more than all": (lambda: cr.Embedding([0], [2], [1], [(1.0, 1.0)]), "expected 2 shares that sum to 1"),
    "a column that x has not": (
        lambda: cr.Network([cr.Embedding([4], [2]), cr.Dense(2)], 4),
        "expected columns of x from 0 to 3, got 4",
    ),
    "not the first": (lambda: cr.Network([cr.Dense(3), cr.Embedding([0], [2]), cr.Dense(2)], 4), "the first layer"),
    "within a block": (
        lambda: cr.Network([cr.Residual([cr.Embedding([0], [2], [1])]), cr.Dense(2)], 4),
        "the first layer",
    ),
    "an MLP's of another kind": (lambda: cr.MLP([4, 2], embedding="yes"), "an Embedding or None"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_wrong_embeddings_are_refused(what):
    build, words = REFUSED[what]
    with pytest.raises(OptionError, match=words):
        build()


# ---- beside the numbers -----------------------------------------------------------------------------


def test_default_embedding_widths_are_those_of_fastai():
    assert [usual_width(count) for count in (1, 2, 10, 100, 500, 100_000)] == [2, 2, 6, 21, 52, 600]


def test_the_width_of_an_embedding_is_limited_by_the_rows_that_it_learns_from():
    rows = 160_000
    assert [usual_width(count, rows) for count in (1, 500, 5_000, 10_000, 50_000)] == [2, 52, 189, 128, 32]
    assert usual_width(10_000, 10) == 32
    assert usual_width(10, 10) == usual_width(10)
    assert cr.Embedding([0], [100]).widths == (21,)


def test_a_file_keeps_all_of_it(tmp_path):
    net = make(dtype="float32")
    train(net)
    net.save(tmp_path / "m")
    read, new = cr.load(tmp_path / "m", device="cpu"), X.copy()
    new[:, 0] = 4
    assert read.layers == net.layers
    assert read.predict_proba(new).tobytes() == net.predict_proba(new).tobytes()
    read.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()


def test_explained_and_diagnosed():
    lines = explain(make()).lines
    assert all(line.right for line in lines), [line for line in lines if not line.right]
    named = {line.name: line for line in lines if line.layer == "embedding0"}
    assert named["y0"].formula == "[numbers of x | E0.0[x_3] | E1.0[x_0]]"
    assert named["dE1.0"].formula == "sum_rows([x_0 = row] dy0's part)"
    net = make()
    run = cr.Trainer(net, epochs=2).fit(X, Y, diagnose=True)
    assert [m.layer for m in run.diagnosis.measurements[:2]] == ["embedding0", "dense0"]
    assert run.diagnosis.measurements[0].gradient_norm > 0


def test_weight_decay_of_embedding_tables_is_that_of_weights():
    """They are the weights of one-hot columns."""
    ends = []
    for decay in (0.0, 1.0):
        net = make()
        cr.Trainer(net, cr.SGD(0.1, weight_decay=decay), epochs=1, batch_size=N).fit(X, Y)
        ends.append(net.parameter_arena.download())
    first = make().parameter_arena.download()
    for name in ("embedding0.E0", "embedding0.E1"):
        np.testing.assert_allclose(ends[0][name] - ends[1][name], 0.1 * first[name], atol=1e-15)


GOLDEN = Path(__file__).parent / "torch_embedding.json"


def test_embedding_training_is_that_of_pytorch(backend):
    """The numbers were written once by ``benchmarks/golden/make_torch_embedding.py``."""
    golden = numbers(json.loads(GOLDEN.read_text(encoding="utf-8")))
    net = cr.Network([cr.Embedding([1, 3], [6, 4], [3, 2]), cr.Dense(5, "tanh"), cr.Dense(2)], 4, backend=backend,
                     dtype="float64", loss="squared_error")  # fmt: skip
    net.parameter_arena.assign(golden["start"])
    trainer = cr.Trainer(net, cr.Adam(0.01, weight_decay=0.1, groups=[cr.ParameterGroup("*")]), batch_size=5, epochs=4,
                         shuffle=False)  # fmt: skip
    run = trainer.fit(np.array(golden["X"]), np.array(golden["y"]))
    np.testing.assert_allclose(run.history["loss"], np.mean(np.reshape(golden["losses"], (4, 2)), axis=1), rtol=1e-10)
    for key, value in net.parameter_arena.download().items():
        np.testing.assert_allclose(value, np.array(golden["end"][key]), rtol=0, atol=1e-10, err_msg=key)
