"""The ONNX file: in onnxruntime it answers as the net does, or it is not written."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ChainruleError
from chainrule.nn.layers.activations import ACTIVATIONS
from chainrule.onnx import agreement, cases, export, layers

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install 'chainrule[onnx]'")
runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install 'chainrule[onnx]'")

# Of the rounding in float32 and float64: far below what `compare` allows, so that nothing hides in its tolerance.
CLOSE = {"float32": {"rtol": 2e-5, "atol": 2e-5}, "float64": {"rtol": 1e-12, "atol": 1e-13}}
DTYPES = list(CLOSE)


def shaken(net: cr.Network, rng: np.random.Generator) -> cr.Network:
    """``net`` with all parameters away from their initial values: biases, gains and running statistics too."""
    values = {}
    for name, value in net.parameter_arena.download().items():
        noise = 0.3 * rng.standard_normal(value.shape)
        values[name] = np.abs(value + noise) + 0.5 if name.endswith("running_var") else value + noise
    net.assign_parameters(values)
    return net


def prepared(net: cr.Network, rng: np.random.Generator, *, limit: float = 3.0) -> cr.Network:
    """``net`` with features, and targets if there are any, far from 0 and 1."""
    targets = None
    if net.loss.task == "regress" and net.loss.standardizes:
        targets = cr.Standardization(rng.uniform(100, 1000, net.loss.columns), rng.uniform(10, 90, net.loss.columns))
    features = cr.Standardization(rng.uniform(-50, 50, net.n_in), rng.uniform(0.1, 20, net.n_in), limit)
    net.preparation = cr.Preparation(features=features, targets=targets)
    return net


def answers(path: Path, rows: np.ndarray) -> dict[str, np.ndarray]:
    """``rows`` in the dtype that the file takes."""
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (x,) = session.get_inputs()
    rows = rows.astype({"tensor(float)": np.float32, "tensor(double)": np.float64}[x.type])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"X": rows}), strict=True))


def assert_same(net: cr.Network, path: Path, rows: np.ndarray) -> None:
    """Every output, in shape, dtype and value, without the package's own comparison."""
    found = answers(path, rows)
    if net.loss_name == "gaussian_nll":
        expected = net.predict_distribution(rows)._asdict()
    elif net.loss.task == "regress":
        expected = {"prediction": net.predict(rows)}
    else:
        expected = {"probabilities": net.predict_proba(rows)}
        assert found["label"].dtype == np.int64
        np.testing.assert_array_equal(found.pop("label"), net.predict(rows))
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        assert (found[name].shape, found[name].dtype) == (values.shape, values.dtype)
        scale = max(1.0, float(np.abs(values).max()))
        np.testing.assert_allclose(found[name] / scale, values / scale, **CLOSE[str(net.dtype)])


# ---- everything that a net may be made of -----------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation(tmp_path, rng, activation, dtype):
    """As part of a dense layer and as a layer of its own, from far below 0 to far above."""
    net = cr.Network(
        [cr.Dense(9, activation), cr.Dense(7), cr.Activation(activation), cr.Dense(3)],
        4,
        dtype=dtype,
        loss="squared_error",
    )
    rows = rng.normal(size=(64, 4)).astype(dtype) * np.geomspace(1e-3, 30, 64).astype(dtype)[:, None]
    found = export(shaken(net, rng), tmp_path / "net.onnx", rows=rows)
    assert found.rows == cases.ROWS + 64
    assert_same(net, tmp_path / "net.onnx", rows)


LOSSES = [
    ("softmax_cross_entropy", 4), (cr.Focal(), 2), ("sigmoid_cross_entropy", 1), ("sigmoid_cross_entropy", 3),
    ("squared_error", 1), ("squared_error_sum", 3), ("absolute_error", 1), (cr.Huber(delta=2.0), 2), ("poisson", 1),
    ("gamma", 2), ("quantile", 3), (cr.Quantile([0.2, 0.8]), 6), (cr.Quantile([0.5]), 1), ("gaussian_nll", 2),
    ("gaussian_nll", 6),
]  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("standardized", [False, True], ids=["raw", "standardised"])
@pytest.mark.parametrize(("loss", "n_out"), LOSSES, ids=str)
def test_every_loss(tmp_path, rng, loss, n_out, standardized, dtype):
    """Labels, probabilities and numbers in the target's own units, for one row and for many."""
    net = shaken(cr.MLP([5, 8, n_out], loss=loss, dtype=dtype), rng)
    if standardized:
        prepared(net, rng)
    export(net, tmp_path / "net.onnx")
    for n in (1, 2, 300):
        rows = rng.normal(size=(n, 5)) * 2
        if standardized:
            rows = net.preparation.features.mean + rows * net.preparation.features.scale
        assert_same(net, tmp_path / "net.onnx", rows.astype(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_layer(tmp_path, rng, dtype):
    """Normalisations as in prediction, dropout left out, encodings, blocks within blocks."""
    block = cr.Residual([cr.LayerNorm(), cr.Dense(6, "gelu"), cr.Residual([cr.Dropout(0.5), cr.Dense(6, "relu")])])
    beside = cr.Concatenate([cr.Scale(), cr.Dense(3, "selu"), cr.Concatenate([cr.Dropout(0.1)])])
    net = cr.Network(
        [
            cr.PiecewiseLinear([(-1.0, 0.0, 0.5, 2.0), (), (0.0, 1.0)]),
            beside,
            cr.BatchNorm(eps=1e-2),
            cr.Dense(6),
            cr.Dropout(0.3),
            block,
            cr.LayerNorm(eps=0.1),
            block,
            cr.Dense(3),
        ],
        4,
        dtype=dtype,
    )
    prepared(shaken(net, rng), rng)
    export(net, tmp_path / "net.onnx")
    rows = cases.random_rows(net, np.dtype(dtype))
    assert_same(net, tmp_path / "net.onnx", rows)
    kinds = {node.op_type for node in onnx.load(tmp_path / "net.onnx").graph.node}
    assert (kinds >= {"LayerNormalization", "BatchNormalization"}) == (dtype == "float32")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("standardized", [False, True], ids=["raw", "standardised"])
@pytest.mark.parametrize("columns", [[3, 0], [0, 1, 2, 3]], ids=["between numbers", "alone"])
def test_an_embedding(tmp_path, rng, columns, standardized, dtype):
    """Codes as they come, and the code of what training never saw."""
    counts = [5, 300, 2, 7][: len(columns)]
    shares = [(0.1, 0.2, 0.3, 0.4, 0.0), *[()] * (len(columns) - 1)]
    net = shaken(cr.Network([cr.Embedding(columns, counts, shares=shares), cr.Dense(3)], 4, dtype=dtype), rng)
    if standardized:
        prepared(net, rng)
    rows = cases.random_rows(net, np.dtype(dtype))
    assert rows[:, columns[0]].max() == 5
    export(net, tmp_path / "net.onnx", rows=rows)
    assert_same(net, tmp_path / "net.onnx", rows)


@pytest.mark.parametrize("dtype", DTYPES)
def test_layer_normalisation_of_large_numbers_that_are_close(tmp_path, rng, dtype):
    net = cr.Network([cr.LayerNorm(), cr.Dense(2)], 16, loss="squared_error", dtype=dtype)
    rows = (1000 + rng.normal(size=(50, 16))).astype(dtype)
    net.export_onnx(tmp_path / "net.onnx", rows=rows)
    np.testing.assert_allclose(answers(tmp_path / "net.onnx", rows)["prediction"], net.predict(rows), atol=2e-4)


@pytest.mark.parametrize("limit", [np.inf, 3.0])
def test_standardisation_far_out_and_of_large_numbers_that_are_close(tmp_path, rng, limit):
    """A float32 net that reads time stamps in float64; and rows a billion deviations away."""
    net = shaken(cr.MLP([2, 8, 3]), rng)
    net.preparation = cr.Preparation(features=cr.Standardization(np.array([1.7e9, 0.0]), np.array([30.0, 1e-3]), limit))
    rows = np.array([1.7e9, 0.0]) + rng.normal(size=(50, 2)) * [30.0, 1e-3]
    export(net, tmp_path / "net.onnx", input_dtype="float64", rows=rows)
    assert_same(net, tmp_path / "net.onnx", rows)
    if np.isfinite(limit):
        assert_same(net, tmp_path / "net.onnx", np.array([[1e30, -1e25], [-1e18, 1e6]]))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("limit", [np.inf, 3.0])
@pytest.mark.parametrize("unit", [1e-17, 1e-40, 1e-170, 1e-307, 1e170, 1.2e308])
def test_a_single_column_as_small_or_large_as_numbers_are(tmp_path, rng, unit, limit, dtype):
    """onnxruntime leaves out a sum with a number near 0; and a difference of large numbers overflows."""
    net = shaken(cr.MLP([1, 8, 1], loss="squared_error", dtype=dtype), rng)
    one = cr.Standardization(np.array([unit]), np.array([unit / 3]))
    net.preparation = cr.Preparation(cr.Standardization(one.mean, one.scale, limit), one)
    rows = unit * np.linspace(-1.4, 1.4, 57)[:, None]
    found = net.export_onnx(tmp_path / "net.onnx", rows=rows)
    assert found.difference <= 1
    got, want = answers(tmp_path / "net.onnx", rows)["prediction"], net.predict(rows)
    finite = np.isfinite(want)
    assert finite[28]
    np.testing.assert_allclose(got[finite] / one.scale, want[finite] / one.scale, **CLOSE[dtype])
    assert np.ptp(want[finite]) > 0


def test_an_infinite_feature_is_no_number_in_the_file(tmp_path, rng):
    net = prepared(shaken(cr.MLP([2, 8, 3]), rng), rng)
    net.export_onnx(tmp_path / "net.onnx")
    said = answers(tmp_path / "net.onnx", np.array([[np.inf, 0], [0, np.nan], [0, 1e308]]))["probabilities"]
    assert np.isnan(said[:2]).all()
    assert np.isfinite(said[2]).all()


def test_a_file_that_lets_a_constant_column_count_is_not_written(tmp_path, rng, monkeypatch):
    """The rows that are compared have another value there."""
    net = shaken(cr.MLP([3, 5, 1], loss="squared_error"), rng)
    X = np.c_[rng.normal(size=(50, 2)), np.full(50, 2024.0)]
    net.preparation = cr.Preparation(cr.Standardization.fit(X, limit=3.0))
    assert np.ptp(cases.random_rows(net, np.dtype("f8"))[:, 2]) > 1000
    right = layers._standardized

    def as_before(g, x, s):
        return right(g, x, cr.Standardization(s.mean, np.where(s.is_constant, 1.0, s.scale)))

    monkeypatch.setattr(layers, "_standardized", as_before)
    assert_refused(net, tmp_path, cr.DataError, "nothing was written")


def test_a_trained_net(tmp_path, rng):
    X = rng.normal(size=(300, 4)) * [1, 5, 100, 0.1] + [0, 10, 1000, 3]
    y = (X[:, 0] + X[:, 1] / 5 > 2).astype(int)
    net = cr.MLP([4, 16, 2], normalization="batch", dropout=0.1)
    net.preparation = cr.Preparation(features=cr.Standardization.fit(X, limit=3.0))
    cr.Trainer(net, cr.Adam(lr=1e-2), epochs=3).fit(X, y)
    net.export_onnx(tmp_path / "net.onnx", rows=X)
    assert_same(net, tmp_path / "net.onnx", X.astype(np.float32))


# ---- the file ----------------------------------------------------------------------------------------------------


@pytest.fixture
def net(rng) -> cr.Network:
    net = prepared(shaken(cr.MLP([3, 5, 2]), rng), rng)
    p = net.preparation
    net.preparation = cr.Preparation(p.features, None, ("a", "ä\n", "c"), "kind", ("rose", "tülip"))
    return net


def test_the_file_says_what_it_is(tmp_path, net):
    net.export_onnx(tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 17)]
    assert (model.ir_version, model.producer_name, model.producer_version) == (8, "chainrule", cr.__version__)
    (x,) = model.graph.input
    assert (x.name, x.type.tensor_type.elem_type) == ("X", onnx.TensorProto.DOUBLE)
    assert [d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] == ["n", 3]
    about = {p.key: json.loads(p.value) for p in model.metadata_props}
    assert about == {
        "chainrule": {
            "version": cr.__version__, "loss": "softmax_cross_entropy", "feature_names": ["a", "ä\n", "c"],
            "target_name": "kind", "classes": ["rose", "tülip"],
        }
    }  # fmt: skip


def test_the_same_net_has_the_same_bytes_on_every_backend(tmp_path, net):
    net.export_onnx(tmp_path / "a")
    net.copy(backend=cr.GuardedBackend()).export_onnx(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


# ---- refusals ----------------------------------------------------------------------------------------------------


def assert_refused(net: cr.Network, folder: Path, kind: type[ChainruleError], match: str, **options: object) -> None:
    """That error, and the file that was there stays."""
    path = folder / "net.onnx"
    path.write_bytes(b"the old one")
    with pytest.raises(kind, match=match):
        export(net, path, **options)
    assert path.read_bytes() == b"the old one"
    assert [p.name for p in folder.iterdir()] == [path.name]


def test_an_activation_of_the_users_own(tmp_path):
    mine = cr.CustomActivation("softsign", lambda xp, z: z / (1 + abs(z)), lambda xp, z: 1 / (1 + abs(z)) ** 2)
    net = cr.Network([cr.Residual([cr.Dense(2), mine]), cr.Dense(2)], 2)
    assert_refused(net, tmp_path, cr.OptionError, "'softsign' has no ONNX form")


def test_a_preparation_that_would_be_lost(tmp_path, net, monkeypatch):
    monkeypatch.setattr(layers, "WRITTEN", layers.WRITTEN - {"features"})
    assert_refused(net, tmp_path, cr.OptionError, "the preparation has features, which has no ONNX form")


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_a_parameter_that_is_not_finite(tmp_path, net, wrong):
    net.assign_parameters({"dense0.b": np.full(5, wrong)})
    assert_refused(net, tmp_path, cr.DataError, "dense0.b is not finite")


def test_options_that_do_not_exist(tmp_path, net):
    assert_refused(
        net,
        tmp_path,
        cr.OptionError,
        "input_dtype: expected one of float32, float64, got 'float16'",
        input_dtype="float16",
    )
    assert_refused(net, tmp_path, cr.ShapeError, r"got \(5, 2\)", rows=np.zeros((5, 2)))


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error"])
def test_a_file_that_disagrees_is_not_written(tmp_path, rng, monkeypatch, loss):
    """A bias of the file alone is moved by a hundredth; that of a logit that decides, by two."""
    net = prepared(shaken(cr.MLP([3, 5, 2], loss=loss), rng), rng)
    parameters = net.parameter_arena.download()
    for by, place in ((0.01, r"(probabilities|prediction) at row 0, column"), (2.0, r"(label|prediction) at row")):
        moved = parameters | {"dense1.b": parameters["dense1.b"] + np.array([by, 0], np.float32)}
        monkeypatch.setattr(type(net.parameter_arena), "download", lambda _, moved=moved: moved)
        assert_refused(net, tmp_path, cr.DataError, f"{place}.* as from the net, .*nothing was written")
        monkeypatch.undo()


def test_labels_may_differ_where_the_net_is_undecided_and_nowhere_else():
    own = {"label": np.array([0, 0, 1]), "probabilities": np.array([[0.5, 0.499999], [0.6, 0.4], [0.1, 0.9]], "f4")}
    apart = agreement._differences("label", {"label": np.array([1, 1, 1])}, agreement.Case({}, own, {}), 3)
    assert apart.tolist() == [0, np.inf, 0]
    own = {"label": np.array([[0, 1]]), "probabilities": np.array([[0.49999, 0.6]], "f4")}
    case = agreement.Case({}, own, {})
    assert agreement._differences("label", {"label": np.array([[1, 0]])}, case, 1).tolist() == [[0, np.inf]]


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_first_of_equal_classes_is_the_label(tmp_path, dtype):
    net = cr.MLP([3, 4], dtype=dtype)
    net.assign_parameters({"dense0.W": np.zeros((3, 4)), "dense0.b": [0, 1, 1, 1]})
    net.export_onnx(tmp_path / "net.onnx")
    assert answers(tmp_path / "net.onnx", np.ones((2, 3), dtype))["label"].tolist() == [1, 1]


def test_a_price_is_held_by_how_prices_differ():
    """One part in ten thousand of 250,000 is 25: too much if prices differ by 100."""
    prices = 250_000 + 100 * np.random.default_rng(0).normal(size=(1000, 1))
    assert agreement.allowed(prices.astype(np.float32)).max() < 2
    assert agreement.allowed(prices).max() < 1e-6


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_a_missing_package(tmp_path, net, monkeypatch, missing):
    monkeypatch.setitem(sys.modules, missing, None)
    assert_refused(net, tmp_path, cr.OptionError, r"(?s)onnx.* is not installed.*pip install 'chainrule\[onnx\]'")
    if missing == "onnxruntime":
        assert net.export_onnx(tmp_path / "unchecked", unchecked=True) is None
        monkeypatch.undo()
        assert_same(net, tmp_path / "unchecked", cases.random_rows(net, np.dtype("f4")))


# ---- the command -------------------------------------------------------------------------------------------------


def command(capsys, *argv: object) -> tuple[int, str]:
    from chainrule.cli.main import main

    code = main([str(a) for a in argv])
    return code, capsys.readouterr().err


def test_the_command(tmp_path, net, capsys, monkeypatch):
    model, file = tmp_path / "model.safetensors", tmp_path / "net.onnx"
    net.save(model)
    code, said = command(capsys, "export", model, "--onnx", file, "--input-dtype", "float64")
    assert code == 0
    assert "checked  256 rows in onnxruntime" in said
    assert f"wrote    {file}: {file.stat().st_size:,} bytes" in said
    assert_same(net, file, cases.random_rows(net, np.dtype("f8")))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    code, said = command(capsys, "export", model, "--onnx", tmp_path / "other")
    assert code == 2
    assert "--unchecked" in said
    assert not (tmp_path / "other").exists()
    code, said = command(capsys, "export", tmp_path, "--onnx", tmp_path / "other", "--unchecked")
    assert code == 0
    assert "checked  no" in said
    assert (tmp_path / "other").exists()
    assert command(capsys, "export", model)[0] == 2
    assert command(capsys, "export", model, "--onnx", tmp_path / "no folder" / "net.onnx", "--unchecked")[0] == 5


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("loss", "n_out"),
    [
        ("softmax_cross_entropy", 3),
        ("sigmoid_cross_entropy", 1),
        ("sigmoid_cross_entropy", 2),
        ("squared_error", 2),
        ("poisson", 1),
        ("quantile", 6),
        ("gaussian_nll", 4),
    ],
)
def test_an_ensemble_is_one_file_with_the_mean_inside(tmp_path, rng, loss, n_out, dtype):
    net = cr.MLP([4, 6, n_out], members=3, loss=loss, dtype=dtype, normalization="batch", dropout=0.2)
    net = prepared(shaken(net, rng), rng)
    net.export_onnx(tmp_path / "ensemble.onnx")
    assert_same(net, tmp_path / "ensemble.onnx", rng.normal(0, 30, size=(40, 4)))
