"""bias_from_targets: the values by loss, when the bias is left alone, and that training converges sooner."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import chainrule as cr

LEVELS = (0.1, 0.5, 0.9)


def first_predictions(loss: cr.Quantile | str, y: np.ndarray, **options: Any) -> np.ndarray:
    """What a net predicts before its first step for rows that reach the output layer as zeros."""
    backend = options.pop("backend", None)
    columns = 1 if y.ndim == 1 else y.shape[1]
    outputs = columns * {"gaussian_nll": 2}.get(loss, 1) if isinstance(loss, str) else loss.outputs_for(columns)
    net = cr.MLP([2, outputs], loss=loss, backend=backend, dtype="float64")
    weight = options.pop("sample_weight", None)
    X = np.zeros((len(y), 2))
    cr.Trainer(net, cr.SGD(lr=1e-30), epochs=1, **options).fit(X, y, sample_weight=weight)
    return net.predict_distribution(X[:1]) if loss == "gaussian_nll" else net.predict(X[:1])


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_bias_from_targets_is_the_log_of_the_mean_by_sample_weight(backend, rng, loss):
    y, weight = rng.uniform(100, 900, (40, 2)), rng.uniform(0, 2, 40)
    found = first_predictions(loss, y, backend=backend, sample_weight=weight)
    np.testing.assert_allclose(found[0], np.average(y, axis=0, weights=weight), rtol=1e-12)


def test_bias_from_targets_of_gaussian_nll_is_mean_and_log_variance_by_sample_weight(rng):
    y, weight = rng.normal(700, 30, (40, 2)), rng.uniform(0, 2, 40)
    mean, variance = first_predictions("gaussian_nll", y, sample_weight=weight)
    expected = np.average(y, axis=0, weights=weight)
    np.testing.assert_allclose(mean[0], expected, rtol=1e-12)
    np.testing.assert_allclose(variance[0], np.average((y - expected) ** 2, axis=0, weights=weight), rtol=1e-12)


def test_bias_from_targets_of_quantile_is_the_quantiles(rng):
    y = rng.gamma(2.0, 50.0, (101, 2))
    found = first_predictions(cr.Quantile(LEVELS), y)
    np.testing.assert_allclose(found[0], np.quantile(y, LEVELS, axis=0, method="inverted_cdf").T, rtol=1e-12)


def test_bias_from_targets_keeps_equal_quantiles_apart(rng):
    """Most counts are 0 and so are two quantiles: a gap of 0 would be a logit of -inf."""
    y = np.where(rng.random(200) < 0.95, 0.0, rng.uniform(1, 9, 200))
    found = first_predictions(cr.Quantile((0.1, 0.5, 0.9)), y)
    np.testing.assert_allclose(found[0], [0, y.max() / 1000, y.max() / 500], rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("loss", ["poisson", "gaussian_nll", "quantile"])
def test_bias_from_targets_that_never_change(loss):
    """No log of 0: a mean of 0, a variance of 0, quantiles without a gap."""
    outputs = {"poisson": 1, "gaussian_nll": 2, "quantile": 3}[loss]
    net = cr.MLP([2, outputs], loss=loss)
    run = cr.Trainer(net, epochs=2).fit(np.ones((8, 2)), np.zeros(8))
    assert np.isfinite(run.history["loss"]).all()


def test_bias_from_targets_leaves_trained_and_frozen_biases(rng):
    X, y = rng.normal(size=(20, 2)), rng.uniform(500, 900, 20)
    held = cr.Adam(lr=1e-30, groups=[cr.ParameterGroup("dense0.b", lr_factor=0)])
    for bias, optimizer, options in [
        (0.5, cr.Adam(lr=1e-30), {}),
        (0.0, cr.Adam(lr=1e-30), {"bias_from_targets": False}),
        (0.0, held, {}),
    ]:
        net = cr.MLP([2, 1], loss="poisson", dtype="float64")
        net.assign_parameters({"dense0.b": [bias]})
        cr.Trainer(net, optimizer, epochs=1, **options).fit(X, y)
        np.testing.assert_allclose(net.parameters()["dense0.b"], [bias], atol=1e-20)


def test_bias_from_targets_with_stream_ema_and_lbfgs(rng):
    X, y = rng.normal(size=(50, 2)).astype(np.float32), np.full(50, 400.0)
    for optimizer, options in [
        (cr.Adam(lr=1e-30), {"stream": True}),
        (cr.Adam(lr=1e-30), {"ema": 0.5}),
        (cr.LBFGS(1), {}),
    ]:
        net = cr.MLP([2, 1], loss="poisson", dtype="float32")
        net.assign_parameters({"dense0.W": np.zeros((2, 1))})
        cr.Trainer(net, optimizer, epochs=1, **options).fit(X, y)
        np.testing.assert_allclose(net.predict(X), y, rtol=1e-5)


def test_bias_from_targets_is_undone_for_refused_rows(rng):
    X, y = rng.normal(size=(20, 2)).astype(np.float32), rng.uniform(500, 900, 20)
    X[-1, 0] = np.nan
    net = cr.MLP([2, 1], loss="poisson")
    with pytest.raises(cr.DataError):
        cr.Trainer(net, stream=True, shuffle=False, batch_size=4).fit(X, y)
    assert not net.parameters()["dense0.b"].any()


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
def test_bias_from_targets_makes_one_epoch_beat_five(rng, loss):
    X = rng.normal(size=(512, 3))
    y = np.maximum(rng.poisson(np.exp(5 + 0.5 * X[:, 0])), 1)
    losses = {}
    for begins in (True, False):
        net = cr.MLP([3, 16, 1], loss=loss)
        run = cr.Trainer(net, epochs=5, batch_size=32, bias_from_targets=begins).fit(X, y, validation=(X, y))
        losses[begins] = run.history["valid_loss"]
    assert losses[True][0] < losses[False][4]


def test_wrong_bias_from_targets_is_refused():
    with pytest.raises(cr.OptionError, match="bias_from_targets: expected True or False, got 'no'"):
        cr.Trainer(cr.MLP([2, 2]), bias_from_targets="no")
