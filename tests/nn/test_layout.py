"""Where the arrays of a prediction lie: outputs take turns in few buffers, and the numbers are the same bit for bit."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import chainrule as cr
from nn.layers.test_layers import N_IN, NETS, TOP, X, make, train

NESTED = cr.Residual([cr.Dropout(0.2), cr.Residual([cr.Activation("tanh"), cr.Residual([cr.Dropout(0.1)])])])
MORE = {"blocks without products": [NESTED, cr.Activation("relu"), NESTED, TOP], "one layer": [TOP]}


@pytest.mark.parametrize("name", [*NETS, *MORE])
def test_a_prediction_in_shared_memory_has_the_bits_of_one_in_memory_apart(backend, name):
    net = cr.Network(MORE[name], N_IN, backend=backend, seed=4) if name in MORE else make(name, backend, "float32")
    x = backend.upload(X.astype(np.float32))
    for rows in (len(X), 3):
        apart, shared = (net.bind(len(X), training=False, keep_outputs=keep).first(rows) for keep in (True, False))
        with backend.running():
            want, got = (backend.download(batch.forward(x[:rows])) for batch in (apart, shared))
        np.testing.assert_array_equal(got, want)
        assert np.isfinite(got).all()


def test_a_net_that_was_trained_predicts_the_same_after_its_plan_was_made():
    net = make("all of them", dtype="float32")
    before = net.predict_proba(X)
    train(net)
    after = net.predict_proba(X)
    assert not np.array_equal(before, after)
    np.testing.assert_array_equal(net.copy().predict_proba(X), after)


@pytest.mark.parametrize(
    ("layers", "most"),
    [
        ([cr.Activation("relu")] * 50, 3),  # two, and one for the gradient by the logits
        ([cr.LayerNorm()] * 50, 5),  # and the mean and standard deviation of a row
        ([cr.Dropout(0.1)] * 50, 2),  # whose output is their input
        ([cr.Residual([cr.Activation("tanh"), cr.Activation("relu")])] * 50, 4),
        ([NESTED] * 50, 5),  # an input for each block around
    ],
)
def test_how_many_buffers_a_prediction_takes(layers, most):
    net = cr.Network([*layers, TOP], N_IN)
    assert len(net.prediction_plan.buffers) <= most
    assert sum(buffer.width for buffer in net.prediction_plan.buffers) <= most * N_IN


def test_a_prediction_with_many_layers_takes_the_memory_of_two():
    width, n = 2_000, 20
    net = cr.Network([cr.Activation("relu")] * 300 + [TOP], width)
    rows = np.ones((n, width), np.float32)
    net.predict(rows)
    tracemalloc.start()
    try:
        net.predict(rows)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * rows.nbytes + (1 << 20)  # one per layer would be 300 times as much


def test_wider_layers_later_on_widen_the_buffers():
    net = cr.MLP([4, 8, 100, 8, 200, 3], seed=1)
    widths = [buffer.width for buffer in net.prediction_plan.buffers]
    assert max(widths) == 200
    assert sum(widths) < 8 + 100 + 8 + 200 + 3
    rows = np.random.default_rng(0).normal(size=(7, 4))
    with net.backend.running():
        want = net.bind(7, training=False, keep_outputs=True).forward(rows.astype(np.float32))
    np.testing.assert_array_equal(net.predict(rows), want.argmax(axis=1))
