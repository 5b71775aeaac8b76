"""Nets: their parameters, their gradients as arrays, their predictions, and what options they refuse."""

from __future__ import annotations

import copy
import pickle
import threading

import numpy as np
import pytest

import chainrule as cr
from activation_formulas import FORMULAS
from chainrule.nn.layers.initializers import uniform_limit

N, N_IN = 30, 4
X = np.random.default_rng(3).normal(size=(N, N_IN))


def logits_of(net: cr.Network, x: np.ndarray) -> np.ndarray:
    """The forward pass in plain float64, activations by name."""
    p = {name: value.astype(np.float64) for name, value in net.parameter_arena.download().items()}
    for i, layer in enumerate(net.layers):
        x = FORMULAS[layer.activation].act(x @ p[f"dense{i}.W"] + p[f"dense{i}.b"])
    return x


# ---- predictions ----------------------------------------------------------------------------------

SHAPES = [  # loss, outputs, shape and kind of predict, shape of predict_proba
    ("softmax_cross_entropy", 2, (N,), "int32", (N, 2)),
    ("softmax_cross_entropy", 5, (N,), "int32", (N, 5)),
    ("sigmoid_cross_entropy", 1, (N,), "int32", (N,)),
    ("sigmoid_cross_entropy", 3, (N, 3), "int32", (N, 3)),
    ("squared_error", 1, (N,), "float", None),
    ("squared_error", 3, (N, 3), "float", None),
    ("squared_error_sum", 2, (N, 2), "float", None),
]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("loss", "n_out", "shape", "kind", "proba_shape"), SHAPES)
def test_predictions(backend, loss, n_out, shape, kind, proba_shape, dtype):
    net = cr.MLP([N_IN, 6, n_out], loss=loss, activation="tanh", backend=backend, dtype=dtype, seed=1)
    z, tolerance = logits_of(net, X), 1e-12 if dtype == "float64" else 1e-5
    got = net.predict(X)
    assert isinstance(got, np.ndarray)
    assert (got.shape, got.dtype) == (shape, np.dtype(dtype if kind == "float" else kind))
    if loss == "softmax_cross_entropy":
        want, proba = z.argmax(axis=1), np.exp(z - np.logaddexp.reduce(z, axis=1)[:, None])
    elif loss == "sigmoid_cross_entropy":
        want, proba = (z > 0).reshape(shape), (1 / (1 + np.exp(-z))).reshape(proba_shape)
    else:
        want = z.reshape(shape)
    np.testing.assert_allclose(got, want, rtol=tolerance, atol=tolerance)
    if proba_shape is None:
        with pytest.raises(cr.OptionError, match=r"no probabilities(?s:.*)use predict"):
            net.predict_proba(X)
    else:
        assert (net.predict_proba(X).shape, net.predict_proba(X).dtype) == (proba_shape, np.dtype(dtype))
        np.testing.assert_allclose(net.predict_proba(X), proba, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error"])
@pytest.mark.parametrize("rows", [1, 7, 10, N - 1])
def test_predicting_in_parts_is_predicting_the_whole(backend, monkeypatch, loss, rows):
    """Whole parts, a ragged last one, and rows one by one."""
    net = cr.MLP([N_IN, 6, 3], loss=loss, backend=backend, dtype="float64")
    whole = net.predict(X)
    monkeypatch.setattr(cr.Network, "evaluation_rows", lambda _, n: min(n, rows))
    np.testing.assert_allclose(net.copy().predict(X), whole, rtol=1e-12)  # the net itself keeps its pass


def test_prediction_applies_the_preparation(backend):
    mean, scale = np.array([1.0, -2.0, 0.0, 5.0]), np.array([2.0, 0.5, 1.0, 3.0])
    plain, net = (cr.MLP([N_IN, 6, 2], loss="squared_error", backend=backend, dtype="float64") for _ in range(2))
    net.preparation = cr.Preparation(
        cr.Standardization(mean, scale), cr.Standardization(np.array([10.0, -20.0]), np.array([4.0, 0.25]))
    )
    want = plain.predict((X - mean) / scale) * [4.0, 0.25] + [10.0, -20.0]
    np.testing.assert_allclose(net.predict(X), want, rtol=1e-12)
    loss, _ = net.loss_and_gradients(X, want)
    assert loss < 1e-24, "targets are standardised before they are compared"


@pytest.mark.parametrize("backend", ["numpy", "compiled", pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True)
def test_predictions_from_several_threads(backend):
    """They start cold: nothing has been predicted, nor planned, compiled or tuned, before they all ask at once.

    The backends for tests that are not here take one thread at a time.
    """
    net = cr.MLP([N_IN, 50, 3], backend=backend)
    inputs = [np.random.default_rng(i).normal(size=(200 + 13 * i, N_IN)) for i in range(4)]
    barrier, found = threading.Barrier(4), [set[bytes]() for _ in inputs]

    def ask(i: int) -> None:
        barrier.wait()
        found[i].update(net.predict_proba(inputs[i]).tobytes() for _ in range(30))

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [{net.predict_proba(x).tobytes()} for x in inputs]


# ---- gradients ------------------------------------------------------------------------------------


def test_gradients_are_yours_to_keep(backend):
    net = cr.MLP([N_IN, 6, 3], backend=backend)
    y = np.arange(N) % 3
    before = net.parameter_arena.download()
    loss, gradients = net.loss_and_gradients(X, y)
    kept = {name: backend.download(g) for name, g in gradients.items()}
    assert list(gradients) == list(net.parameters()) == ["dense0.W", "dense0.b", "dense1.W", "dense1.b"]
    other_loss, _ = net.loss_and_gradients(X[:5] + 1, y[:5])
    assert loss != other_loss
    for name, gradient in gradients.items():
        np.testing.assert_array_equal(backend.download(gradient), kept[name])
        assert gradient.shape == before[name].shape
        np.testing.assert_array_equal(backend.download(net.parameters()[name]), before[name])
    again, repeated = net.loss_and_gradients(X, y)
    assert again == loss
    assert all((backend.download(repeated[name]) == kept[name]).all() for name in kept)


# ---- parameters -----------------------------------------------------------------------------------


def test_parameters_are_views(backend):
    net = cr.MLP([N_IN, 6, 2], loss="squared_error", backend=backend)
    with backend.running():
        for value in net.parameters().values():
            backend.fill(0.0, out=value)
        backend.fill(2.5, out=net.parameters()["dense1.b"])
    np.testing.assert_array_equal(net.predict(X), np.full((N, 2), 2.5))


def test_parameters_of_numpy_can_be_assigned_into():
    net = cr.MLP([N_IN, 2], loss="squared_error", dtype="float64")
    net.parameters()["dense0.W"][...] = np.eye(4, 2)
    net.parameters()["dense0.b"][1] = 1.0
    np.testing.assert_array_equal(net.predict(X), X[:, :2] + [0.0, 1.0])


def test_parameters_can_be_assigned_by_name(backend):
    net = cr.MLP([N_IN, 6, 2], backend=backend)
    before = net.parameter_arena.download()
    net.assign_parameters({"dense1.b": [3.0, 4.0]})
    after = net.parameter_arena.download()
    assert after.pop("dense1.b").tolist() == [3.0, 4.0]
    assert all((after[name] == before[name]).all() for name in after)
    for wrong in ({"dense1.b": [1.0, 2.0], "dense2.b": [1.0]}, {"dense1.b": [1.0, 2.0], "dense0.b": [1.0]}):
        with pytest.raises(cr.ShapeError):
            net.assign_parameters(wrong)
        assert net.parameter_arena.download()["dense1.b"].tolist() == [3.0, 4.0]


def test_counts_and_names():
    net = cr.MLP([64, 100, 10], activation="tanh")
    assert net.parameter_count == 64 * 100 + 100 + 100 * 10 + 10
    assert net.widths == (64, 100, 10)
    many = cr.MLP([2] * 13)
    assert list(many.parameters())[18:22] == ["dense9.W", "dense9.b", "dense10.W", "dense10.b"], "in layer order"


def test_layers_of_different_activations(backend):
    layers = [*(cr.Dense(3 + i % 3, activation) for i, activation in enumerate(FORMULAS)), cr.Dense(2)]
    net = cr.Network(layers, N_IN, loss="squared_error", backend=backend, dtype="float64", seed=4)
    np.testing.assert_allclose(net.predict(X), logits_of(net, X), rtol=1e-12)


@pytest.mark.parametrize("options", [{}, {"dtype": "float64"}, {"dtype": "float32"}])
def test_copy_is_independent_of_the_net(backend, options):
    net = cr.MLP([N_IN, 6, 3], backend=backend, activation="tanh", seed=9)
    net.preparation = cr.Preparation(classes=("a", "b", "c"))
    with backend.running():
        backend.fill(0.5, out=net.parameters()["dense1.b"])
    copied = net.copy(**options)
    assert (type(copied), copied.layers, copied.loss_name, copied.seed) == (cr.MLP, net.layers, net.loss_name, 9)
    assert (copied.preparation, copied.dtype) == (net.preparation, np.dtype(options.get("dtype", "float32")))
    before = net.predict_proba(X)
    np.testing.assert_allclose(copied.predict_proba(X), before, rtol=1e-5)
    cr.Trainer(copied, epochs=1).fit(X, np.arange(N) % 3)
    np.testing.assert_array_equal(net.predict_proba(X), before, "training the copy changed the net")


def test_copy_is_of_the_same_class(backend):
    class Doubled(cr.MLP):
        def loss_and_gradients(self, *rows):
            loss, gradients = super().loss_and_gradients(*rows)
            return 2 * loss, gradients

    net = Doubled([N_IN, 2], backend=backend)
    copied = net.copy(dtype="float64")
    assert type(copied) is Doubled
    y = np.arange(N) % 2
    assert copied.loss_and_gradients(X, y)[0] == pytest.approx(net.loss_and_gradients(X, y)[0], rel=1e-5)
    assert copied.gradient_arena is not net.gradient_arena


def test_copy_on_another_backend():
    net = cr.MLP([N_IN, 6, 3], seed=9)
    copied = net.copy(backend=cr.GuardedBackend())
    assert copied.backend.name == "guarded"
    np.testing.assert_array_equal(copied.predict_proba(X), net.predict_proba(X))


# ---- initial weights ------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_initial_weights_are_the_same_on_every_backend(backend, dtype):
    plain, net = (cr.MLP([7, 5, 3], dtype=dtype, seed=2**63 + 1, backend=be) for be in (None, backend))
    for name, value in net.parameter_arena.download().items():
        assert value.tobytes() == plain.parameter_arena.download()[name].tobytes()


@pytest.mark.parametrize(("activation", "initializer"), [("relu", "he"), ("tanh", "glorot"), ("selu", "lecun")])
def test_initial_weights_fill_their_interval(activation, initializer):
    net = cr.MLP([300, 200, 100], activation=activation, dtype="float64")
    limits = {"he": np.sqrt(6 / 300), "glorot": np.sqrt(6 / 500), "lecun": np.sqrt(3 / 300)}
    assert uniform_limit(initializer, 300, 200) == limits[initializer]
    for i, limit in enumerate([limits[initializer], np.sqrt(6 / 300)]):  # the last layer: glorot over 200 + 100
        W, b = net.parameters()[f"dense{i}.W"], net.parameters()[f"dense{i}.b"]
        assert 0.999 * limit < np.abs(W).max() <= limit
        assert abs(W.mean()) < 5 * limit / np.sqrt(3 * W.size)
        assert W.var() == pytest.approx(limit**2 / 3, rel=0.03)
        assert not b.any()


@pytest.mark.parametrize(("activation", "low", "high"), [
    ("relu", 0.5, 2), ("leaky_relu", 0.5, 2), ("elu", 0.5, 10), ("selu", 0.7, 1.4), ("gelu", 0.1, 2), ("silu", 0.1, 2),
    ("gelu_tanh", 0.1, 2), ("mish", 0.2, 2), ("softplus", 0.5, 8), ("tanh", 0.1, 1), ("sigmoid", 0.1, 1),
])  # fmt: skip
def test_signals_keep_their_size_through_eight_layers(activation, low, high):
    """The root of the mean square of the last hidden layer, on rows of variance 1."""
    net = cr.MLP([200] * 9 + [2], activation=activation, seed=1)
    batch = net.bind(100, training=False)
    with net.backend.running():
        batch.forward(np.random.default_rng(0).normal(size=(100, 200)).astype(np.float32))
    y = batch.layers[-2].y
    assert low < np.sqrt((y**2).mean()) < high


def test_seeds_and_layers_draw_different_weights():
    def first(seed: int, layer: int) -> list[float]:
        return cr.MLP([4, 4, 4, 4], seed=seed).parameters()[f"dense{layer}.W"].ravel().tolist()

    drawn = [tuple(first(seed, layer)) for seed in (0, 1, 2**32, 2**64 - 1) for layer in (0, 1)]
    assert len(set(drawn)) == len(drawn)
    assert first(5, 1) == first(5, 1)


@pytest.mark.parametrize(
    "copied", [copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))], ids=["deepcopy", "pickle"]
)
def test_a_deepcopied_or_pickled_net_can_be_trained(copied):
    rows, labels = np.eye(4), np.arange(4)
    net = copied(cr.MLP([4, 4]))
    before = net.predict_proba(rows).copy()
    cr.Trainer(net, cr.SGD(lr=1.0), epochs=3).fit(rows, labels)
    assert not np.array_equal(net.predict_proba(rows), before)


# ---- options --------------------------------------------------------------------------------------

WRONG = [
    (lambda: cr.MLP([3]), "widths: expected at least an input and an output"),
    (lambda: cr.MLP([3, 0, 2]), r"widths\[1\]: expected a whole number from 1 up"),
    (lambda: cr.MLP([3, 2.5]), r"widths\[1\]: expected .*, got 2.5"),
    (lambda: cr.MLP([3, True]), r"widths\[1\]: expected .*, got True"),
    (lambda: cr.MLP([3, 4, 2], activation="glu"), "activation: expected one of identity, relu, .*, got 'glu'"),
    (lambda: cr.MLP([3, 2], loss="hinge"), "loss: expected one of softmax_cross_entropy, .*, got 'hinge'"),
    (lambda: cr.MLP([3, 1]), "expected 2 classes or more(?s:.*)sigmoid_cross_entropy"),
    (lambda: cr.MLP([3, 2], dtype="float16"), "dtype: expected one of float32, float64, got 'float16'"),
    (lambda: cr.MLP([3, 2], seed=-1), "seed: expected a whole number from 0"),
    (lambda: cr.MLP([3, 2], seed=2**64), r"seed: expected .*, got 18446744073709551616"),
    (lambda: cr.Network([], 3), "layers: expected a Dense of activation 'identity' as the last"),
    (lambda: cr.Network([cr.Dense(2, "relu")], 3), "layers: expected a Dense of activation 'identity' as the last"),
    (lambda: cr.Network([cr.Dense(2)], 0), "n_in: expected a whole number from 1 up, got 0"),
    (lambda: cr.Dense(0), "n_out: expected a whole number from 1"),
    (lambda: cr.Dense(2.0), "n_out: expected a whole number from 1"),
    (lambda: cr.Dense(2, "glu"), "activation: expected one of .*, got 'glu'"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_options(make, message):
    with pytest.raises(cr.OptionError, match=message):
        make()


def test_whole_numbers_of_numpy_are_whole_numbers():
    assert cr.MLP(np.array([3, 4, 2]), seed=np.int64(5)).widths == (3, 4, 2)


def test_a_preparation_that_does_not_fit_the_net_is_refused_when_it_is_set(tmp_path):
    of_three = cr.Standardization(np.zeros(3), np.ones(3))
    net = cr.MLP([4, 6], loss="quantile")  # of two columns at three levels
    for preparation, message in (
        (cr.Preparation(features=of_three), "preparation: expected features of 4 columns, as the net takes, got 3"),
        (cr.Preparation(targets=of_three), "preparation: expected targets of 2 columns, as the loss takes, got 3"),
        (cr.Preparation(features=3), "preparation: expected a Standardization as features, got 3"),  # type: ignore[arg-type]
        (cr.Preparation(feature_names=("a", "b")), "preparation: expected 4 feature_names"),
        (cr.Preparation(classes=("a", "b")), "preparation: expected 6 classes, as the net has, or none, got 2"),
        (
            cr.Preparation(targets=cr.Standardization(np.zeros(2), np.ones(2), 3.0)),
            "preparation: expected targets without a limit, got 3",
        ),
        (of_three, "preparation: expected a Preparation, got"),
    ):
        with pytest.raises(cr.OptionError) as error:
            net.preparation = preparation  # type: ignore[assignment]
        assert error.value.message.startswith(message)
        assert net.preparation == cr.Preparation()
    counts = cr.MLP([4, 3], loss="poisson")
    with pytest.raises(cr.OptionError, match="targets in their own units"):
        counts.preparation = cr.Preparation(targets=of_three)
    net.save(tmp_path / "m")
    assert cr.load(tmp_path / "m", device="cpu").preparation == net.preparation
