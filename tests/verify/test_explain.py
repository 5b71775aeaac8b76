"""Every line that `explain` prints is right, and a wrong one is seen."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.errors import OptionError
from chainrule.nn.layers.activations import ACTIVATIONS
from chainrule.nn.layers.dropout import DropoutPass
from chainrule.nn.losses.names import LOSSES
from chainrule.verify.explain import Explanation, explain
from chainrule.verify.explained_step import Step
from printed_formulas import evaluate

N, N_IN, WIDTH = 7, 5, 4
TOP = cr.Dense(3)
SOFTSIGN = cr.CustomActivation("softsign", lambda xp, z: z / (1 + z * z) ** 0.5, lambda xp, z: (1 + z * z) ** -1.5)
NETS: dict[str, list[cr.Layer]] = {
    "dropout": [cr.Dense(WIDTH, "tanh"), cr.Dropout(0.4), TOP],
    "dropout of the input": [cr.Dropout(0.2), cr.Dense(WIDTH, "gelu"), TOP],
    "a hidden layer without activation": [cr.Dense(WIDTH), cr.Dense(WIDTH, "silu"), TOP],
    "activation": [cr.Dense(WIDTH), cr.Activation("sigmoid"), TOP],
    "layer norm": [cr.Dense(WIDTH), cr.LayerNorm(), cr.Activation("tanh"), TOP],
    "layer norm of the input": [cr.LayerNorm(1e-2), cr.Dense(WIDTH, "tanh"), TOP],
    "layer norm below the top": [cr.Dense(WIDTH, "tanh"), cr.LayerNorm(), TOP],
    "batch norm": [cr.Dense(WIDTH), cr.BatchNorm(), cr.Activation("softplus"), TOP],
    "batch norm of the input": [cr.BatchNorm(0.1, 0.5), cr.Dense(WIDTH, "tanh"), TOP],
    "residual": [cr.Dense(WIDTH, "tanh"), cr.Residual([cr.Dense(WIDTH, "tanh")]), TOP],
    "residual on an activation that is overwritten": [
        cr.Dense(WIDTH, "gelu"), cr.Residual([cr.Dense(WIDTH, "gelu"), cr.Dense(WIDTH)]), cr.Dense(WIDTH, "mish"), TOP,
    ],
    "residual at the input": [cr.Residual([cr.Dense(4, "tanh"), cr.Dense(N_IN)]), TOP],
    "residual without a dense layer": [cr.Residual([cr.LayerNorm()]), cr.Residual([cr.Dropout(0.5)]), TOP],
    "residual within residual": [
        cr.Dense(WIDTH),
        cr.Residual([cr.Residual([cr.Dense(WIDTH, "tanh"), cr.LayerNorm()]), cr.Dense(WIDTH, "sigmoid")]), TOP,
    ],
    "residual that ends in a residual": [
        cr.Dense(WIDTH, "tanh"), cr.Residual([cr.LayerNorm(), cr.Residual([cr.Dense(WIDTH, "tanh")])]), TOP,
    ],
    "concatenate": [cr.Dense(WIDTH, "tanh"), cr.Concatenate([cr.Dense(3), cr.Dense(WIDTH, "gelu")]), TOP],
    "concatenate within concatenate": [
        cr.Concatenate([cr.Dense(3, "tanh"), cr.Concatenate([cr.LayerNorm()]), cr.Dropout(0.5)]), cr.Dense(WIDTH), TOP,
    ],
    "scale": [cr.Scale(), cr.Dense(WIDTH, "tanh"), cr.Scale(), TOP],
    "all of them": [
        cr.BatchNorm(), cr.Dropout(0.1), cr.Dense(8), cr.LayerNorm(), cr.Activation("tanh"),
        cr.Residual([cr.Dense(8, "tanh"), cr.Dropout(0.3), cr.Dense(8), cr.BatchNorm()]),
        cr.Residual([cr.LayerNorm(), cr.Dense(8, "sigmoid")]), cr.Dropout(0.2),
        cr.Concatenate([cr.Scale(), cr.Residual([cr.Dense(8, "tanh")])]), TOP,
    ],
}  # fmt: skip


def make(name: str, **options: Any) -> cr.Network:
    return cr.Network(NETS[name], N_IN, loss="squared_error", seed=4, **options)


def wrong_lines(found: Explanation) -> set[str]:
    return {line.name for line in found.lines if not line.right}


# ---- what is written ------------------------------------------------------------------------------


def test_the_published_lesson():
    found = explain([100, 200, 10], activation="relu", loss="squared_error", batch=32)
    assert [(line.name, line.formula, line.shapes) for line in found.lines if line.part == "backward"] == [
        ("dz1", "2 (z1 - t) / (32 * 10)", "(32,10)"),
        ("dW1", "y0.T @ dz1", "(200,32) @ (32,10) = (200,10)"),
        ("db1", "sum_rows(dz1)", "(32,10) -> (10)"),
        ("dy0", "dz1 @ W1.T", "(32,10) @ (10,200) = (32,200)"),
        ("dz0", "dy0 * [y0 > 0]", "(32,200)"),
        ("dW0", "x.T @ dz0", "(100,32) @ (32,200) = (100,200)"),
        ("db0", "sum_rows(dz0)", "(32,200) -> (200)"),
    ]
    assert all(line.right for line in found.lines)
    assert "only y0.T @ dz1 has that shape" in found.rule


def test_a_net_of_every_kind_of_layer():
    found = explain(
        [6, 4, 4, 2], normalization="layer", dropout=0.1, residual=True, activation="tanh", loss="huber", batch=8
    )
    assert [(line.part, "  " * line.depth + line.layer, f"{line.name} = {line.formula}") for line in found.lines] == [
        ("forward", "dense0", "z0 = x @ W0 + b0"),
        ("forward", "layer_norm0", "mean0 = mean_j(z0)"),
        ("forward", "layer_norm0", "inverse_std0 = 1 / sqrt(mean_j((z0 - mean0)^2) + 1e-05)"),
        ("forward", "layer_norm0", "y0 = gain0 x_hat0 + bias0 where x_hat0 = (z0 - mean0) inverse_std0"),
        ("forward", "activation0", "y1 = tanh(y0)"),
        ("forward", "dropout0", "y2 = m0 y1 / (1 - 0.1) where m0, here of step 0, is 0 with probability 0.1, else 1"),
        ("forward", "  dense1", "z1 = y2 @ W1 + b1"),
        ("forward", "  layer_norm1", "mean1 = mean_j(z1)"),
        ("forward", "  layer_norm1", "inverse_std1 = 1 / sqrt(mean_j((z1 - mean1)^2) + 1e-05)"),
        ("forward", "  layer_norm1", "y3 = gain1 x_hat1 + bias1 where x_hat1 = (z1 - mean1) inverse_std1"),
        ("forward", "  activation1", "y4 = tanh(y3)"),
        ("forward", "  dropout1", "y5 = m1 y4 / (1 - 0.1) where m1, here of step 0, is 0 with probability 0.1, else 1"),
        ("forward", "residual0", "y6 = y2 + y5"),
        ("forward", "dense2", "z2 = y6 @ W2 + b2"),
        ("forward", "loss", "loss = mean_ij( c (z2 - t - c / 2) ) where c = clip(z2 - t, -1, 1)"),
        ("backward", "loss", "dz2 = c / (8 * 2) where c = clip(z2 - t, -1, 1)"),
        ("backward", "dense2", "dW2 = y6.T @ dz2"),
        ("backward", "dense2", "db2 = sum_rows(dz2)"),
        ("backward", "dense2", "dy6 = dz2 @ W2.T"),
        ("backward", "residual0", "dy5 = dy6"),
        ("backward", "  dropout1", "dy4 = m1 dy5 / (1 - 0.1)"),
        ("backward", "  activation1", "dy3 = dy4 * (1 - y4^2)"),
        ("backward", "  layer_norm1", "dgain1 = sum_rows(dy3 * x_hat1)"),
        ("backward", "  layer_norm1", "dbias1 = sum_rows(dy3)"),
        (
            "backward", "  layer_norm1",
            "dz1 = inverse_std1 (g - mean_j(g) - x_hat1 mean_j(g x_hat1)) where g = dy3 gain1",
        ),
        ("backward", "  dense1", "dW1 = y2.T @ dz1"),
        ("backward", "  dense1", "db1 = sum_rows(dz1)"),
        ("backward", "residual0", "dy2 = dy6 + dz1 @ W1.T"),
        ("backward", "dropout0", "dy1 = m0 dy2 / (1 - 0.1)"),
        ("backward", "activation0", "dy0 = dy1 * (1 - y1^2)"),
        ("backward", "layer_norm0", "dgain0 = sum_rows(dy0 * x_hat0)"),
        ("backward", "layer_norm0", "dbias0 = sum_rows(dy0)"),
        ("backward", "layer_norm0", "dz0 = inverse_std0 (g - mean_j(g) - x_hat0 mean_j(g x_hat0)) where g = dy0 gain0"),
        ("backward", "dense0", "dW0 = x.T @ dz0"),
        ("backward", "dense0", "db0 = sum_rows(dz0)"),
        ("prediction", "dropout0", "y2 = y1"),
        ("prediction", "  dropout1", "y5 = y4"),
    ]  # fmt: skip
    shapes = {line.name: line.shapes for line in found.lines if line.part == "backward"}
    assert shapes["dy2"] == "(8,4) + (8,4) @ (4,4) = (8,4)"
    assert shapes["dgain1"] == "(8,4) -> (4)"
    assert "only y6.T @ dz2 has that shape" in found.rule


@pytest.mark.parametrize("name", NETS)
def test_what_is_written_is_what_is_computed(name):
    """Each line evaluated as it stands, at the library's own numbers."""
    step = Step(make(name), N, seed=0)
    values = step.at | {f"d{name}": d for name, d in step.d.items()}
    values |= {"sum_rows": lambda a: a.sum(axis=0), "mean_i": lambda a: a.mean(axis=0)}
    values |= {"join": lambda a, b: np.concatenate([a, b], axis=1)}
    values["mean_j"] = lambda a: a.mean(axis=1, keepdims=True)
    for place in step.order:
        names = place.names
        if place.node.layer.kind == "layer_norm":  # one number per row, combined with columns
            values |= {names[s]: values[names[s]][:, None] for s in ("mean", "inverse_std")}
        if "x_hat" in names:
            x, mean, inverse_std = (values[names[s]] for s in ("x", "mean", "inverse_std"))
            values[names["x_hat"]] = (x - mean) * inverse_std
        if "m" in names:
            values[names["m"]] = step.at[place.output] != 0
    lines = [line for line in explain(make(name), batch=N).lines if line.layer != "loss"]
    blocks = {place.output: place.names["x"] for place in step.order if place.node.layer.kind == "concatenate"}

    def left(dy, *, keeps=True):
        (x,) = {values[blocks[name]].shape[1] for name in blocks if values[f"d{name}"] is dy}
        return dy[:, :x] if keeps else dy[:, x:]

    values |= {"left": left, "right": functools.partial(left, keeps=False)}
    for line in lines:
        found = step.predicted if line.part == "prediction" else {}
        text = line.formula.partition(" where m")[0].partition(" where running")[0].partition(" where left")[0]
        want = evaluate(text, values | found)
        np.testing.assert_allclose(
            np.squeeze(want), np.squeeze((values | found)[line.name]), rtol=1e-9, atol=1e-12, err_msg=str(line)
        )


@pytest.mark.parametrize(
    ("activation", "y0", "dz0"),
    [
        ("tanh", "tanh(z0)", "dy0 * (1 - y0^2)"),
        ("softplus", "log(1 + exp(z0))", "dy0 * (1 - exp(-y0))"),
        ("silu", "z0 / (1 + exp(-z0))", "dy0 * (s + z0 s (1 - s)) where s = 1 / (1 + exp(-z0))"),
        (
            "gelu",
            "z0 (1 + erf(z0 / sqrt(2))) / 2",
            "dy0 * ((1 + erf(z0 / sqrt(2))) / 2 + z0 exp(-z0^2 / 2) / sqrt(2 pi))",
        ),
    ],
)
def test_derivatives_are_written_in_what_they_are_functions_of(activation, y0, dz0):
    lines = explain([4, 3, 2], activation=activation, loss="squared_error", batch=5).lines
    formulas = {line.name: line.formula for line in lines}
    assert (formulas["y0"], formulas["dz0"]) == (y0, dz0)


# ---- what is checked ------------------------------------------------------------------------------


@pytest.mark.parametrize("widths", [[3, 2], [5, 4, 3, 2]])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_line_is_right(activation, loss, widths):
    widths = [*widths[:-1], LOSSES[loss].outputs_for(widths[-1])]
    assert not wrong_lines(explain(widths, activation=activation, loss=loss, batch=7))


@pytest.mark.parametrize("name", NETS)
def test_every_line_of_every_layer_is_right(name):
    found = explain(make(name), batch=N)
    assert not wrong_lines(found)
    backward = [line for line in found.lines if line.part == "backward"]
    assert {f"{line.layer}.{line.name[1:].rstrip('0123456789')}" for line in backward} >= set(make(name).parameters())
    assert len({line.name for line in backward}) == len(backward)


EDGES = [(-1.0, -0.2, 0.3, 1.5), (), (-0.4, 0.4)]


def test_a_piecewise_linear_encoding_is_explained(monkeypatch):
    """At the input, where nothing goes back through it, and behind a layer, where a forgotten slope is seen."""
    layers = [cr.PiecewiseLinear(EDGES), cr.Dense(WIDTH, "tanh"), cr.PiecewiseLinear(EDGES), TOP]
    net = cr.Network(layers, N_IN, loss="squared_error", seed=4)
    found = explain(net, batch=N)
    assert not wrong_lines(found)
    formulas = {line.name: line.formula for line in found.lines}
    assert formulas["y0"].startswith("[x | p] where p = clip((x_j - start0) / widths0, low0, high0) for each piece")
    assert formulas["dy1"].startswith("dy2_j + sum over its pieces( [low1 < p < high1] dp / widths1 )")
    monkeypatch.setattr(NumPyBackend, "piecewise_linear_backward", steps_forgotten)
    assert wrong_lines(explain(net, batch=N)) == {"dy1", "dz0", "dW0", "db0", "dy0"}


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_every_activation_as_a_layer(activation):
    net = cr.Network([cr.Dense(4), cr.Dropout(0.3), cr.Activation(activation), TOP], N_IN)
    assert not wrong_lines(explain(net, batch=N))


@pytest.mark.parametrize(
    "loss",
    [
        cr.SoftmaxCrossEntropy(label_smoothing=0.1),
        cr.SoftmaxCrossEntropy(reduction="sum"),
        cr.Focal(0.5),
        cr.SigmoidCrossEntropy(label_smoothing=0.2),
        cr.Huber(delta=0.3),
        cr.Huber(reduction="sum"),
        cr.Quantile([0.2, 0.4, 0.6, 0.8]),
        cr.GaussianNLL(reduction="sum"),
        cr.Poisson(reduction="sum"),
    ],
    ids=repr,
)
def test_losses_with_options(loss):
    net = cr.Network(
        [cr.Dense(4), cr.LayerNorm(), cr.Activation("tanh"), cr.Dense(loss.outputs_for(2))], N_IN, loss=loss
    )
    assert not wrong_lines(explain(net, batch=N))


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("normalization", ["layer", "batch"])
def test_where_normalisation_leaves_nothing_or_next_to_nothing(normalization, rows):
    for width in (1, 2):
        found = explain([3, width, width, 2], normalization=normalization, residual=True, batch=rows)
        assert not wrong_lines(found)


def test_a_net_that_is_given_stays_as_it_is():
    net, prepared = make("all of them", dtype="float64"), make("all of them", dtype="float64")
    far_away = np.random.default_rng(0).normal(1e6, 2, (20, N_IN))
    prepared.preparation = cr.Preparation(features=cr.Standardization.fit(far_away))
    before = prepared.parameter_arena.download()
    assert explain(prepared, batch=N) == explain(net, batch=N)  # x is what the first layer reads
    assert prepared.preparation.features is not None
    assert all((value == before[name]).all() for name, value in prepared.parameter_arena.download().items())


def test_a_trained_parameter_is_taken_as_it_is():
    net = cr.Network([cr.LayerNorm(), TOP], N_IN, loss="squared_error", dtype="float64")
    net.assign_parameters({"layer_norm0.gain": np.arange(N_IN) + 2.0})
    np.testing.assert_array_equal(Step(net, N, 0).at["gain0"], np.arange(N_IN) + 2.0)
    assert (Step(net, N, 0).at["bias0"] != 0).all()


def test_a_function_of_ones_own():
    found = explain(cr.Network([cr.Dense(4), SOFTSIGN, TOP], N_IN), batch=N)
    assert not wrong_lines(found)
    formulas = {line.name: line.formula for line in found.lines}
    assert (formulas["y0"], formulas["dz0"]) == ("softsign(z0)", "dy0 * softsign'(z0)")


def fails_on_complex(xp, z):
    return xp.fmod(z, 100.0)


@pytest.mark.parametrize(
    ("value", "derivative", "why"),
    [
        (lambda xp, z: z / (1 + abs(z)), lambda xp, z: 1 / (1 + abs(z)) ** 2, "loses their imaginary part"),
        (fails_on_complex, lambda xp, z: xp.ones_like(z), "fails: TypeError"),
    ],
)
def test_a_function_that_does_not_carry_complex_numbers_is_refused(value, derivative, why):
    net = cr.Network([cr.Dense(4), cr.Residual([cr.CustomActivation("mine", value, derivative)]), TOP], N_IN)
    with pytest.raises(OptionError, match=f"mine does not support complex numbers .*{why}"):
        explain(net, batch=N)


def test_what_is_refused():
    with pytest.raises(OptionError, match=r"expected no options with a Network, .* got activation"):
        explain(make("dropout"), activation="relu")
    with pytest.raises(OptionError, match="batch"):
        explain([3, 2], batch=0)


# ---- a wrong kernel is seen -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "wrong"), [("matmul_activation_backward", {"dz0", "dW0", "db0"}), ("activate", {"y0"})]
)
def test_a_wrong_kernel_shows_in_its_lines(monkeypatch, method, wrong):
    right = getattr(NumPyBackend, method)

    def scaled(self, *args, out, **options):
        right(self, *args, out=out, **options)
        out *= 1.001
        if "db" in options:
            options["db"] *= 1.001

    dense = NumPyBackend.dense
    if method == "activate":  # the forward pass of the net, not the one that it is checked with
        monkeypatch.setattr(NumPyBackend, "dense", lambda *a, y, **kw: (dense(*a, y=y, **kw), y.__imul__(1.001))[0])
    else:
        monkeypatch.setattr(NumPyBackend, method, scaled)
    found = {
        line.name
        for line in explain([5, 4, 3], activation="tanh", loss="squared_error", batch=6).lines
        if not line.right
    }
    assert wrong <= found


def without_the_mean(self, dy, x, gain, mean, inverse_std, *, dx, dgain, dbias):
    RIGHT["layer_norm_backward"](self, dy, x, gain, mean, inverse_std, dx=dx, dgain=dgain, dbias=dbias)
    if dx is not None:
        dx += (dy * gain).mean(axis=1, keepdims=True) * inverse_std[:, None]


def without_the_mean_of_columns(self, dy, x, gain, mean, inverse_std, *, dx, dgain, dbias):
    RIGHT["batch_norm_backward"](self, dy, x, gain, mean, inverse_std, dx=dx, dgain=dgain, dbias=dbias)
    if dx is not None:
        dx += gain * inverse_std * dy.mean(axis=0)


def swapped(self, *args, dx, dgain, dbias):
    RIGHT["layer_norm_backward"](self, *args, dx=dx, dgain=dbias, dbias=dgain)


def without_eps(self, x, gain, bias, *, eps, **out):
    RIGHT["layer_norm"](self, x, gain, bias, eps=1e-30, **out)


def without_the_factor(self, x, state, *, key, counter, rate, out):
    RIGHT["dropout"](self, x, state, key=key, counter=counter, rate=rate, out=out)
    out *= 1 - rate


def nothing_added(self, source, first, *, out):
    """The gradient through the layers of the block alone."""


def left_taken(self, source, first, *, out):
    RIGHT["take_columns"](self, source, 0, out=out)


def steps_forgotten(self, dy, y, pieces, *, dx):
    dx[...] = dy[:, : dx.shape[1]]


def without_the_way_around(self, a, b, *, out):
    if out is a:  # in the backward pass: dx = dx + dy
        return
    RIGHT["add"](self, a, b, out=out)


def of_the_batch(self, x, gain, bias, mean, var, *, eps, y):
    RIGHT["batch_norm_inference"](self, x, gain, bias, x.mean(axis=0), x.var(axis=0), eps=eps, y=y)


RIGHT = {
    name: getattr(NumPyBackend, name)
    for name in (
        "layer_norm", "layer_norm_backward", "batch_norm_backward", "dropout", "add", "batch_norm_inference",
        "take_columns",
    )
}  # fmt: skip


@pytest.mark.parametrize(
    ("net", "method", "fault", "wrong"),
    [
        ("layer norm", "layer_norm_backward", without_the_mean, {"dz0", "dW0", "db0"}),
        ("layer norm", "layer_norm_backward", swapped, {"dgain0", "dbias0"}),
        ("layer norm", "layer_norm", without_eps, {"inverse_std0", "y0"}),
        ("batch norm", "batch_norm_backward", without_the_mean_of_columns, {"dz0", "dW0", "db0"}),
        ("batch norm", "batch_norm_inference", of_the_batch, {"y0"}),
        ("dropout", "dropout", without_the_factor, {"y1", "dy0", "dz0", "dW0", "db0"}),
        ("concatenate", "add_columns", nothing_added, {"dy0", "dz0", "dW0", "db0"}),
        (
            "concatenate",
            "take_columns",
            left_taken,
            {"dz2", "dW2", "db2", "dz1", "dW1", "db1", "dy0", "dz0", "dW0", "db0"},
        ),
        ("residual", "add", without_the_way_around, {"dy0", "dz0", "dW0", "db0"}),
    ],
)
def test_a_fault_shows_in_its_lines(monkeypatch, net, method, fault, wrong):
    monkeypatch.setattr(NumPyBackend, method, fault)
    found = explain(make(net), batch=N)
    if method in {"layer_norm", "dropout"}:  # as everything after it differs from the formulas
        assert wrong <= wrong_lines(found)
    else:
        assert wrong_lines(found) == wrong


def test_a_factor_forgotten_in_the_backward_pass_alone(monkeypatch):
    right = DropoutPass.backward

    def forgotten(self, dx):
        right(self, dx)
        if dx is not None:
            dx *= 1 - self.rate

    monkeypatch.setattr(DropoutPass, "backward", forgotten)
    assert wrong_lines(explain(make("dropout"), batch=N)) == {"dy0", "dz0", "dW0", "db0"}
