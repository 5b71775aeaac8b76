"""Layers that a device computes as one: the same net to rounding, in training, in prediction, and by differences."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.nn.layers.base import walk
from chainrule.nn.layers.fused import FusedDense
from chainrule.verify.gradients import check_gradients

pytest.importorskip("numba", reason="numba is not installed")
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.compiled.state import LOOPS

N_IN, BINS = 3, 12


class Unfused(compiled.CompiledBackend):
    """The same loops, layer by layer."""

    fuses: frozenset[str] = frozenset()


@pytest.fixture(params=["loops", "before they come"])
def fast(request, monkeypatch) -> compiled.CompiledBackend:
    found = compiled.loaded()
    if request.param != "loops":
        monkeypatch.setattr(LOOPS, "is_loaded", False)
    return found


def encoding(*without: int) -> cr.PiecewiseLinear:
    X = np.random.default_rng(3).normal(size=(400, N_IN))
    edges = cr.PiecewiseLinear.fit(X, bins=BINS).edges
    return cr.PiecewiseLinear([() if j in without else own for j, own in enumerate(edges)])


def layers(kind: str) -> list[cr.Layer]:
    inner = [encoding(1), cr.Scale(), cr.Dense(17, "selu"), cr.Dropout(0.2), cr.Dense(6, "gelu")]
    return {
        "as a table's": [cr.Concatenate(inner), cr.Dense(2)],
        "at the bottom": [*inner, cr.Dense(2)],
        "above another": [cr.Dense(N_IN, "tanh"), *inner, cr.Dense(2)],
        "factors alone": [cr.Scale(), cr.Dense(40, "tanh"), cr.Scale(), cr.Dense(3, "relu"), cr.Dense(2)],
        "the last layer": [encoding(), cr.Scale(), cr.Dense(2)],
    }[kind]


KINDS = ["as a table's", "at the bottom", "above another", "factors alone", "the last layer"]


def make(kind: str, backend: cr.Backend, dtype: str, members: int) -> cr.Network:
    net = cr.Network(layers(kind), N_IN, loss="squared_error", backend=backend, dtype=dtype, seed=2, members=members)
    rng = np.random.default_rng(5)
    net.assign_parameters({k: v + rng.normal(0, 0.2, v.shape) for k, v in net.parameters().items()})
    return net


def rows(n: int = 70) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    X = rng.normal(size=(n, N_IN))
    X[0], X[1] = 50.0, -50.0  # far beyond the outer edges
    return X, rng.normal(size=(n, 2))


def fused_layers(net: cr.Network) -> int:
    return sum(isinstance(node.layer, FusedDense) for node in walk(net.fused_nodes))


@pytest.mark.parametrize(("dtype", "limit"), [("float64", 1e-12), ("float32", 2e-4)])
@pytest.mark.parametrize("members", [1, 2, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_predictions_and_training_are_those_of_the_layers_one_by_one(fast, kind, members, dtype, limit):
    X, y = rows()
    nets = [make(kind, be, dtype, members) for be in (fast, Unfused())]
    assert [fused_layers(net) for net in nets] == [2 if kind == "factors alone" else 1, 0]
    weights = np.random.default_rng(4).integers(0, 3, len(X)).astype(float)
    (loss, found), (want_loss, want) = (net.loss_and_gradients(X, y, weights) for net in nets)
    assert loss == pytest.approx(want_loss, rel=limit)
    for name, gradient in want.items():
        scale = max(1.0, float(np.abs(gradient).max()))
        np.testing.assert_allclose(found[name], gradient, rtol=0, atol=limit * scale, err_msg=name)
    np.testing.assert_allclose(*(net.predict(X) for net in nets), rtol=limit * 10, atol=limit * 10)
    for net in nets:
        cr.Trainer(net, cr.Adam(0.01), epochs=3, batch_size=32, seed=1).fit(X, y, sample_weight=weights)
    for name, value in nets[1].parameters().items():
        np.testing.assert_allclose(nets[0].parameters()[name], value, rtol=0, atol=40 * limit, err_msg=name)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_differences(fast, kind):
    X, y = rows(8)
    check_gradients(make(kind, fast, "float64", 1), X, y)
    check_gradients(make(kind, fast, "float64", 2).member(1), X, y)


def test_a_row_with_a_nan_spoils_no_other(fast):
    net = make("as a table's", fast, "float64", 2)
    X, _ = rows()
    want = net.predict(X)
    batch = net.bind(len(X), training=False)
    X[5, 0] = np.nan
    found = batch.forward(X)
    assert np.isnan(found[5]).all()
    np.testing.assert_allclose(np.delete(found, 5, axis=0), np.delete(want, 5, axis=0), atol=1e-12)


def test_few_fractions_a_column_complex_numbers_and_whoever_reads_each_output_are_not_fused():
    few = cr.PiecewiseLinear([(-1.0, 0.0, 1.0)] * N_IN)
    net = cr.Network([few, cr.Scale(), cr.Dense(2)], N_IN, backend=compiled.CompiledBackend())
    assert [type(node.layer) for node in net.fused_nodes] == [cr.PiecewiseLinear, FusedDense]
    net = make("as a table's", compiled.CompiledBackend(), "float64", 1)
    assert net.bind(4, training=True, keep_outputs=True).chain.layers[0].inner[0].name == "piecewise_linear0"
    assert net.bind(4, training=True).chain.layers[0].inner[0].name == "dense0"
    assert fused_layers(net.copy(dtype="complex128")) == 0
    assert fused_layers(net.copy(backend=NumPyBackend())) == 1
    assert net.copy(backend=NumPyBackend()).fused_nodes[0].inner[0].name == "piecewise_linear0"


# ---- members without fractions ------------------------------------------------------------------------


def trained(backend: cr.Backend, *, clip_norm: float | None = None, members: int = 4) -> cr.Network:
    net = cr.Network(layers("as a table's"), N_IN, loss="squared_error", backend=backend, dtype="float64",
                     seed=2, members=members)  # fmt: skip
    W = net.parameters()["dense0.W"]
    W[:, N_IN:] = 0
    plain = cr.ParameterGroup("dense0.W", 0.0, rows=(N_IN, 999), members=(members // 2, members))
    X, y = rows()
    cr.Trainer(net, cr.Adam(0.01, clip_norm=clip_norm, groups=[plain]), epochs=3, batch_size=32, seed=1).fit(X, y)
    return net


@pytest.mark.parametrize("clip_norm", [None, 0.5])
def test_members_whose_weights_of_fractions_are_frozen_at_0_are_trained_as_before(fast, clip_norm):
    found, want = (trained(be, clip_norm=clip_norm).parameters() for be in (fast, Unfused()))
    for name, value in want.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-11, err_msg=name)
    assert not found["dense0.W"][2:, N_IN:].any()
    assert found["dense0.W"][:2, N_IN:].any(axis=(1, 2)).all()


def test_gradients_of_frozen_fractions_are_not_computed_in_training_and_are_for_whoever_asks(fast):
    net = trained(fast)
    assert not net.gradient_arena["dense0.W"][2:, N_IN:].any()
    assert net.gradient_arena["dense0.W"][:2, N_IN:].any()
    _, gradients = net.loss_and_gradients(*rows())
    assert gradients["dense0.W"][:, N_IN:].any(axis=(1, 2)).all()


def test_a_frozen_encoding_with_weights_still_counts(fast):
    """Only where all weights are 0 nothing is computed."""
    nets = []
    for be in (fast, Unfused()):
        net = make("as a table's", be, "float64", 2)
        frozen = cr.ParameterGroup("dense0.W", 0.0, rows=(N_IN, 999), members=(0, 2))
        cr.Trainer(net, cr.Adam(0.01, groups=[frozen]), epochs=2, batch_size=32).fit(*rows())
        nets.append(net)
    for name, value in nets[1].parameters().items():
        np.testing.assert_allclose(nets[0].parameters()[name], value, rtol=0, atol=1e-11, err_msg=name)
