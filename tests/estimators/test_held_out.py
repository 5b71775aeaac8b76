"""The folds by which an estimator learns how far to trust its net, and what a user sees of them."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import chainrule as cr
from chainrule.estimators.held_out import folds

QUICK = {"device": "cpu", "random_state": 0, "hidden_layer_sizes": (8,), "max_iter": 20}


def dealt(X, y, weights=None, **options):
    return list(folds(X, y, weights, 0, **{"by_class": False, **options}))


def test_folds_hold_out_every_row_once_and_equal_rows_together(rng):
    X, y = rng.normal(size=(40, 2)), rng.normal(size=40)
    X[10:20], y[10:20] = X[10], y[10]
    found = dealt(X, y)
    assert len(found) == 5
    np.testing.assert_array_equal(np.sort(np.concatenate([held_out for _, held_out, _ in found])), np.arange(40))
    for rows, held_out, _ in found:
        assert not set(rows) & set(held_out)
        assert len({*range(10, 20)} & set(held_out)) in {0, 10}


def test_folds_count_a_sample_weight_of_2_as_two_rows_and_0_as_none(rng):
    X, y = rng.normal(size=(30, 2)), rng.normal(size=30)
    weights = rng.integers(0, 3, 30)
    repeated = rng.permutation(np.repeat(np.arange(30), weights))
    for (_, weighted, _), (_, twice, _) in zip(dealt(X, y, weights), dealt(X[repeated], y[repeated]), strict=True):
        np.testing.assert_array_equal(np.repeat(weighted, weights[weighted]), np.sort(repeated[twice]))


def test_folds_deal_classes_evenly_and_many_rows_once(rng):
    y = np.repeat([0, 1], [45, 15])
    for _, held_out, _ in dealt(rng.normal(size=(60, 2)), y, by_class=True):
        assert np.bincount(y[held_out]).tolist() == [9, 3]
    ((rows, held_out, _),) = dealt(rng.normal(size=(1500, 2)), rng.normal(size=1500))
    assert (len(rows), len(held_out)) == (1200, 300)
    assert dealt(np.ones((5, 2)), np.ones(5)) == []


def test_rows_of_a_table_of_few_different_ones_are_no_copies(rng):
    """Two columns of yes or no: a new row will be like one of the table, and the held-out rows are to be that too."""
    X = rng.integers(0, 2, (200, 2)).astype(float)
    y = np.where(rng.random(200) < 0.9, X[:, 0], 1 - X[:, 0]).astype(int)
    for rows, held_out, _ in dealt(X, y, by_class=True):
        assert len(held_out) == 40
        assert {tuple(row) for row in X[held_out]} <= {tuple(row) for row in X[rows]}
    clf = cr.MLPClassifier(device="cpu", random_state=0, max_iter=60).fit(X, y)
    assert clf.shrinkage_ > 0.5
    assert clf.score(X, y) > 0.85


def test_folds_are_the_same_in_any_unit_and_order_of_rows(rng):
    X, y = rng.normal(size=(100, 2)), rng.normal(size=100)
    found, order = dealt(X, y), rng.permutation(100)
    for other in (dealt(1e9 + 1e3 * X, y), dealt(X, 1e-9 * y)):
        for one, two in zip(found, other, strict=True):
            np.testing.assert_array_equal(one.held_out, two.held_out)
    for one, two in zip(found, dealt(X[order], y[order]), strict=True):
        np.testing.assert_array_equal(one.held_out, np.sort(order[two.held_out]))


def test_the_only_row_of_a_class_is_never_held_out(rng):
    y = np.repeat([0, 1, 2], [30, 20, 1])
    found = dealt(rng.normal(size=(51, 2)), y, by_class=True)
    assert all(50 in rows for rows, _, _ in found)
    np.testing.assert_array_equal(np.sort(np.concatenate([held_out for _, held_out, _ in found])), np.arange(50))


@pytest.mark.parametrize("loss", ["squared_error", "poisson", "gaussian_nll", "quantile", "log_loss"])
@pytest.mark.parametrize("factor", [1e-6, 1e3])
def test_sample_weight_times_a_constant_is_the_same_fit(rng, loss, factor):
    X, w = rng.normal(size=(80, 3)), rng.uniform(0.1, 2, 80)
    options = {"device": "cpu", "random_state": 0, "max_iter": 20, "loss": loss}
    # An ensemble begins at a quantile, which is a target: the sign of its residual is rounding.
    options |= {"preset": None} if loss == "quantile" else {"n_members": 4}
    if loss == "log_loss":
        make, y = cr.MLPClassifier, (X[:, 0] + rng.normal(size=80) > 0).astype(int)
    else:
        make, y = cr.MLPRegressor, np.exp(X[:, 0] / 2 + 0.3 * rng.normal(size=80))
    one, other = (make(**options).fit(X, y, sample_weight=weights) for weights in (w, factor * w))
    assert one.shrinkage_ == other.shrinkage_
    np.testing.assert_allclose(one.predict(X).astype(float), other.predict(X), rtol=1e-6)
    np.testing.assert_allclose(one.loss_curve_, other.loss_curve_, rtol=1e-9)


def test_shrink_of_gaussian_nll_keeps_the_mean(rng):
    """Of gaussian_nll on an easy table: what was learnt of the mean stays, and variances suit held-out rows."""
    X = rng.normal(size=(400, 5))
    y = X @ np.arange(1.0, 6) + 0.1 * rng.normal(size=400)
    reg = cr.MLPRegressor(loss="gaussian_nll", random_state=0, device="cpu").fit(X[:200], y[:200])
    assert reg.score(X[200:], y[200:]) > 0.95
    mean, variance = reg.network_.predict_distribution(X[200:])
    assert np.mean(np.abs(y[200:] - mean) < 1.645 * np.sqrt(variance)) > 0.8


def test_shrink_unless_eval_set_early_stopping_or_partial_fit(rng):
    X = rng.normal(size=(60, 4))
    y = rng.normal(5.0, size=60)
    reg = cr.MLPRegressor(**QUICK, learning_rate_init=0.05).fit(X, y)
    assert reg.shrinkage_ == 0
    np.testing.assert_allclose(reg.predict(X), y.mean())
    for options, held_out in (({"shrink": False}, None), ({}, (X, y)), ({"early_stopping": True}, None)):
        reg = cr.MLPRegressor(**QUICK, learning_rate_init=0.05, **options).fit(X, y, eval_set=held_out)
        assert reg.shrinkage_ is None
        assert np.ptp(reg.predict(X)) > 0.1
    assert cr.MLPRegressor(**QUICK).partial_fit(X, y).shrinkage_ is None
    signal = cr.MLPRegressor(**(QUICK | {"max_iter": 200})).fit(X, X[:, 0])
    assert signal.shrinkage_ > 0.8


def test_callbacks_hear_nothing_of_the_folds_of_shrink(rng, monkeypatch):
    """Also if one of them ends it: the nets of the folds train as many epochs."""
    X, heard, trained, fit = rng.normal(size=(60, 4)), [], [], cr.Trainer.fit

    def stop_after_seven(record):
        heard.append(record.epoch)
        if record.epoch == 7:
            record.stop()

    def counted(*args, **options):
        run = fit(*args, **options)
        trained.append(run.history.epochs)
        return run

    monkeypatch.setattr(cr.Trainer, "fit", counted)
    clf = cr.MLPClassifier(**QUICK, callbacks=[stop_after_seven], class_weight="balanced").fit(X, X[:, 0] > 1)
    assert heard == [1, 2, 3, 4, 5, 6, 7]
    assert trained == [7] * 6
    assert clf.n_iter_ == 7
    assert clf.shrinkage_ is not None


def test_shrink_with_a_class_of_one_row(rng):
    """If it is held out nothing is learnt of it; the fit continues."""
    X, y = rng.normal(size=(30, 2)), np.repeat(["a", "b"], [29, 1])
    clf = cr.MLPClassifier(**QUICK).fit(X, y)
    assert set(clf.predict(X)) <= {"a", "b"}


def test_shrink_with_class_weight_is_shrink_with_the_sample_weight_of_its_rows():
    rng = np.random.default_rng(7)
    X = rng.normal(size=(150, 4))
    y = (X[:, 0] + 1.5 * rng.normal(size=150) > 1).astype(int)
    options = {"hidden_layer_sizes": (8,), "max_iter": 30, "standardize": False, "random_state": 0, "device": "cpu"}
    by_class = cr.MLPClassifier(**options, class_weight={0: 1.0, 1: 6.0}).fit(X, y)
    by_row = cr.MLPClassifier(**options).fit(X, y, sample_weight=np.where(y == 1, 6.0, 1.0))
    assert 0 < by_class.shrinkage_ < 1
    assert by_class.shrinkage_ == by_row.shrinkage_
    np.testing.assert_allclose(by_class.predict_proba(X), by_row.predict_proba(X), rtol=1e-9)


@pytest.mark.parametrize("batch_size", ["auto", 70])
def test_folds_of_shrink_take_as_many_steps_as_the_fit(rng, batch_size):
    """80 rows are two batches per epoch, the 64 of a fold one: half trained, its net had a good net thrown away."""
    X = rng.integers(0, 2, (80, 3)).astype(float)
    y = X @ [1.0, 2, 4]
    options = {"loss": "gaussian_nll", "max_iter": 60, "batch_size": batch_size, "random_state": 0}
    alone = cr.MLPRegressor(shrink=False, **options).fit(X, y).score(X, y)
    drawn = cr.MLPRegressor(**options).fit(X, y)
    assert alone > 0.7
    assert drawn.shrinkage_ >= 0.9
    assert drawn.score(X, y) > alone - 0.05
