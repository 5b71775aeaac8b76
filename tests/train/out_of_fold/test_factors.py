"""How far to shrink an ensemble, by pairs of members that did not see a row: as if all had been asked."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.losses.names import Loss, find_loss
from chainrule.train.out_of_fold.ensemble_loss import deviance_of_ensemble
from chainrule.train.out_of_fold.factors import choose_ensemble_factors, shrink_parts
from chainrule.train.out_of_fold.label_smoothing import unsmoothed_constant, unsmoothed_targets, without_smoothing
from chainrule.train.out_of_fold.predictions import OutOfFoldPart
from chainrule.train.shrinkage.choose import choose_factors
from chainrule.train.shrinkage.deviance import ShrinkFactors, deviance
from chainrule.train.shrinkage.held_out import HeldOutPredictions
from train.out_of_fold.simulated import mean_of, parts_of

K, M = 8, 4000


def regression(rng: np.random.Generator, *, own: float = 1.0, noise: float = 1.0, m: int = M):
    """Targets, and members that have the truth with an error in common and one of their own."""
    truth = rng.normal(size=(m, 1))
    z = 1.3 * truth + 0.3 * rng.normal(size=(m, 1)) + own * rng.normal(size=(K, m, 1))
    return z, truth + noise * rng.normal(size=(m, 1))


def deviance_of_all(loss: Loss, logits: np.ndarray, targets: np.ndarray, constant: np.ndarray, f: float) -> float:
    mean = mean_of(loss, constant + f * (logits - constant))
    return deviance(loss, [HeldOutPredictions(mean, constant, targets, None)], 1.0)


def of_loss(loss: cr.Loss | str, rng: np.random.Generator, m: int = M, own: float = 0.7):
    """A bound loss, members' logits and targets that they know something of, and the best constant."""
    n_out = {"softmax_cross_entropy": 3, "focal": 3, "gaussian_nll": 2, "quantile": 3}.get(
        loss if isinstance(loss, str) else loss.name, 1
    )
    found = find_loss(loss, n_out)
    truth = 0.8 * rng.normal(size=(m, n_out))
    z = 1.5 * truth + own * rng.normal(size=(K, m, n_out))
    if found.task == "classify":
        p = np.exp(truth) / np.exp(truth).sum(axis=1, keepdims=True)
        y = (rng.random((m, 1)) > np.cumsum(p, axis=1)).sum(axis=1).clip(0, n_out - 1).astype(np.int32)
    elif found.task == "multilabel":
        y = (rng.random((m, 1)) < 1 / (1 + np.exp(-truth))).astype(float)
    elif found.name in {"poisson", "gamma"}:
        y = rng.poisson(np.exp(truth)) if found.name == "poisson" else np.exp(truth) * rng.gamma(4, 0.25, (m, 1))
    else:
        y = truth[:, :1] + rng.normal(size=(m, 1))
    return found, z, y, found.best_constant(y, None)


SMOOTH = ["squared_error", "poisson", "gamma", "softmax_cross_entropy", "sigmoid_cross_entropy"]


@pytest.mark.parametrize("loss", [*SMOOTH, "absolute_error", "huber", "quantile"])
def test_the_loss_of_an_ensemble_is_estimated_from_pairs_of_its_members(rng, loss):
    """Nearer than that of pairs, whose loss is higher."""
    found, z, y, constant = of_loss(loss, rng)
    parts = parts_of(z, y)
    for f in (0.5, 1.0):
        of_all = deviance_of_all(found, z, y, constant, f)
        of_pairs = deviance_of_ensemble(found, parts, constant, 2, f)
        estimated = deviance_of_ensemble(found, parts, constant, K, f)
        assert of_pairs > of_all
        assert abs(estimated - of_all) < 0.7 * (of_pairs - of_all)


def test_the_squared_error_of_an_ensemble_is_estimated_without_bias(rng):
    """Over draws, by pairs and by three members; a single one stands for all, as nothing says how far others are."""
    ratios = []
    for _ in range(40):
        z, y = regression(rng, m=500)
        loss, c = find_loss("squared_error", 1), np.zeros(1)
        of_all = deviance_of_all(loss, z, y, c, 1.0)
        three = [OutOfFoldPart((0, 1, 2), np.arange(500), z[:3], y, None)]
        one = [OutOfFoldPart((0,), np.arange(500), z[:1], y, None)]
        ratios.append([deviance_of_ensemble(loss, p, c, K, 1.0) / of_all for p in (parts_of(z, y), three, one)])
    np.testing.assert_allclose(np.mean(ratios, axis=0)[:2], 1, atol=0.02)
    assert np.mean(ratios, axis=0)[2] > 1.5


def test_one_sure_and_wrong_member_does_not_outweigh_the_rows(rng):
    found, z, y, constant = of_loss("softmax_cross_entropy", rng, m=400)
    z[0, :, :] += 1e4 * rng.normal(size=z[0].shape)
    estimated = deviance_of_ensemble(found, parts_of(z, y), constant, K, 1.0)
    pairs = deviance_of_ensemble(found, parts_of(z, y), constant, 2, 1.0)
    assert pairs - 400 * 3 / 8 <= estimated < pairs


def test_the_factor_of_the_squared_error_has_a_closed_form(rng):
    z, y = regression(rng)
    parts = parts_of(z, y)
    yz = sum((p.logits.mean(axis=0) * p.targets).sum() for p in parts)
    product = sum((p.logits[0] * p.logits[1]).sum() for p in parts)
    single = sum((p.logits**2).mean(axis=0).sum() for p in parts)
    found = choose_ensemble_factors(find_loss("squared_error", 1), parts, np.zeros(1), members=K)
    assert found.factor == round(yz / (product + (single - product) / K), 2)


@pytest.mark.parametrize("own", [0.2, 1.0, 2.0])
def test_the_factor_is_that_of_the_whole_ensemble_and_above_that_of_pairs(rng, own):
    z, y = regression(rng, own=own, m=20_000)
    loss, c, parts = find_loss("squared_error", 1), np.zeros(1), parts_of(z, y)
    mean = z.mean(axis=0)
    oracle = (mean * y).sum() / (mean**2).sum()
    found = choose_ensemble_factors(loss, parts, c, members=K).factor
    of_pair = choose_ensemble_factors(loss, parts, c, members=2).factor
    assert abs(found - oracle) < 0.025
    assert of_pair < found


@pytest.mark.parametrize("loss", [*SMOOTH, "absolute_error", "huber"])
def test_the_factor_is_near_that_of_all_members_on_these_rows(rng, loss):
    found, z, y, constant = of_loss(loss, rng)
    grid = np.arange(101) / 100
    oracle = grid[np.argmin([deviance_of_all(found, z, y, constant, f) for f in grid])]
    chosen = choose_ensemble_factors(found, parts_of(z, y), constant, members=K).factor
    assert abs(chosen - oracle) < 0.1


def test_factors_of_mean_and_spread_and_of_location_and_gaps(rng):
    """As choose_factors has them for one net, if the members agree."""
    for loss in ("gaussian_nll", "quantile"):
        found, z, y, constant = of_loss(loss, rng, m=1000, own=0.0)
        got = choose_ensemble_factors(found, parts_of(z, y), constant, members=K)
        want = choose_factors(found, [HeldOutPredictions(z[0], constant, y, None)])
        np.testing.assert_allclose(got.factors, want.factors, atol=0.011)
        np.testing.assert_allclose(got.shift, want.shift, atol=0.02)
        assert (got.spread_factor, got.widened) == pytest.approx((want.spread_factor, want.widened), abs=0.02)


def test_the_spread_of_a_mixture_of_members_fits_its_errors(rng):
    """Members that differ widely, each too sure: the mixture is right about how sure it may be."""
    m = 6000
    truth = rng.normal(size=(m, 1))
    means = truth + 0.8 * rng.normal(size=(K, m, 1))
    z = np.concatenate([means, np.full((K, m, 1), -4.0)], axis=-1)
    y = truth + rng.normal(size=(m, 1))
    loss, constant = find_loss("gaussian_nll", 2), np.array([0.0, np.log(2.0)])
    found = choose_ensemble_factors(loss, parts_of(z, y), constant, members=K)
    after = mean_of(loss, constant + found.factors * (z - constant) + found.shift)
    ratio = ((y[:, 0] - after[:, 0]) ** 2).mean() / np.exp(after[:, 1]).mean()
    assert 0.6 < ratio < 1.4


def test_each_target_column_has_a_factor_of_its_own(rng):
    z, y = regression(rng)
    nothing = np.concatenate([z, 0.5 * rng.normal(size=z.shape)], axis=-1)
    targets = np.concatenate([y, rng.normal(size=y.shape)], axis=-1)
    loss = find_loss("squared_error", 2)
    found = choose_ensemble_factors(loss, parts_of(nothing, targets), np.zeros(2), members=K)
    one = choose_ensemble_factors(find_loss("squared_error", 1), parts_of(z, y), np.zeros(1), members=K)
    assert found.factors.tolist() == [one.factor, 0.0]
    assert found.factor == one.factor / 2
    fixed = choose_ensemble_factors(
        loss, parts_of(nothing, targets), np.zeros(2), members=K, fixed=np.array([True, False])
    )
    assert fixed.factors.tolist() == [0.0, 0.0]


def test_sample_weight_counts_like_copies_of_rows(rng):
    z, y = regression(rng, m=400)
    weights = rng.integers(1, 4, 400).astype(float)
    parts = parts_of(z, y, weights)
    again = [
        OutOfFoldPart(
            p.members,
            np.repeat(p.rows, p.weights.astype(int)),
            np.repeat(p.logits, p.weights.astype(int), axis=1),
            np.repeat(p.targets, p.weights.astype(int), axis=0),
            None,
        )
        for p in parts
    ]
    for loss in ("squared_error", "huber", "gaussian_nll"):
        found = find_loss(loss, 1 if loss != "gaussian_nll" else 2)
        c = np.zeros(found.n_out)
        one, two = (
            choose_ensemble_factors(
                found,
                [p._replace(logits=np.repeat(p.logits, found.n_out, axis=-1)) for p in some],
                c,
                members=K,
                copies=np.arange(400),
            )
            for some in (parts, again)
        )
        np.testing.assert_allclose(one.factors, two.factors)
        np.testing.assert_allclose(one.shift, two.shift, atol=1e-9)


def test_large_targets_and_small_ones_have_the_same_factor(rng):
    z, y = regression(rng)
    found = [
        choose_ensemble_factors(find_loss("squared_error", 1), parts_of(s * z, s * y), np.zeros(1), members=K).factor
        for s in (1, 1e-100, 1e100)
    ]
    assert found[0] == found[1] == found[2] > 0


@pytest.mark.parametrize(
    ("loss", "m", "draws"),
    [
        ("squared_error", 20, 40),
        ("squared_error", 100, 40),
        ("squared_error", 400, 40),
        ("poisson", 100, 10),
        ("softmax_cross_entropy", 100, 10),
    ],
)
def test_ensembles_that_learnt_noise_end_at_the_constant(loss, m, draws):
    """Within 2 % of it on new rows, on average."""
    rng = np.random.default_rng(m)
    ratios = []
    for _ in range(draws):
        found, z, y, constant = of_loss(loss, rng, m=m)
        z = constant + rng.normal(size=z.shape)
        chosen = choose_ensemble_factors(found, parts_of(z, y), constant, members=K)
        new = rng.normal(size=(K, 2000, found.n_out))
        rows = rng.integers(0, m, 2000)
        after = mean_of(found, constant + chosen.factors * new + chosen.shift)
        got, nothing = (
            deviance(found, [HeldOutPredictions(logits, constant, y[rows], None)], 1.0)
            for logits in (after, np.broadcast_to(constant, after.shape))
        )
        ratios.append(got / nothing)
    assert np.mean(ratios) < 1.02


# ---- probabilities --------------------------------------------------------------------------------


def log_loss_of(loss: Loss, z: np.ndarray, y: np.ndarray, c: np.ndarray, found: ShrinkFactors) -> float:
    after = mean_of(loss, c + found.factors * (z - c) + found.shift)
    return deviance(loss, [HeldOutPredictions(after, c, y, None)], 1.0) / len(y)


@pytest.mark.parametrize("kind", [cr.SoftmaxCrossEntropy, cr.SigmoidCrossEntropy])
def test_nets_that_label_smoothing_made_too_unsure_become_surer(rng, kind):
    found, z, y, _ = of_loss(kind(label_smoothing=0.1), rng, own=0.1)
    z = z / 4  # of logits that are 1.5 times as large as the truth
    given = found.check_targets(y) if found.task == "multilabel" else y
    constant = unsmoothed_constant(found, found.best_constant(given, None))
    chosen = choose_ensemble_factors(found, parts_of(z, given), constant, members=K)
    assert 2 < chosen.factor <= 3.3
    plain = without_smoothing(found)
    as_trained = ShrinkFactors(np.ones(found.n_out), np.zeros(found.n_out), 1.0)
    assert log_loss_of(plain, z, y, constant, chosen) < log_loss_of(plain, z, y, constant, as_trained) - 0.01


def test_what_a_net_knows_of_rare_classes_is_kept_by_a_temperature(rng):
    """Nets that are twice as sure as they may be, with the shares of the classes in their logits."""
    prior = np.log([0.95, 0.04, 0.01])
    truth = prior + rng.normal(size=(M, 3))
    p = np.exp(truth) / np.exp(truth).sum(axis=1, keepdims=True)
    y = (rng.random((M, 1)) > np.cumsum(p, axis=1)).sum(axis=1).clip(0, 2).astype(np.int32)
    z = np.broadcast_to(2 * truth, (K, M, 3)) + 0.1 * rng.normal(size=(K, M, 3))
    loss = find_loss("softmax_cross_entropy", 3)
    c = loss.best_constant(y, None)
    chosen = choose_ensemble_factors(loss, parts_of(z, y), c, members=K)
    assert abs(chosen.factor - 0.5) < 0.1
    np.testing.assert_allclose(chosen.shift, (chosen.factor - 1) * c)


def test_smoothed_labels_have_the_constant_of_labels_as_they_are(rng):
    for loss, y in (
        (cr.SoftmaxCrossEntropy(label_smoothing=0.2).bind(3), rng.choice(3, 200, p=[0.6, 0.3, 0.1]).astype(np.int32)),
        (cr.SigmoidCrossEntropy(label_smoothing=0.2).bind(2), rng.integers(0, 2, (200, 2)).astype(float)),
    ):
        given = loss.check_targets(y)
        plain = without_smoothing(loss)
        assert (plain.n_out, plain.label_smoothing) == (loss.n_out, 0)
        np.testing.assert_allclose(unsmoothed_targets(loss, given), y, atol=1e-12)
        want = plain.best_constant(y, None)
        np.testing.assert_allclose(unsmoothed_constant(loss, loss.best_constant(given, None)), want, atol=1e-9)


def test_parts_are_shrunk_member_by_member(rng):
    z, y = regression(rng, m=16)
    found = ShrinkFactors(np.array([0.5]), np.array([0.25]), 0.5)
    for before, after in zip(parts_of(z, y), shrink_parts(parts_of(z, y), np.array([2.0]), found), strict=True):
        np.testing.assert_allclose(after.logits, 1.25 + before.logits / 2)
