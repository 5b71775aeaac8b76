"""The start of a dense layer: variances, zeros, biases, rows of W; the same on every backend, kept in a model file."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.errors import OptionError
from chainrule.files import model_file
from chainrule.nn.layers.initializers import uniform_limit

N_IN, N_OUT = 400, 300


def first(start: cr.Start, *, backend: cr.Backend | None = None, seed: int = 3, activation: str = "selu") -> cr.Network:
    return cr.Network([cr.Dense(N_OUT, activation, start=start), cr.Dense(2)], N_IN, backend=backend, seed=seed)


def parameters(net: cr.Network) -> tuple[np.ndarray, np.ndarray]:
    found = net.parameter_arena.download()
    return found["dense0.W"], found["dense0.b"]


@pytest.mark.parametrize("weights", ["he", "glorot", "lecun"])
def test_a_start_has_the_initial_weights_of_its_name_for_any_activation(weights):
    W, b = parameters(first(cr.Start(weights)))
    assert np.abs(W).max() == pytest.approx(uniform_limit(weights, N_IN, N_OUT), rel=1e-3)
    assert not b.any()


def test_the_start_that_suits_the_activation_has_the_bits_of_a_layer_without_one():
    plain, same = parameters(cr.MLP([N_IN, N_OUT, 2], activation="selu", seed=3)), parameters(first(cr.Start()))
    assert [array.tobytes() for array in plain] == [array.tobytes() for array in same]
    assert parameters(first(cr.Start("lecun")))[0].tobytes() == plain[0].tobytes()


def test_a_start_at_zero_gives_the_same_output_for_all_rows(rng):
    net = cr.Network([cr.Dense(8, "selu"), cr.Dense(3, start=cr.Start("zero"))], 4)
    assert not net.parameter_arena.download()["dense1.W"].any()
    np.testing.assert_array_equal(net.predict_proba(rng.normal(size=(5, 4))), np.float32(1 / 3))
    run = cr.Trainer(net, epochs=20).fit(rng.normal(size=(60, 4)), np.arange(60) % 3)
    assert run.history["loss"][-1] < np.log(3)


def test_initial_biases_are_uniform_of_the_standard_deviation(rng):
    W, b = parameters(first(cr.Start(bias_std=2.0)))
    assert np.abs(b).max() <= 2 * np.sqrt(3)
    assert b.std() == pytest.approx(2.0, rel=0.1)
    assert abs(b.mean()) < 0.5
    assert W.tobytes() == parameters(first(cr.Start()))[0].tobytes()
    assert b.tobytes() != parameters(first(cr.Start(bias_std=2.0), seed=4))[1].tobytes()


def test_two_layers_have_initial_biases_of_their_own():
    start = cr.Start(bias_std=1.0)
    net = cr.Network([cr.Dense(5, start=start), cr.Dense(5, start=start), cr.Dense(2)], 5)
    found = net.parameter_arena.download()
    assert not np.isclose(found["dense0.b"], found["dense1.b"]).any()


def test_only_the_first_rows_of_w_start_with_weights():
    """With the variance of a layer of so many inputs."""
    W, _ = parameters(first(cr.Start("lecun", rows=100)))
    assert not W[100:].any()
    assert W[:100].var() == pytest.approx(1 / 100, rel=0.02)
    small = cr.Network([cr.Dense(N_OUT, "selu"), cr.Dense(2)], 100, seed=3).parameter_arena.download()["dense0.W"]
    assert W[:100].tobytes() == small.tobytes()


def test_weights_may_be_those_of_another_number_of_inputs():
    W, _ = parameters(first(cr.Start("lecun", fan_in=2.5)))
    assert W.var() == pytest.approx(1 / 2.5, rel=0.02)
    with pytest.raises(OptionError, match="fan_in"):
        cr.Start(fan_in=0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_start_has_the_same_bits_on_every_backend(backend, dtype):
    layers = [cr.Dense(33, "selu", start=cr.Start("lecun", bias_std=1.0, rows=5)), cr.Dense(2, start=cr.Start("zero"))]
    nets = [cr.Network(layers, 17, backend=be, dtype=dtype, seed=9) for be in (backend, NumPyBackend())]
    one, other = (net.parameter_arena.download() for net in nets)
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)


def test_a_model_file_keeps_a_start_and_one_without_stays_as_old_as_it_was(tmp_path):
    start = cr.Start("glorot", bias_std=0.5, rows=7)
    net = first(start)
    net.save(tmp_path / "m")
    assert cr.load(tmp_path / "m", device="cpu").layers[0].start == start
    assert net.describe()["layers"][0]["start"] == {"weights": "glorot", "bias_std": 0.5, "rows": 7}
    assert model_file.version_of(net.describe()) == 6
    assert model_file.version_of(first(cr.Start()).describe()) == 1


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: cr.Start("normal"), "weights"),
        (lambda: cr.Start(bias_std=-1.0), "bias_std"),
        (lambda: cr.Start(bias_std=float("nan")), "bias_std"),
        (lambda: cr.Start(rows=0), "rows"),
        (lambda: cr.Dense(3, start="zero"), "start: expected a Start, got 'zero'"),
        (lambda: cr.Network([cr.Dense(3, start=cr.Start(rows=5))], 4), "at most the 4 inputs, got 5"),
    ],
    ids=["unknown weights", "negative biases", "nan as biases", "no rows", "a name as start", "more rows than inputs"],
)
def test_a_wrong_start_is_refused(make, words):
    with pytest.raises(OptionError, match=words):
        make()
