"""A net as a file, and back: the same predictions bit for bit, or a ModelFileError."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import chainrule as cr
from chainrule.errors import ModelFileError
from chainrule.files import model_file

X = np.random.default_rng(8).normal(size=(9, 4))
NETS = {
    "classes": lambda be: cr.MLP([4, 7, 3], backend=be, seed=2**64 - 1),
    "float64": lambda be: cr.MLP([4, 7, 3], backend=be, dtype="float64", activation="tanh"),
    "regression": lambda be: cr.MLP([4, 2], backend=be, loss="squared_error", activation="sigmoid"),
    "one answer": lambda be: cr.MLP([4, 5, 5, 1], backend=be, loss="sigmoid_cross_entropy"),
    "summed": lambda be: cr.MLP([4, 3, 2], backend=be, loss="squared_error_sum", dtype="float64"),
    "quantiles": lambda be: cr.MLP([4, 5, 3], backend=be, loss=cr.Quantile([0.25, 0.5, 0.9])),
    "usual quantiles": lambda be: cr.MLP([4, 6], backend=be, loss="quantile"),
    "mean and variance": lambda be: cr.MLP([4, 4], backend=be, loss="gaussian_nll"),
    "smoothed": lambda be: cr.MLP([4, 3], backend=be, loss=cr.SoftmaxCrossEntropy(label_smoothing=0.1)),
    "focal": lambda be: cr.MLP([4, 3], backend=be, loss=cr.Focal(gamma=1.5, reduction="sum")),
    "huber": lambda be: cr.MLP([4, 3], backend=be, loss=cr.Huber(delta=0.25)),
    "counts": lambda be: cr.MLP([4, 1], backend=be, loss="poisson"),
    "mixed layers": lambda be: cr.Network([cr.Dense(3, "tanh"), cr.Dense(5, "relu"), cr.Dense(2)], 4, backend=be),
}


@pytest.mark.parametrize("name", NETS)
def test_a_net_comes_back_as_it_was(backend, tmp_path, name):
    net = NETS[name](backend)
    net.save(tmp_path / "m")
    read = cr.load(tmp_path / "m", device="cpu")
    assert (read.layers, read.n_in, read.loss_name, read.dtype, read.seed) == (
        net.layers,
        net.n_in,
        net.loss_name,
        net.dtype,
        net.seed,
    )
    assert read.loss == net.loss
    for key, value in net.parameter_arena.download().items():
        assert read.parameter_arena.download()[key].tobytes() == value.tobytes()
    if backend.device == "cpu":
        assert read.predict(X).tobytes() == net.predict(X).tobytes()
    read.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (tmp_path / "m").read_bytes()


def test_the_preparation_comes_back(tmp_path, rng):
    net = cr.MLP([4, 5, 2], loss="squared_error")
    net.preparation = cr.Preparation(
        cr.Standardization.fit(1e9 + X, limit=4.0),
        cr.Standardization.fit(rng.normal(size=(9, 2))),
        ("länge", 'b"\n', "", "d" * 300),
        "value",
        ("no", "yes"),
    )
    net.save(tmp_path / "m")
    read = cr.load(tmp_path / "m", device="cpu")
    assert read.predict(1e9 + X).tobytes() == net.predict(1e9 + X).tobytes()
    for part in ("features", "targets"):
        was, now = getattr(net.preparation, part), getattr(read.preparation, part)
        assert (now.mean.tobytes(), now.scale.tobytes()) == (was.mean.tobytes(), was.scale.tobytes())
        assert now.limit == was.limit
    for part in ("feature_names", "target_name", "classes"):
        assert getattr(read.preparation, part) == getattr(net.preparation, part)


def test_a_trained_net_is_saved_as_trained(tmp_path):
    net = cr.MLP([4, 6, 3])
    cr.Trainer(net, epochs=3).fit(X, np.arange(9) % 3)
    net.save(tmp_path / "m")
    assert cr.load(tmp_path / "m", device="cpu").predict_proba(X).tobytes() == net.predict_proba(X).tobytes()


def test_the_folder_of_a_run_is_loaded_as_the_command_does(tmp_path):
    net = cr.MLP([2, 3, 2], seed=3)
    net.save(tmp_path / "model.safetensors")
    for path in (tmp_path, str(tmp_path)):
        np.testing.assert_array_equal(
            cr.load(path, device="cpu").predict_proba(np.eye(2)), net.predict_proba(np.eye(2))
        )
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ModelFileError, match=r"model.safetensors does not exist"):
        cr.load(tmp_path)


def test_saving_replaces_the_file(tmp_path):
    for seed in (1, 2):
        cr.MLP([4, 3], seed=seed).save(str(tmp_path / "m"))
    assert cr.load(str(tmp_path / "m"), device="cpu").seed == 2
    assert [p.name for p in tmp_path.iterdir()] == ["m"]


# ---- descriptions and arrays that do not belong together ------------------------------------------

DESCRIPTION = {
    "n_in": 3, "layers": [{"kind": "dense", "n_out": 2, "activation": "identity"}], "loss": "squared_error",
    "dtype": "float32", "seed": 0, "feature_names": [], "target_name": "", "classes": [],
}  # fmt: skip
W, B = np.zeros((3, 2), np.float32), np.zeros(2, np.float32)
TENSORS = {"parameters.dense0.W": W, "parameters.dense0.b": B}
LAYER = DESCRIPTION["layers"][0]
STANDARDIZATION = {"features.mean": np.zeros(3), "features.scale": np.ones(3)}
CONSTANT = STANDARDIZATION | {"features.scale": np.array([1, 1, np.inf])}
EMBEDDING = {"kind": "embedding", "columns": [0], "counts": [2], "widths": [4], "shares": [[]]}
NESTED: dict[str, Any] = {"kind": "dropout"}
for _ in range(100):
    NESTED = {"kind": "residual", "layers": [NESTED]}

MISFITS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "wider than its arrays": ({"n_in": 4}, {}),
    "deeper than its arrays": ({"layers": [LAYER, LAYER]}, {}),
    "no layers": ({"layers": []}, {}),
    "a layer of no known kind": ({"layers": [{"kind": "pickle"}, LAYER]}, {}),
    "a layer with a field too many": ({"layers": [LAYER | {"hook": "os.system"}]}, {}),
    "a dropout rate of 1": ({"layers": [{"kind": "dropout", "rate": 1}, LAYER]}, {}),
    "a block without layers": ({"layers": [{"kind": "residual", "layers": []}, LAYER]}, {}),
    "a block that is no list": ({"layers": [{"kind": "residual", "layers": 3}, LAYER]}, {}),
    "a block of another width": ({"layers": [{"kind": "residual", "layers": [LAYER]}, LAYER]}, {}),
    "a block within itself": ({"layers": [NESTED, LAYER]}, {}),
    "a concatenating block without layers": ({"layers": [{"kind": "concatenate", "layers": []}, LAYER]}, {}),
    "columns beside each other without their weights": (
        {"layers": [{"kind": "concatenate", "layers": [{"kind": "dropout"}]}, LAYER]},
        {},
    ),
    "a scale without its factors": ({"layers": [{"kind": "scale"}, LAYER]}, {}),
    "an encoding without edges": ({"layers": [{"kind": "piecewise_linear"}, LAYER]}, {}),
    "edges that are a number": ({"layers": [{"kind": "piecewise_linear", "edges": 3}, LAYER]}, {}),
    "edges that are text": ({"layers": [{"kind": "piecewise_linear", "edges": ["abc"]}, LAYER]}, {}),
    "edges that fall": ({"layers": [{"kind": "piecewise_linear", "edges": [[1.0, 0.0]]}, LAYER]}, {}),
    "edges beyond float32": ({"layers": [{"kind": "piecewise_linear", "edges": [[0.0, 1e39]]}, LAYER]}, {}),
    "edges of more columns than there are": ({"layers": [{"kind": "piecewise_linear", "edges": [[]] * 4}, LAYER]}, {}),
    "fractions without their weights": ({"layers": [{"kind": "piecewise_linear", "edges": [[0.0, 1.0]]}, LAYER]}, {}),
    "a normalisation without its statistics": ({"layers": [{"kind": "batch_norm"}, LAYER]}, {}),
    "an embedding without tables": ({"layers": [EMBEDDING, LAYER]}, {}),
    "an embedding of a column that is not there": ({"layers": [EMBEDDING | {"columns": [3]}, LAYER]}, {}),
    "an embedding of more than there is memory": ({"layers": [EMBEDDING | {"widths": [2**50]}, LAYER]}, {}),
    "an embedding that is not the first": (
        {"layers": [LAYER | {"n_out": 3}, EMBEDDING, LAYER]},
        {
            "parameters.dense1.W": np.zeros((6, 2)),
            "parameters.dense1.b": B,
            "parameters.dense0.W": np.zeros((3, 3)),
            "parameters.dense0.b": np.zeros(3),
            "parameters.embedding0.E0": np.zeros((2, 4)),
        },
    ),
    "no units": ({"layers": [LAYER | {"n_out": 0}]}, {}),
    "a start that is a number": ({"layers": [LAYER | {"start": 3}]}, {}),
    "a start of an unknown option": ({"layers": [LAYER | {"start": {"mean": 1.0}}]}, {}),
    "a start of unknown weights": ({"layers": [LAYER | {"start": {"weights": "normal"}}]}, {}),
    "a start with biases below 0": ({"layers": [LAYER | {"start": {"bias_std": -1.0}}]}, {}),
    "a start of more rows than W has": ({"layers": [LAYER | {"start": {"rows": 4}}]}, {}),
    "half a unit": ({"layers": [LAYER | {"n_out": 2.5}]}, {}),
    "a layer without its size": ({"layers": [{"kind": "dense", "activation": "identity"}]}, {}),
    "an unknown activation": ({"layers": [LAYER | {"activation": "os.system"}]}, {}),
    "an activation that is a list": ({"layers": [LAYER | {"activation": ["relu"]}]}, {}),
    "an activation at the top": ({"layers": [LAYER | {"activation": "relu"}]}, {}),
    "an unknown loss": ({"loss": "hinge"}, {}),
    "an unknown loss with options": ({"loss": {"name": "hinge"}}, {}),
    "a loss without a name": ({"loss": {"delta": 1.0}}, {}),
    "a name with what it stands for": ({"loss": {"name": "squared_error_sum"}}, {}),
    "a loss that is a list": ({"loss": ["huber"]}, {}),
    "an option that there is not": ({"loss": {"name": "huber", "gamma": 1.0}}, {}),
    "outputs among the options": ({"loss": {"name": "huber", "n_out": 2}}, {}),
    "an option that is text": ({"loss": {"name": "huber", "delta": "1"}}, {}),
    "an option out of range": ({"loss": {"name": "focal", "gamma": -1}}, {}),
    "levels that fall": ({"loss": {"name": "quantile", "levels": [0.9, 0.1]}}, {}),
    "levels that are none": ({"loss": {"name": "quantile", "levels": 3}}, {}),
    "a loss of more outputs": ({"loss": "quantile"}, {}),
    "standardised counts": ({"loss": "poisson"}, {"targets.mean": np.zeros(2), "targets.scale": np.ones(2)}),
    "targets of another width": ({"loss": "gaussian_nll"}, {"targets.mean": np.zeros(2), "targets.scale": np.ones(2)}),
    "an unknown dtype": ({"dtype": "float16"}, {}),
    "complex numbers": ({"dtype": "complex128"}, {}),
    "one class alone": ({"classes": ["only one"]}, {}),
    "one name for three columns": ({"feature_names": ["a"]}, {}),
    "an array that is no part of a net": ({}, {"foreign": np.zeros(3)}),
    "a limit without a number": ({}, STANDARDIZATION | {"features.limit": np.zeros(0)}),
    "a dtype that is no dtype": ({"dtype": "what"}, {}),
    "a negative seed": ({"seed": -1}, {}),
    "no columns": ({"n_in": 0}, {}),
    "more columns than there is memory": ({"n_in": 2**62}, {}),
    "a weight missing": ({}, {"parameters.dense0.W": None}),
    "a weight too many": ({}, {"parameters.dense1.W": W}),
    "a weight of another shape": ({}, {"parameters.dense0.b": np.zeros(3, np.float32)}),
    "a transposed weight": ({}, {"parameters.dense0.W": W.T}),
    "a mean without a scale": ({}, {"features.mean": np.zeros(3)}),
    "a mean of another width": ({}, STANDARDIZATION | {"features.mean": np.zeros(2), "features.scale": np.ones(2)}),
    "a mean and a scale that differ": ({}, STANDARDIZATION | {"features.scale": np.ones(4)}),
    "a constant column too few": ({}, CONSTANT),
    "a constant column too many": ({"constant_columns": 2}, CONSTANT),
    "constant columns without a scale": ({"constant_columns": 1}, {}),
    "constant columns that are none": ({"constant_columns": True}, CONSTANT),
    "an infinite mean": ({"constant_columns": 1}, CONSTANT | {"features.mean": np.array([0, 0, np.inf])}),
    "an infinite limit": ({"constant_columns": 1}, CONSTANT | {"features.limit": np.array([np.inf])}),
    "an infinite weight": ({"constant_columns": 1}, CONSTANT | {"parameters.dense0.b": np.full(2, np.inf, "f4")}),
    **{
        f"a scale of {value}": (
            {"constant_columns": 1},
            STANDARDIZATION | {"features.scale": np.array([1, np.inf, value])},
        )
        for value in (0, -1, -np.inf, np.nan)
    },
}


@pytest.mark.parametrize("name", MISFITS)
def test_descriptions_that_do_not_fit_their_arrays(tmp_path, name):
    """The checksum is right in each: only what the file says is wrong."""
    description, tensors = MISFITS[name]
    kept = {key: value for key, value in (TENSORS | tensors).items() if value is not None}
    model_file.write(tmp_path / "m", DESCRIPTION | description, kept)
    with pytest.raises(ModelFileError):
        cr.load(tmp_path / "m", device="cpu")


def test_the_file_that_these_start_from_is_fine(tmp_path):
    model_file.write(tmp_path / "m", DESCRIPTION, TENSORS | STANDARDIZATION)
    assert cr.load(tmp_path / "m", device="cpu").widths == (3, 2)
    model_file.write(tmp_path / "m", DESCRIPTION | {"constant_columns": 1}, TENSORS | CONSTANT)
    found = cr.load(tmp_path / "m", device="cpu").preparation.features
    assert found.is_constant.tolist() == [False, False, True]


def test_a_net_with_an_invalid_standardization_is_not_saved(tmp_path):
    for mean, scale in ((np.nan, 1), (np.inf, np.inf), (0, np.nan), (0, -np.inf)):
        net = cr.MLP([1, 1], loss="squared_error")
        net.preparation = cr.Preparation(cr.Standardization(np.array([mean], float), np.array([scale], float)))
        with pytest.raises(cr.DataError, match="not finite"):
            net.save(tmp_path / "m")
    assert not list(tmp_path.iterdir())


def test_a_net_with_a_nan_among_its_parameters_is_not_saved(tmp_path):
    net = cr.MLP([2, 2])
    net.parameters()["dense0.W"][0, 0] = np.nan
    with pytest.raises(cr.DataError, match="not finite"):
        net.save(tmp_path / "m")


def test_a_device_that_is_none(tmp_path):
    cr.MLP([2, 2]).save(tmp_path / "m")
    with pytest.raises(cr.OptionError, match="device: expected auto, cpu, cuda or cuda:N, got 'tpu'"):
        cr.load(tmp_path / "m", device="tpu")


def test_other_libraries_can_read_the_arrays(tmp_path):
    """The payload is plain safetensors, the description plain JSON."""
    net = cr.MLP([4, 3])
    net.save(tmp_path / "m")
    arrays = safetensors.numpy.load_file(tmp_path / "m")
    np.testing.assert_array_equal(arrays["parameters.dense0.W"], net.parameters()["dense0.W"])
    with safetensors.safe_open(tmp_path / "m", framework="np") as file:
        assert json.loads(file.metadata()[model_file.FORMAT.key])["description"]["n_in"] == 4


def test_a_loss_with_its_usual_options_is_a_name_in_the_file(tmp_path):
    """As files of before had it; others are a name and options."""
    for loss, want in (
        (cr.SquaredError(reduction="sum"), "squared_error_sum"),
        (cr.Huber(delta=2), {"name": "huber", "reduction": "mean", "delta": 2}),
    ):
        cr.MLP([2, 1], loss=loss).save(tmp_path / "m")
        assert model_file.read(tmp_path / "m")[0]["loss"] == want


def test_quantile_predictions_are_in_units_of_the_target_per_column(tmp_path):
    net = cr.MLP([4, 6], loss="quantile")
    net.preparation = cr.Preparation(targets=cr.Standardization(np.array([1.0, 2.0]), np.array([3.0, 4.0])))
    net.save(tmp_path / "m")
    assert cr.load(tmp_path / "m", device="cpu").predict(X).tobytes() == net.predict(X).tobytes()


def test_describe_is_what_a_model_file_keeps(tmp_path):
    net = cr.MLP([3, 4, 2], activation="gelu", dropout=0.1, loss=cr.Focal(1.5), dtype="float64", seed=7)
    net.preparation = cr.Preparation(feature_names=("a", "b", "c"), target_name="y", classes=("no", "yes"))
    net.save(tmp_path / "m")
    description, _ = model_file.read(tmp_path / "m")
    described = {**net.describe(), **net.preparation.describe()}
    assert {name: description[name] for name in described} == described
    assert list(net.describe()) == ["n_in", "layers", "loss", "dtype", "seed"]


def test_an_ensemble_is_one_file_of_version_6(tmp_path, rng):
    net, X = cr.MLP([4, 6, 3], members=3, member=2, dropout=0.1, seed=9), rng.normal(size=(5, 4))
    net.preparation = cr.Preparation(features=cr.Standardization.fit(rng.normal(2, 3, size=(50, 4))))
    net.save(tmp_path / "ensemble.safetensors")
    again = cr.load(tmp_path / "ensemble.safetensors")
    assert (again.members, again.first_member) == (3, 2)
    np.testing.assert_array_equal(again.predict_proba(X), net.predict_proba(X))
    np.testing.assert_array_equal(again.predict_members(X), net.predict_members(X))
    assert model_file.read(tmp_path / "ensemble.safetensors")[0]["members"] == 3
    assert model_file.version_of(net.describe()) == 6
    assert model_file.version_of(cr.MLP([4, 6, 3]).describe()) == 1


def test_a_member_is_saved_with_its_number(tmp_path):
    net = cr.MLP([4, 6, 3], members=3, seed=9)
    net.member(1).save(tmp_path / "one.safetensors")
    again = cr.load(tmp_path / "one.safetensors")
    assert (again.members, again.first_member) == (1, 1)
    np.testing.assert_array_equal(again.parameter_arena["dense0.W"], net.parameter_arena["dense0.W"][1])


@pytest.mark.parametrize("members", [2, 0, -1, 1.5, "3", True, 10**9])
def test_a_file_with_another_number_of_members_is_refused(tmp_path, members):
    path = tmp_path / "ensemble.safetensors"
    net = cr.MLP([4, 6, 3], members=3)
    net.save(path)
    description, tensors = model_file.read(path)
    model_file.write(path, description | {"members": members}, tensors)
    with pytest.raises(cr.ModelFileError):
        cr.load(path)
