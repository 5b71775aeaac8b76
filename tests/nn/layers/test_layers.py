"""Nets of layers other than dense: gradients, training on every backend, prediction, files, and what they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.errors import OptionError
from comparisons import numbers
from emulation.backend import EmulatedBackend, compiler_problem

N, N_IN, N_OUT = 11, 6, 3
X = np.random.default_rng(6).normal(size=(N, N_IN))
Y = np.arange(N) % N_OUT
TOP = cr.Dense(N_OUT)

# Within reach of tanh, so that rows fall on either side of the ends; two columns without edges, one between the others.
EDGES = [(-0.6, -0.1, 0.05, 0.55), (), (-0.3, 0.4), ()]

NETS: dict[str, list[cr.Layer]] = {
    "dropout": [cr.Dense(9, "tanh"), cr.Dropout(0.4), TOP],
    "dropout of the input": [cr.Dropout(0.2), cr.Dense(9, "tanh"), TOP],
    "activation": [cr.Dense(7), cr.Activation("sigmoid"), TOP],
    "activation of the input": [cr.Activation("tanh"), TOP],
    "layer norm": [cr.Dense(7), cr.LayerNorm(), cr.Activation("tanh"), TOP],
    "layer norm of the input": [cr.LayerNorm(1e-2), cr.Dense(5, "tanh"), TOP],
    "layer norm below the top": [cr.Dense(7, "relu"), cr.LayerNorm(), TOP],
    "batch norm": [cr.Dense(7), cr.BatchNorm(), cr.Activation("relu"), TOP],
    "batch norm of the input": [cr.BatchNorm(0.1, 0.5), cr.Dense(5, "tanh"), TOP],
    "residual": [cr.Dense(7, "tanh"), cr.Residual([cr.Dense(7, "tanh")]), TOP],
    "residual at the input": [cr.Residual([cr.Dense(4, "tanh"), cr.Dense(N_IN)]), TOP],
    "residual without a dense layer": [cr.Residual([cr.LayerNorm()]), TOP],
    "residual within residual": [
        cr.Dense(5),
        cr.Residual([cr.Residual([cr.Dense(5, "tanh"), cr.LayerNorm()]), cr.Dense(5, "sigmoid")]),
        TOP,
    ],
    "concatenate at the input": [cr.Concatenate([cr.Dense(4, "tanh"), cr.LayerNorm()]), TOP],
    "concatenate within concatenate": [
        cr.Dense(5, "tanh"),
        cr.Concatenate([cr.Concatenate([cr.Dense(3, "tanh"), cr.Dropout(0.2)]), cr.Residual([cr.LayerNorm()])]),
        cr.Concatenate([cr.Dense(4, "relu")]),
        TOP,
    ],
    "scale": [cr.Scale(), cr.Dense(7, "relu"), cr.Scale(), TOP],
    "piecewise linear": [cr.Dense(4, "tanh"), cr.PiecewiseLinear(EDGES), cr.PiecewiseLinear([]), TOP],
    "all of them": [
        cr.PiecewiseLinear(EDGES),
        cr.Scale(),
        cr.BatchNorm(),
        cr.Dropout(0.1),
        cr.Dense(8),
        cr.LayerNorm(),
        cr.Activation("tanh"),
        cr.Residual([cr.Dense(8, "tanh"), cr.Dropout(0.3), cr.Dense(8), cr.BatchNorm()]),
        cr.Residual([cr.LayerNorm(), cr.Dense(8, "sigmoid")]),
        cr.Dropout(0.2),
        cr.Concatenate([cr.Dense(3, "tanh"), cr.Scale()]),
        TOP,
    ],
}


def make(name: str, backend: cr.Backend | None = None, dtype: str = "float64", **options: Any) -> cr.Network:
    return cr.Network(NETS[name], N_IN, backend=backend, dtype=dtype, seed=4, **options)


def train(net: cr.Network, *, epochs: int = 3, **options: Any) -> cr.Run:
    """Batches of 4, 4 and 3 rows."""
    options = {"batch_size": 4, "seed": 2} | options
    return cr.Trainer(net, cr.SGD(0.05, momentum=0.8), epochs=epochs, **options).fit(X, Y)


# ---- gradients ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NETS)
def test_gradients_of_every_kind_of_layer(backend, name):
    net = make(name, backend)
    report = cr.check_gradients(net, X, Y, np.linspace(0, 2, N))
    assert set(report.complex_step) == set(net.parameters())
    assert max(report.complex_step.values()) <= 1e-12
    assert max(report.central_difference.values()) <= 1e-6


def test_a_gradient_that_is_wrong_is_found(monkeypatch):
    """The check detects a mean that is forgotten in the backward pass."""
    right = NumPyBackend.batch_norm_backward

    def wrong(self, dy, x, gain, mean, inverse_std, *, dx, dgain, dbias):
        right(self, dy, x, gain, mean, inverse_std, dx=dx, dgain=dgain, dbias=dbias)
        if dx is not None:
            dx += gain * inverse_std * dbias / len(x)

    monkeypatch.setattr(NumPyBackend, "batch_norm_backward", wrong)
    net = cr.Network([cr.Dense(5, "tanh"), cr.BatchNorm(), TOP], N_IN, backend=NumPyBackend())
    with pytest.raises(cr.GradientError, match="dense0"):
        cr.check_gradients(net, X, Y)


def test_a_gradient_leaves_the_net_as_it_is(backend):
    net = make("all of them", backend)
    train(net)
    before = net.parameter_arena.download()
    first = net.loss_and_gradients(X, Y)[0]
    assert net.loss_and_gradients(X, Y)[0] == first
    for name, value in net.parameter_arena.download().items():
        np.testing.assert_array_equal(value, before[name], name)


# ---- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETS)
def test_cpu_backends_train_the_same_bits(name, dtype):
    pytest.importorskip("numba", reason="numba is not installed")
    ends = []
    for be in (NumPyBackend(), compiled.loaded(), cr.GuardedBackend()):
        net = make(name, be, dtype)
        run = train(net)
        ends.append((run.history["loss"], net.parameter_arena.download(), net.predict_proba(X)))
    for losses, parameters, probabilities in ends[1:]:
        assert losses == ends[0][0]
        assert all(parameters[key].tobytes() == value.tobytes() for key, value in ends[0][1].items())
        assert probabilities.tobytes() == ends[0][2].tobytes()


@pytest.mark.parametrize("name", NETS)
def test_every_backend_trains_the_same(backend, name):
    """On the simulated device too, which replays a recorded step: other rows dropped in each."""
    net, plain = make(name, backend), make(name, NumPyBackend())
    runs = train(net, epochs=4), train(plain, epochs=4)
    np.testing.assert_allclose(runs[0].history["loss"], runs[1].history["loss"], rtol=1e-11)
    want = plain.parameter_arena.download()
    for key, value in net.parameter_arena.download().items():
        np.testing.assert_allclose(value, want[key], rtol=0, atol=1e-11 * max(1, np.abs(want[key]).max()), err_msg=key)
    np.testing.assert_allclose(net.predict_proba(X), plain.predict_proba(X), atol=1e-11)


def test_in_bf16():
    """What products read is rounded to 8 bits, statistics and parameters are not: the same net but for that."""
    if problem := compiler_problem():
        pytest.skip(problem)
    ends = []
    for be in (EmulatedBackend(precision="bf16"), NumPyBackend()):
        net = make("all of them", be, "float32")
        run = train(net)
        assert np.isfinite(run.history["loss"]).all()
        ends.append(net.predict_proba(X))
    assert np.abs(ends[0] - ends[1]).max() < 0.05


# ---- PyTorch --------------------------------------------------------------------------------------


GOLDEN = numbers(json.loads((Path(__file__).parent / "torch_layers.json").read_text(encoding="utf-8")))


def test_training_and_prediction_are_those_of_pytorch(backend):
    """Batches of 6 and 4 rows; the numbers were written once by ``benchmarks/golden/make_torch_layers.py``."""
    layers = [
        cr.Dense(7),
        cr.BatchNorm(momentum=0.2),
        cr.Activation("relu"),
        cr.Residual([cr.Dense(7), cr.LayerNorm(1e-3), cr.Activation("tanh")]),
        cr.Dense(3),
    ]
    net = cr.Network(layers, 4, backend=backend, dtype="float64")
    net.parameter_arena.assign(GOLDEN["start"])
    epochs = len(GOLDEN["losses"]) // 2
    trainer = cr.Trainer(net, cr.SGD(0.05, momentum=0.9), batch_size=GOLDEN["batch_size"], epochs=epochs, shuffle=False)
    run = trainer.fit(np.array(GOLDEN["X"]), np.array(GOLDEN["y"], int))
    want = np.average(np.reshape(GOLDEN["losses"], (epochs, 2)), axis=1, weights=[6, 4])
    np.testing.assert_allclose(run.history["loss"], want, rtol=1e-10)
    found = net.parameter_arena.download()
    assert set(found) == set(GOLDEN["end"])
    for key, value in found.items():
        end = np.array(GOLDEN["end"][key])
        np.testing.assert_allclose(value, end, rtol=0, atol=1e-10 * max(1, np.abs(end).max()), err_msg=key)
    np.testing.assert_allclose(net.predict_proba(np.array(GOLDEN["rows"])), GOLDEN["probabilities"], rtol=1e-10)


# ---- what is peculiar to each -----------------------------------------------------------------------


def outputs(net: cr.Network, *, training: bool, step: int = 0) -> np.ndarray:
    be = net.backend
    state = be.upload(np.array([step, 0, 0]))  # halted: statistics stay
    with be.running():
        return be.download(net.bind(N, training=training, state=state).forward(be.upload(X, net.dtype)))


def test_dropout_leaves_a_linear_net_what_it_is_on_average():
    """The mean over masks is the net without dropout, which is what a prediction is."""
    net = cr.Network([cr.Dense(8), cr.Dropout(0.3), TOP], N_IN, dtype="float64", seed=1)
    plain = cr.Network([cr.Dense(8), TOP], N_IN, dtype="float64", seed=1)
    want = outputs(plain, training=False)
    np.testing.assert_array_equal(outputs(net, training=False), want)
    steps = 400
    seen = np.array([outputs(net, training=True, step=step) for step in range(steps)])
    assert np.abs(seen.mean(axis=0) - want).max() < 5 * seen.std(axis=0).max() / np.sqrt(steps)
    assert np.abs(seen[0] - want).max() > 0.01


def test_two_dropout_layers_and_two_seeds_have_masks_of_their_own():
    masks = []
    for seed in (1, 2):
        net = cr.Network([cr.Dropout(0.5), cr.Dropout(0.5), cr.Dense(N_IN)], N_IN, dtype="float64", seed=seed)
        batch = net.bind(N, training=True)
        batch.forward(np.ones((N, N_IN)))
        masks += [batch.layers[0].y != 0, batch.layers[1].y != 0]
    assert not np.array_equal(masks[0], masks[1])
    assert not np.array_equal(masks[0], masks[2])


def test_dropout_at_rate_0_changes_nothing():
    nets = [cr.Network([cr.Dense(8, "relu"), *more, TOP], N_IN, seed=1) for more in ([], [cr.Dropout(0.0)])]
    for net in nets:
        train(net)
    ends = [net.parameter_arena.download() for net in nets]
    assert all(ends[1][key].tobytes() == value.tobytes() for key, value in ends[0].items())


def test_a_prediction_with_batch_norm_does_not_depend_on_the_other_rows(backend):
    net = make("all of them", backend)
    train(net)
    together, before = net.predict_proba(X), net.parameter_arena.download()
    alone = np.concatenate([net.predict_proba(X[i : i + 1]) for i in range(N)])
    np.testing.assert_allclose(together, alone, rtol=1e-12)
    for key, value in net.parameter_arena.download().items():
        np.testing.assert_array_equal(value, before[key], "a prediction changed the net")


def test_batch_norm_running_statistics_are_kept_but_not_trained(backend):
    net = make("batch norm", backend)
    assert not any("running" in name for name in net.parameters())
    before = net.parameter_arena.download()
    cr.Trainer(net, cr.AdamW(0.01, weight_decay=0.5, clip_norm=0.1), epochs=2, batch_size=4).fit(X, Y)
    after = net.parameter_arena.download()
    assert set(after) == {*net.parameters(), "batch_norm0.running_mean", "batch_norm0.running_var"}
    for name in ("running_mean", "running_var"):
        assert not np.array_equal(after[f"batch_norm0.{name}"], before[f"batch_norm0.{name}"])


def test_batch_norm_running_statistics_converge_to_those_of_the_rows():
    net = cr.Network([cr.BatchNorm(momentum=0.3), TOP], N_IN, dtype="float64")
    cr.Trainer(net, cr.SGD(0.01), batch_size=N, epochs=60, shuffle=False).fit(X, Y)
    found = net.parameter_arena.download()
    np.testing.assert_allclose(found["batch_norm0.running_mean"], X.mean(axis=0), atol=1e-7)
    np.testing.assert_allclose(found["batch_norm0.running_var"], X.var(axis=0, ddof=1), rtol=1e-7)


@pytest.mark.parametrize("name", NETS)
def test_a_file_keeps_all_of_it(tmp_path, name):
    net = make(name, dtype="float32")
    train(net)
    net.save(tmp_path / "m")
    read = cr.load(tmp_path / "m", device="cpu")
    assert read.layers == net.layers
    assert read.predict_proba(X).tobytes() == net.predict_proba(X).tobytes()
    for each in (net, read):  # and it continues as if it had never been saved
        train(each)
    ends = [each.parameter_arena.download() for each in (net, read)]
    assert all(ends[1][key].tobytes() == value.tobytes() for key, value in ends[0].items())


# ---- MLP in a few words -----------------------------------------------------------------------------


def test_an_mlp_without_options_is_dense_throughout():
    assert cr.MLP([4, 8, 6, 3]).layers == (cr.Dense(8, "relu"), cr.Dense(6, "relu"), cr.Dense(3))


def test_an_mlp_of_everything():
    net = cr.MLP([4, 8, 8, 3], activation=["tanh", "relu"], dropout=0.1, normalization="layer", residual=True)
    hidden = [[cr.Dense(8), cr.LayerNorm(), cr.Activation(name), cr.Dropout(0.1)] for name in ("tanh", "relu")]
    assert net.layers == (*hidden[0], cr.Residual(hidden[1]), cr.Dense(3))
    assert net.widths == (4, 8, 8, 3)


@pytest.mark.parametrize(
    ("options", "layers"),
    [
        ({"dropout": 0.5}, (cr.Dense(8, "relu"), cr.Dropout(0.5), cr.Dense(3))),
        ({"normalization": "batch"}, (cr.Dense(8), cr.BatchNorm(), cr.Activation("relu"), cr.Dense(3))),
        ({"residual": True}, (cr.Dense(8, "relu"), cr.Dense(3))),
        ({"activation": ["sigmoid"]}, (cr.Dense(8, "sigmoid"), cr.Dense(3))),
    ],
)
def test_what_an_mlp_is_made_of(options, layers):
    assert cr.MLP([8, 8, 3], **options).layers == layers  # the first hidden layer follows the input: no way around it


def test_residual_shortcuts_are_around_hidden_layers_as_wide_as_the_one_below():
    kinds = [layer.kind for layer in cr.MLP([9, 8, 8, 7, 7, 3], residual=True).layers]
    assert kinds == ["dense", "residual", "dense", "residual", "dense"]


# ---- what is refused --------------------------------------------------------------------------------

REFUSED = {
    "a rate of 1": (lambda: cr.Dropout(1.0), "dropout rate"),
    "a rate below 0": (lambda: cr.Dropout(-0.1), "dropout rate"),
    "a rate that is no number": (lambda: cr.Dropout("half"), "dropout rate"),
    "a rate that is nan": (lambda: cr.Dropout(float("nan")), "dropout rate"),
    "an MLP's rate": (lambda: cr.MLP([4, 5, 3], dropout=1.5), "dropout rate"),
    "eps of 0": (lambda: cr.LayerNorm(0.0), "eps"),
    "a negative eps": (lambda: cr.BatchNorm(-1e-5), "eps"),
    "a momentum of 0": (lambda: cr.BatchNorm(momentum=0.0), "momentum"),
    "a momentum of 1": (lambda: cr.BatchNorm(momentum=1.0), "momentum"),
    "an unknown activation": (lambda: cr.Activation("swish2"), "swish2"),
    "an unknown normalisation": (lambda: cr.MLP([4, 5, 3], normalization="group"), "group"),
    "too few activations": (lambda: cr.MLP([4, 5, 6, 3], activation=["relu"]), "each hidden layer .2., got 1"),
    "a block without layers": (lambda: cr.Residual([]), "list of layers"),
    "a block of something else": (lambda: cr.Residual([cr.Dense(3), "relu"]), "list of layers"),
    "a concatenating block without layers": (lambda: cr.Concatenate([]), "Concatenate: expected a list of layers"),
    "edges that do not increase": (lambda: cr.PiecewiseLinear([(0.0, 1.0, 1.0)]), "2 numbers that increase"),
    "edges that are one in float32": (lambda: cr.PiecewiseLinear([(1.0, 1.0 + 1e-9)]), "increase as float32"),
    "a single edge": (lambda: cr.PiecewiseLinear([(1.0,)]), "at least 2 numbers"),
    "an edge that is nan": (lambda: cr.PiecewiseLinear([(0.0, float("nan"))]), "at least 2 numbers"),
    "edges that are no list": (lambda: cr.PiecewiseLinear([3.0]), "list of numbers for each column"),
    "edges of more columns than x has": (
        lambda: cr.Network([cr.PiecewiseLinear([(), (), (0.0, 1.0)]), TOP], 2),
        "at most 2 columns, as many as x has, got 3",
    ),
    "a block of another width": (
        lambda: cr.Network([cr.Residual([cr.Dense(5)]), TOP], 4),
        "end with 4 columns, as they begin, got 5",
    ),
    "a block within a block": (
        lambda: cr.Network([cr.Residual([cr.Residual([cr.Dense(5)]), cr.Dense(4)]), TOP], 4),
        "end with 4 columns, as they begin, got 5",
    ),
    "very many encodings": (
        lambda: cr.Network([cr.PiecewiseLinear([])] * 9 + [TOP], 4),
        "at most 8 PiecewiseLinear layers, got 9",
    ),
    "no layer": (lambda: cr.Network(["relu", TOP], 4), "expected a layer"),
    "a class instead of a layer": (lambda: cr.Network([cr.LayerNorm, TOP], 4), "expected a layer"),
    "dropout at the top": (lambda: cr.Network([TOP, cr.Dropout(0.5)], 4), "layers: expected a Dense"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_wrong_layers_are_refused(what):
    build, words = REFUSED[what]
    with pytest.raises(OptionError, match=words):
        build()
