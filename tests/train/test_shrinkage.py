"""Predictions drawn towards the best constant one: by how much, and what that does to a net."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.shrinkage import FACTORS, best_constant, losses_by_factor, shrink

LOSSES = [
    "squared_error", "absolute_error", cr.Huber(delta=0.7), "poisson", "gamma", cr.Quantile([0.2, 0.8]), "gaussian_nll",
    "softmax_cross_entropy", cr.SoftmaxCrossEntropy(label_smoothing=0.3), "focal", "sigmoid_cross_entropy",
]  # fmt: skip


def net_and_targets(loss, backend, rng, n=60):
    net = cr.MLP([3, 8, 2 if loss not in ("softmax_cross_entropy", "focal") else 4], loss=loss, backend=backend, seed=1)
    kind = net.loss.task
    if kind == "classify":
        return net, rng.choice(net.n_out, n)
    if kind == "multilabel":
        return net, rng.integers(0, 2, (n, 2))
    return net, rng.gamma(2.0, size=(n, net.loss.columns))


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_no_constant_nearby_is_better(backend, rng, loss):
    """For every loss but the focal one, whose constant is the classes' shares."""
    net, y = net_and_targets(loss, backend, rng)
    rows = net.upload_rows(rng.normal(size=(60, 3)), y, rng.uniform(0, 2, 60))
    constant = best_constant(net, rows)
    arrays = {name: np.zeros_like(value) for name, value in net.parameter_arena.download().items()}

    def loss_of(logits):
        net.assign_parameters(arrays | {"dense1.b": logits.astype("float32")})
        return losses_by_factor(net, logits, rows)[0][-1]

    best = loss_of(constant)
    if loss == "focal":
        shares = np.bincount(np.asarray(y), backend.download(rows.weights), 4)
        np.testing.assert_allclose(np.exp(constant), shares / shares.sum(), rtol=1e-6)
        return
    for j in range(net.n_out):
        for step in (-0.05, 0.05):
            assert loss_of(constant + step * (np.arange(net.n_out) == j)) >= best * (1 - 1e-6)


def test_the_factor_is_the_slope_of_the_targets_on_the_predictions(backend, rng):
    """A linear net that says twice the truth is believed by half; the losses are those of the predictions."""
    net = cr.MLP([1, 1], loss="squared_error", backend=backend, dtype="float64")
    net.assign_parameters({"dense0.W": [[2.0]], "dense0.b": [5.0]})
    X, weight = rng.normal(size=(200, 1)), rng.uniform(0, 2, 200)
    rows = net.upload_rows(X, X + 5, weight)
    losses, total = losses_by_factor(net, np.array([5.0]), rows)
    np.testing.assert_allclose(losses, [weight @ (X[:, 0] * (1 - 2 * f)) ** 2 for f in FACTORS], rtol=1e-12)
    assert total == pytest.approx(weight.sum())
    assert float(net.predict([[3.0]])[0]) == 11, "only looked at"
    assert shrink(net, np.array([5.0]), losses, total) == 0.5
    np.testing.assert_allclose(net.predict([[3.0]]), [8.0], rtol=1e-12)


@pytest.mark.parametrize(("rows", "least_gain"), [(2, 6 / 2), (22, 2.2 / 22)])
def test_the_factor_must_pay_for_itself(rows, least_gain):
    """Of two rows by three times the loss that is left, of 22 by a tenth."""
    net = cr.MLP([1, 1], loss="squared_error")
    losses = 10 + np.abs(FACTORS - 0.6)
    for factor, expected in ((0.95, 0.0), (1.05, 0.6)):
        losses[0] = losses.min() * (1 + factor * least_gain)
        assert shrink(net, np.zeros(1), losses, rows) == expected


def test_rows_that_cannot_tell_leave_the_net_alone():
    net = cr.MLP([1, 1], loss="squared_error")
    before = net.predict([[1.0]])
    assert shrink(net, np.zeros(1), np.zeros(len(FACTORS)), 5.0) == 1
    assert shrink(net, np.zeros(1), np.full(len(FACTORS), np.nan), 5.0) == 1
    np.testing.assert_array_equal(net.predict([[1.0]]), before)


@pytest.mark.parametrize("loss", ["squared_error", "softmax_cross_entropy"])
def test_a_trainer_draws_noise_to_the_constant(backend, rng, loss):
    X = rng.normal(size=(80, 6))
    y = rng.normal(4.0, size=80) if loss == "squared_error" else rng.choice(2, 80, p=[0.7, 0.3])
    valid = X[60:], y[60:]
    nets = [cr.MLP([6, 64, 1 if loss == "squared_error" else 2], loss=loss, backend=backend, seed=1) for _ in "ab"]
    runs = [
        cr.Trainer(net, cr.Adam(0.01), epochs=60, shrink=shrinks, monitor="loss").fit(X[:60], y[:60], validation=valid)
        for net, shrinks in zip(nets, (False, True), strict=True)
    ]
    assert runs[0].shrinkage is None
    assert runs[1].shrinkage.factor == 0
    before, after = nets
    assert runs[1].shrinkage.valid_loss < runs[0].history["valid_loss"][-1]
    if loss == "squared_error":
        np.testing.assert_allclose(after.predict(X), y[:60].mean(), rtol=1e-5)
        assert np.ptp(before.predict(X)) > 0.5
    else:
        np.testing.assert_allclose(after.predict_proba(X)[:, 1], (y[:60] == 1).mean(), rtol=1e-5)


def test_what_is_learnt_stays(rng):
    """And a loss of one's own, whose constant is not known, is left alone."""
    X = rng.normal(size=(200, 3))
    net = cr.MLP([3, 16, 1], loss="squared_error")
    run = cr.Trainer(net, cr.Adam(0.01), epochs=60, batch_size=16, shrink=True).fit(X, X[:, 0] + 3, validation=0.25)
    assert run.shrinkage.factor >= 0.95
    own = cr.CustomLoss("own", lambda xp, z, t: ((z - t) ** 2).sum(axis=-1), lambda xp, z, t: 2 * (z - t))
    run = cr.Trainer(cr.MLP([3, 1], loss=own), epochs=1, shrink=True).fit(X, X[:, :1], validation=0.25)
    assert run.shrinkage is None
