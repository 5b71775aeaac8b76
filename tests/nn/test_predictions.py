"""What nets of each loss answer: in the target's own units, in an order that holds, and what `evaluate` says of it."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.scores import score


def net_of_constants(loss, b, *, backend=None, targets=None, dtype="float64"):
    """A net that answers the same logits for every row."""
    net = cr.MLP([1, len(b)], loss=loss, backend=backend, dtype=dtype)
    net.assign_parameters({"dense0.W": np.zeros((1, len(b))), "dense0.b": b})
    net.preparation = cr.Preparation(targets=targets)
    return net


X = np.zeros((3, 1))
STANDARD = cr.Standardization(np.array([10.0]), np.array([4.0]))
TWO = cr.Standardization(np.array([10.0, 0.0]), np.array([4.0, 0.5]))


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_poisson_and_gamma_predict_the_mean(backend, loss):
    net = net_of_constants(loss, [np.log(3.0)], backend=backend)
    np.testing.assert_allclose(net.predict(X), [3, 3, 3], rtol=1e-14)
    assert net_of_constants(loss, [0.0, 1.0], backend=backend).predict(X).shape == (3, 2)


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_poisson_and_gamma_refuse_standardised_targets(loss):
    with pytest.raises(cr.OptionError, match=f"expected targets in their own units for {loss}"):
        net_of_constants(loss, [0.0], targets=STANDARD)


def test_quantile_predictions_rise_and_are_in_units_of_the_target(backend):
    z = [0.5, -20.0, 1.0]
    q = np.cumsum([0.5, np.log1p(np.exp(-20.0)), np.log1p(np.exp(1.0))])
    plain = net_of_constants("quantile", z, backend=backend).predict(X)
    np.testing.assert_allclose(plain, [q] * 3, rtol=1e-14)
    assert (np.diff(plain, axis=1) > 0).all()
    np.testing.assert_allclose(
        net_of_constants("quantile", z, backend=backend, targets=STANDARD).predict(X), [10 + 4 * q] * 3, rtol=1e-14
    )
    two = net_of_constants("quantile", [*z, *z], backend=backend, targets=TWO).predict(X)
    np.testing.assert_allclose(two, [[10 + 4 * q, 0.5 * q]] * 3, rtol=1e-14)


def test_predict_distribution_of_gaussian_nll_is_in_units_of_the_target(backend):
    net = net_of_constants("gaussian_nll", [0.5, -1.0, np.log(2.0), 0.0], backend=backend, targets=TWO)
    np.testing.assert_allclose(net.predict(X), [[12, -0.5]] * 3, rtol=1e-14)
    found = net.predict_distribution(X)
    np.testing.assert_array_equal(found.mean, net.predict(X))
    np.testing.assert_allclose(found.variance, [[32, 0.25]] * 3, rtol=1e-14)
    one = net_of_constants("gaussian_nll", [0.5, 0.0], backend=backend, targets=STANDARD)
    assert one.predict(X).tolist() == [12.0] * 3
    np.testing.assert_allclose(one.predict_distribution(X).variance, [16.0] * 3, rtol=1e-14)


def test_predict_distribution_needs_gaussian_nll():
    with pytest.raises(cr.OptionError, match=r"trained on huber has no variance(?s:.*)gaussian_nll"):
        net_of_constants("huber", [0.0]).predict_distribution(X)


@pytest.mark.parametrize("stream", [False, True])
def test_training_finds_the_distribution(stream):
    """A spread that grows with x: its quantiles, and its mean and standard deviation."""
    rng = np.random.default_rng(4)
    x = rng.uniform(0, 1, (4000, 1))
    y = 100 + 50 * x[:, 0] + (1 + 9 * x[:, 0]) * rng.normal(size=4000)
    at = np.array([[0.1], [0.9]])
    deviation = 1 + 9 * at[:, 0]
    for loss, n_out in ((cr.Quantile([0.1, 0.5, 0.9]), 3), (cr.GaussianNLL(), 2)):
        net = cr.MLP([1, 16, n_out], loss=loss, activation="tanh", seed=1)
        net.preparation = cr.Preparation(cr.Standardization.fit(x), cr.Standardization.fit(y))
        run = cr.Trainer(net, cr.Adam(cr.Cosine(2e-2)), epochs=25, batch_size=100, stream=stream).fit(x, y)
        if n_out == 3:
            want = 100 + 50 * at + deviation[:, None] * np.array([-1.2816, 0, 1.2816])
            np.testing.assert_allclose(net.predict(at), want, atol=2.0)
            assert 0.5 < run.history["d2"][-1] < 1
        else:
            assert "d2" not in run.history
            found = net.predict_distribution(at)
            np.testing.assert_allclose(found.mean, 100 + 50 * at[:, 0], atol=1.5)
            np.testing.assert_allclose(np.sqrt(found.variance), deviation, rtol=0.25)


# ---- the metrics of `evaluate` --------------------------------------------------------------------------------------

Y = np.array([1.0, 2.0, 6.0])


def test_the_score_of_quantiles():
    net = net_of_constants(cr.Quantile([0.2, 0.6]), [1.0, np.log(np.expm1(1.0))])  # 1 and 2
    found = score(net, X, Y)
    want = {
        "coverage_0.2": 1 / 3,
        "coverage_0.6": 2 / 3,
        "pinball_0.2": 0.2 * 6 / 3,
        "pinball_0.6": 2.8 / 3,
    }
    assert found == pytest.approx(want | {"rmse": np.sqrt(17 / 3), "mae": 5 / 3, "r2": 1 - 17 / 14}, rel=1e-12)


def test_the_score_of_gaussian_nll():
    """scipy.stats.norm(2, 2).logpdf"""
    found = score(net_of_constants("gaussian_nll", [2.0, np.log(4.0)]), X, Y)
    assert found["nll"] == pytest.approx(-np.mean([-1.7370857137646, -1.6120857137646, -3.6120857137646]), rel=1e-12)
    assert found["coverage_0.9"] == pytest.approx(2 / 3)
    assert found["mae"] == pytest.approx(5 / 3)


def test_the_score_of_poisson_and_gamma_is_the_deviance():
    """The mean of 2 (y log(y / 2) - y + 2), and of 2 (log(2 / y) + y / 2 - 1)."""
    counts, times = net_of_constants("poisson", [np.log(2.0)]), net_of_constants("gamma", [np.log(2.0)])
    assert score(counts, X, np.array([0.0, 2, 6]))["deviance"] == pytest.approx(2 * (6 * np.log(3) - 2) / 3, rel=1e-12)
    assert score(times, X, Y)["deviance"] == pytest.approx(2 * (1.5 - np.log(1.5)) / 3, rel=1e-12)


def test_every_backend_trains_the_same_with_every_loss(backend):
    """Three epochs in float64, with row weights, on the backend's own kernels, beside NumPy's."""
    rng = np.random.default_rng(6)
    x, counts, w = rng.normal(size=(50, 3)), rng.poisson(2.0, 50) + 1, rng.uniform(0, 2, 50)
    losses = [
        cr.Focal(),
        cr.SoftmaxCrossEntropy(label_smoothing=0.2),
        "huber",
        "poisson",
        "gamma",
        "quantile",
        "gaussian_nll",
    ]
    for loss in losses:
        n_out = {"quantile": 3, "gaussian_nll": 2}.get(loss, 1) if isinstance(loss, str) else 3
        ends = []
        for each in (backend, cr.backend("cpu")):
            net = cr.MLP([3, 5, n_out], loss=loss, backend=each, dtype="float64", activation="tanh")
            y = counts % 3 if net.loss.task == "classify" else counts
            run = cr.Trainer(net, epochs=3, batch_size=16).fit(x, y, sample_weight=w, validation=(x, y))
            ends.append((net.parameter_arena.download(), run.history))
        (one, history), (other, other_history) = ends
        for name, value in one.items():
            np.testing.assert_allclose(value, other[name], rtol=1e-9, atol=1e-12)
        for name in set(history) - {"seconds"}:
            np.testing.assert_allclose(history[name], other_history[name], rtol=1e-9, err_msg=name)


@pytest.mark.parametrize("calls", [1, 40])
def test_a_net_keeps_no_rows_of_a_prediction(backend, calls):
    net = cr.MLP([3, 4, 2], backend=backend)
    table = np.zeros((10, 3), np.float32)
    for _ in range(calls):
        net.predict(table[:1])
    kept = weakref.ref(table)
    del table
    gc.collect()
    assert kept() is None
