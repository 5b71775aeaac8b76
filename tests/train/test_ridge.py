"""Ridge regression by its normal equations, and by scikit-learn."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.train.ridge import PENALTIES, Moments, ridge


@pytest.fixture
def rows(rng):
    X = rng.normal(size=(120, 6)) * [1, 1, 3, 0.1, 1, 1] + [0, 5, 0, 0, -2, 0]
    return X, np.stack([X @ rng.normal(size=6) + rng.normal(size=120), rng.normal(size=120)], axis=1)


def test_it_is_one_of_scikit_learns(rows):
    linear_model = pytest.importorskip("sklearn.linear_model")
    X, y = rows
    W, b = ridge(Moments.of(X, y))
    for j in range(2):
        each = [linear_model.Ridge(alpha=alpha).fit(X, y[:, j]) for alpha in PENALTIES]
        closest = min(each, key=lambda fit: np.abs(fit.coef_ - W[:, j]).max())
        np.testing.assert_allclose(W[:, j], closest.coef_, rtol=1e-8)
        assert b[j] == pytest.approx(closest.intercept_, rel=1e-8)


def test_noise_gets_the_largest_penalty_and_a_line_a_small_one(rng):
    X = rng.normal(size=(400, 20))
    y = np.stack([X[:, 0] * 3, rng.normal(size=400)], axis=1)
    W, _ = ridge(Moments.of(X, y))
    assert W[0, 0] == pytest.approx(3, abs=0.01)
    assert np.abs(W[:, 1]).max() < 0.05


def test_weights_count_rows(rows, rng):
    X, y = rows
    weights = rng.integers(0, 3, len(X)).astype(float)
    W, b = ridge(Moments.of(X, y, weights))
    V, c = ridge(Moments.of(np.repeat(X, weights.astype(int), axis=0), np.repeat(y, weights.astype(int), axis=0)))
    np.testing.assert_allclose(W, V, rtol=1e-9)
    np.testing.assert_allclose(b, c, rtol=1e-9)


def test_a_block_is_subtracted(rows):
    X, y = rows
    without = Moments.of(X, y).plus(Moments.of(X[:30], y[:30]), -1)
    np.testing.assert_allclose(ridge(without)[0], ridge(Moments.of(X[30:], y[30:]))[0], rtol=1e-8)


def test_more_columns_than_rows_and_constant_columns(rng):
    X = rng.normal(size=(10, 30))
    X[:, 3] = 7
    W, b = ridge(Moments.of(X, X[:, :1]))
    assert np.isfinite(W).all()
    assert np.isfinite(b).all()
    assert abs(W[3, 0]) < 1e-9
    assert not ridge(Moments.of(X[:0], X[:0, :1]))[0].any()
