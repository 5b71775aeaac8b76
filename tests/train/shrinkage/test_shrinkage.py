"""Shrinkage towards the best constant prediction: by how much, and what that does to a net."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.losses.names import find_loss
from chainrule.train.shrinkage import deviance as deviances_module
from chainrule.train.shrinkage.choose import choose_factors
from chainrule.train.shrinkage.deviance import (
    FACTORS,
    ShrinkFactors,
    by_bisection,
    deviance,
    deviances,
    effective_rows,
    least,
)
from chainrule.train.shrinkage.held_out import HeldOutPredictions, best_constant, predict_held_out
from chainrule.train.shrinkage.shrink import shrink, shrink_by

LOSSES = [
    "squared_error",
    "absolute_error",
    cr.Huber(delta=0.7),
    "poisson",
    "gamma",
    cr.Quantile([0.2, 0.8]),
    "gaussian_nll",
    "softmax_cross_entropy",
    cr.SoftmaxCrossEntropy(label_smoothing=0.3),
    "focal",
    "sigmoid_cross_entropy",
]


def net_and_targets(loss, backend, rng, n=60):
    net = cr.MLP([3, 8, 2 if loss not in ("softmax_cross_entropy", "focal") else 4], loss=loss, backend=backend, seed=1)
    kind = net.loss.task
    if kind == "classify":
        return net, rng.choice(net.n_out, n)
    if kind == "multilabel":
        return net, rng.integers(0, 2, (n, 2))
    return net, rng.gamma(2.0, size=(n, net.loss.columns))


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_best_constant_is_better_than_those_nearby(backend, rng, loss):
    """For every loss but the focal one, whose constant is the classes' shares."""
    net, y = net_and_targets(loss, backend, rng)
    rows = net.upload_rows(rng.normal(size=(60, 3)), y, rng.uniform(0, 2, 60))
    constant = best_constant(net, rows)
    if loss == "focal":
        shares = np.bincount(np.asarray(y), backend.download(rows.weights), 4)
        np.testing.assert_allclose(np.exp(constant), shares / shares.sum(), rtol=1e-6)
        return
    held_out = predict_held_out(net, constant, rows)

    def loss_of(logits):
        return deviance(net.loss, [held_out._replace(constant=logits)], 0.0)

    best = loss_of(constant)
    for j in range(net.n_out):
        for step in (-0.05, 0.05):
            assert loss_of(constant + step * (np.arange(net.n_out) == j)) >= best * (1 - 1e-6)


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_deviance_of_a_perfect_prediction_is_zero(rng, loss):
    """And every other prediction has one, such as the constant of all rows. A density has no perfect prediction."""
    net, y = net_and_targets(loss, cr.backend("cpu"), rng)
    if loss == "gaussian_nll":
        return
    s = getattr(net.loss, "label_smoothing", 0.0)
    with np.errstate(divide="ignore"):
        if net.loss.task == "classify":
            right = np.log((1 - s) * np.eye(net.n_out)[y] + s / net.n_out)
        elif net.loss.task == "multilabel":
            right = np.where(y > 0, np.inf, -np.inf)
        elif isinstance(net.loss, cr.Quantile):
            right = np.column_stack([y, np.full(len(y), -np.inf)])  # a gap of 0
        else:
            right = np.log(y) if loss in ("poisson", "gamma") else y
    right = np.clip(right, -40, 40) if net.loss.task != "regress" else np.maximum(right, -40)
    part = HeldOutPredictions(right, np.zeros(net.n_out), net.loss.check_targets(y), rng.uniform(0, 2, 60))
    assert deviance(net.loss, [part], 1.0) == pytest.approx(0, abs=1e-9)
    assert deviance(net.loss, [part], 0.0) > 1


def linear(slope, rng, n=200, weights=None):
    """Predictions for n rows, whose mean is 5, by a linear net that predicts ``slope`` times the deviation from it."""
    t = rng.normal(size=(n, 1))
    return HeldOutPredictions(5 + slope * t, np.array([5.0]), 5 + t, weights)


def test_shrink_factor_is_the_slope_of_the_targets_on_the_predictions(rng):
    """A net that predicts twice the truth is shrunk by half, whatever the folds."""
    loss, weights = cr.SquaredError().bind(1), rng.uniform(0, 2, 200)
    part = linear(2.0, rng, weights=weights)
    errors = [weights @ (part.targets[:, 0] - part.shrunk(f)[:, 0]) ** 2 for f in FACTORS]
    np.testing.assert_allclose([deviance(loss, [part], f) for f in FACTORS], errors, rtol=1e-12)
    halves = [HeldOutPredictions(part.logits[i::2], part.constant, part.targets[i::2], weights[i::2]) for i in range(2)]
    for parts in ([part], halves):
        assert choose_factors(loss, parts).factor == 0.5


def test_shrink_changes_the_output_layer(backend):
    net = cr.MLP([1, 1], loss="squared_error", backend=backend, dtype="float64")
    net.assign_parameters({"dense0.W": [[2.0]], "dense0.b": [5.0]})
    shrink(net, np.array([5.0]), ShrinkFactors(np.array([0.5]), np.zeros(1), 0.5))
    np.testing.assert_allclose(net.predict([[3.0]]), [8.0], rtol=1e-12)
    before = net.parameter_arena.download()["dense0.W"]
    shrink(net, np.array([0.1]), ShrinkFactors(np.ones(1), np.zeros(1), 1.0))
    np.testing.assert_array_equal(net.parameter_arena.download()["dense0.W"], before)


@pytest.mark.parametrize(("rows", "least_gain"), [(2, 6 / 2), (22, 2.2 / 22)])
def test_shrink_factor_must_pay_for_itself(rows, least_gain):
    """With two rows by three times the deviance that is left, with 22 by a tenth."""
    deviances = 10 + np.abs(FACTORS - 0.6)
    for factor, expected in ((0.95, 0.0), (1.05, 0.6)):
        deviances[0] = deviances.min() * (1 + factor * least_gain)
        assert least(deviances, rows) == expected


def test_shrink_factor_is_one_if_rows_cannot_tell():
    assert least(np.zeros(len(FACTORS)), 5.0) == 1
    assert least(np.full(len(FACTORS), np.nan), 5.0) == 1


def test_effective_rows_by_ratios_of_weights():
    for factor in (1e-9, 1.0, 1e6):
        assert effective_rows(factor * np.array([1.0, 1, 1, 1, 0])) == pytest.approx(4)
    assert effective_rows(np.array([1e6, *[1.0] * 999])) == pytest.approx(1, rel=0.01)


def test_shrink_counts_copies_of_a_row_as_one_row_of_their_weight(rng):
    z, t = rng.normal(size=(5, 1)), rng.normal(size=(5, 1))
    w = np.array([1, 3, 2, 1, 1])
    weighted, repeated = HeldOutPredictions(z, np.zeros(1), t, w.astype(float)), np.repeat(np.arange(5), w)
    copied = HeldOutPredictions(z[repeated], np.zeros(1), t[repeated], None, repeated)
    np.testing.assert_array_equal(weighted.row_weights, copied.row_weights)
    assert (
        choose_factors(find_loss("squared_error", 1), [weighted]).factor
        == choose_factors(find_loss("squared_error", 1), [copied]).factor
    )


@pytest.mark.parametrize("loss", ["poisson", "gamma"])
@pytest.mark.parametrize("unit", [1e-3, 500.0])
def test_shrink_factor_is_the_same_in_any_unit_of_the_target(rng, loss, unit):
    """Deviances are multiplied by the unit (poisson), or by nothing (gamma): constants of the target do not count."""
    z, t = rng.normal(size=(60, 1)), rng.gamma(1.0, size=(60, 1))
    t *= np.exp(0.2 * z)
    bound = find_loss(loss, 1)
    one = choose_factors(bound, [HeldOutPredictions(z, np.zeros(1), t, None)])
    other = choose_factors(bound, [HeldOutPredictions(z + np.log(unit), np.log([unit]), unit * t, None)])
    assert one.factor == other.factor


def test_shrink_widens_a_variance_that_is_too_small(rng):
    """The net's mean is right and its standard deviation a tenth of what it should be."""
    x = rng.normal(size=(400, 1))
    t = x + 0.3 * rng.normal(size=(400, 1))
    sure = HeldOutPredictions(np.column_stack([x, np.full(400, 2 * np.log(0.03))]), np.array([0.0, 0.1]), t, None)
    found = choose_factors(find_loss("gaussian_nll", 2), [sure])
    assert found.factor > 0.95
    after = sure.shrunk(found.factors, found.shift)
    np.testing.assert_allclose(np.exp(after[:, 1] / 2), 0.3, rtol=0.1)
    assert found.spread_factor == 0, "a spread that is the same for all rows has nothing to pay for"


def test_shrink_keeps_a_spread_that_depends_on_the_row(rng):
    x = rng.normal(size=(400, 1))
    sd = np.exp(x)
    t = 2 * x + sd * rng.normal(size=(400, 1))
    right = HeldOutPredictions(np.column_stack([2 * x, 2 * np.log(sd)]), np.array([0.0, 2.0]), t, None)
    found = choose_factors(find_loss("gaussian_nll", 2), [right])
    assert found.spread_factor > 0.8
    assert 0.9 < found.widened < 1.2


def test_shrink_widens_quantiles_that_are_too_near(rng):
    """Location right, gaps a twentieth of what they should be: the constant's gaps, and the net's location."""
    x = rng.normal(size=(600, 1))
    t = 10 * x + rng.normal(size=(600, 1))
    gap = 2.56  # between the quantiles 0.1 and 0.9
    z = np.column_stack([10 * x - gap / 2, np.full(600, np.log(np.expm1(gap / 20)))])
    constant = np.array([-gap / 2, np.log(np.expm1(gap))])
    found = choose_factors(cr.Quantile([0.1, 0.9]).bind(2), [HeldOutPredictions(z, constant, t, None)])
    assert found.factor > 0.95
    assert found.spread_factor < 0.2


@pytest.mark.parametrize("loss", LOSSES, ids=str)
def test_shrink_to_the_constant_of_a_target_that_never_changes(backend, rng, loss):
    """However confident the net; rows of weight 0 do not count."""
    net, y = net_and_targets(loss, backend, rng)
    y = np.concatenate([np.repeat(y[:1], 59, axis=0), y[1:2] + (1 if net.loss.task == "regress" else 0)])
    X, weight = rng.normal(size=(60, 3)), np.array([1.0] * 59 + [0.0])
    run = cr.Trainer(net, epochs=1, shrink=True).fit(X, y, sample_weight=weight, validation=(X[:9], y[:9]))
    assert run.shrinkage.factor == 0
    answers = np.asarray(net.predict(X))
    np.testing.assert_array_equal(answers, np.broadcast_to(answers[0], answers.shape))
    if net.loss.task == "regress" and not isinstance(net.loss, cr.Quantile):
        np.testing.assert_allclose(answers[0], y[0], rtol=1e-5)


@pytest.mark.parametrize("loss", ["squared_error", "poisson", "gaussian_nll", "quantile", "sigmoid_cross_entropy"])
def test_shrink_only_the_target_that_never_changes(rng, loss):
    """And does not count in how far the other is shrunk."""
    X, n_out = rng.normal(size=(200, 3)), find_loss(loss, 6).outputs_for(2)
    signal = np.exp(X[:, 0]) if loss != "sigmoid_cross_entropy" else (X[:, 0] > 0).astype(float)
    y = np.column_stack([signal, np.ones(200)])
    net = cr.MLP([3, 16, n_out], loss=loss)
    run = cr.Trainer(net, cr.Adam(0.01), epochs=40, batch_size=16, shrink=True).fit(X, y, validation=0.25)
    predicted = np.asarray(net.predict_proba(X) if loss == "sigmoid_cross_entropy" else net.predict(X))
    assert run.shrinkage.factor > 0.6
    assert np.ptp(predicted[:, 0], axis=0).min() > 0.3
    assert np.ptp(predicted[:, 1], axis=0).max() == 0
    point = predicted[:, 1] if loss != "quantile" else predicted[:, 1, 1]
    np.testing.assert_allclose(point, 1, atol=2e-3)


def test_shrink_of_counts_that_are_all_zero(rng):
    net = cr.MLP([3, 8, 1], loss="poisson")
    X = rng.normal(size=(60, 3))
    cr.Trainer(net, epochs=2, shrink=True).fit(X, np.zeros(60), validation=0.2)
    assert 0 < net.predict(X).max() < 1e-5


@pytest.mark.parametrize("loss", ["squared_error", "softmax_cross_entropy"])
def test_a_trainer_shrinks_noise_to_the_constant(backend, rng, loss):
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


def test_shrink_keeps_what_is_learnt(rng):
    """And a custom loss, whose constant is not known, is left alone."""
    X = rng.normal(size=(200, 3))
    net = cr.MLP([3, 16, 1], loss="squared_error")
    run = cr.Trainer(net, cr.Adam(0.01), epochs=60, batch_size=16, shrink=True).fit(X, X[:, 0] + 3, validation=0.25)
    assert run.shrinkage.factor >= 0.95
    own = cr.CustomLoss("own", lambda xp, z, t: ((z - t) ** 2).sum(axis=-1), lambda xp, z, t: 2 * (z - t))
    run = cr.Trainer(cr.MLP([3, 1], loss=own), epochs=1, shrink=True).fit(X, X[:, :1], validation=0.25)
    assert run.shrinkage is None


@pytest.mark.parametrize("unit", [1e-300, 1e-200, 1.0, 1e200, 1e300])
@pytest.mark.filterwarnings("error")
def test_effective_rows_in_any_unit_of_the_weights(unit):
    """Their squares may overflow or underflow in float64."""
    assert effective_rows(np.array([1.0, 2, 3]) * unit) == pytest.approx(36 / 14)
    assert effective_rows(np.zeros(3)) == effective_rows(np.zeros(0)) == 0


def test_shrink_counts_copies_of_validation_rows_once(backend):
    """A slope of 1/2 that gains 15 % of the deviance: ten rows must gain 25 %, thirty 7 %; three times ten are ten."""

    def factor(x: np.ndarray, t: np.ndarray) -> float:
        net = cr.MLP([1, 1], loss="squared_error", backend=backend, dtype="float64")
        net.assign_parameters({"dense0.W": [[1.0]], "dense0.b": [0.0]})
        rows = net.upload_rows(np.zeros((2, 1)), np.array([[-1.0], [1.0]]))  # the constant is 0
        return shrink_by(net, rows, net.upload_rows(x[:, None], t[:, None])).factor

    def line(x: np.ndarray) -> np.ndarray:
        noise = x**2  # orthogonal to x
        return x / 2 + noise * np.sqrt((x / 2) @ (x / 2) / 0.15 / (noise @ noise))

    ten, thirty = np.linspace(-1, 1, 10), np.linspace(-1, 1, 30)
    assert factor(ten, line(ten)) == 0
    assert factor(np.tile(ten, 3), np.tile(line(ten), 3)) == 0
    assert factor(thirty, line(thirty)) == 0.5


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if find_loss(loss, 4).convex], ids=str)
@pytest.mark.parametrize("scale", [0.0, 0.1, 1.0, 10.0, 1000.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_factor_of_many_logits_is_that_of_all_factors_tried(loss, scale, weighted, rng, monkeypatch):
    m, loss = 90, find_loss(loss, 4)
    targets = rng.integers(0, 4, m).astype(np.int32) if loss.task == "classify" else rng.integers(0, 2, (m, 4)) * 1.0
    weights = np.where(np.arange(m) < 40, 0, rng.random(m)) if weighted else None
    part = HeldOutPredictions(scale * rng.normal(size=(m, 4)), rng.normal(size=4), targets, weights)
    every = deviances(loss, [part])
    assert np.isfinite(every).all()
    monkeypatch.setattr(deviances_module, "MANY_LOGITS", 0)
    some = deviances(loss, [part])
    assert np.isfinite(some).sum() <= 15
    np.testing.assert_array_equal(some[np.isfinite(some)], every[np.isfinite(some)])
    assert least(some, m) == least(every, m)
    monkeypatch.setattr(deviances_module, "LOGITS_AT_ONCE", 4 * 7)
    in_pieces = deviances(loss, [part])
    np.testing.assert_allclose(in_pieces[np.isfinite(some)], some[np.isfinite(some)], rtol=1e-12)


def test_bisection_finds_the_last_minimum():
    for at in FACTORS:
        assert least(by_bisection(lambda f, at=at: (f - at) ** 2), 1e9) == at
    assert least(by_bisection(lambda f: max(0.3 - f, 0.0, f - 0.6) + 1), 1e9) == 0.6
    assert least(by_bisection(lambda f: (f - 0.9) ** 2 if f < 0.5 else np.nan), 1e9) == 0.49
    assert least(by_bisection(lambda f: np.inf if f == 0 else (f - 0.2) ** 2), 1e9) == 0.2
    assert least(by_bisection(lambda _: np.nan), 1e9) == 1.0
