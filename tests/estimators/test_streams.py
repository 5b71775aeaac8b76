"""``partial_fit`` over a stream: its standardisation is that of all rows so far, whatever their order."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

import chainrule as cr
from chainrule.errors import DataError
from chainrule.estimators.constant_columns import standardization
from chainrule.estimators.running_scale import OF_CONSTANT, RunningMoments

QUICK = {"device": "cpu", "random_state": 0, "hidden_layer_sizes": (8,)}


def moments(chunks, weights=None):
    """Of chunks one after the other."""
    weights = [None] * len(chunks) if weights is None else weights
    found = RunningMoments.of(standardization(chunks[0], weights[0]), chunks[0], weights[0])
    for x, w in zip(chunks[1:], weights[1:], strict=True):
        found = found.followed_by(x, w)
    return found


def stream(model: Any, X: Any, y: np.ndarray, *, sizes=(100,), passes=1, weights=None, **first: Any) -> Any:
    """``model`` after so many passes over the rows in chunks of these sizes in turn."""

    def part(values: Any, rows: slice) -> Any:
        return None if values is None else values.iloc[rows] if hasattr(values, "iloc") else values[rows]

    for _ in range(passes):
        start = i = 0
        while start < len(y):
            rows = slice(start, start + sizes[i % len(sizes)])
            model.partial_fit(part(X, rows), y[rows], sample_weight=part(weights, rows), **first)
            start, i = rows.stop, i + 1
    return model


# ---- moments ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sizes", [(1,), (100,), (3, 1, 60, 7)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("offset", [0.0, 1e7])
def test_moments_of_chunks_are_those_of_all_rows(rng, sizes, weighted, offset):
    """In any order, of rows with weights and without: a row of weight 2 counts twice, one of weight 0 not at all."""
    x = offset + rng.normal(size=(300, 4)) * [1, 2, 5, 1e-2]
    weights = rng.integers(1 if sizes == (1,) else 0, 4, 300).astype(float)
    counted = np.repeat(x, weights.astype(int), axis=0) if weighted else x
    for order in (np.arange(300), np.argsort(x[:, 0]), rng.permutation(300)):
        edges = np.cumsum(np.resize(sizes, 300))
        cuts = [part for part in np.split(order, edges[edges < 300]) if not weighted or weights[part].any()]
        found = moments([x[part] for part in cuts], [weights[part] for part in cuts] if weighted else None)
        exact = 1e-7 if offset else 1e-12
        np.testing.assert_allclose(found.mean, counted.mean(axis=0), rtol=0, atol=exact)
        np.testing.assert_allclose(found.deviation, counted.std(axis=0), rtol=exact)
        assert found.weight == len(counted)


def test_moments_keep_what_squares_would_lose():
    for size in (1e-200, 1.0, 1e200):
        found = moments([np.array([[size]]), np.array([[3 * size]])])
        np.testing.assert_allclose([found.mean, found.deviation], [[2 * size], [size]], rtol=1e-15)
    with pytest.raises(DataError, match=r"column 0 \(from 0\) is around -1.7e\+308 after 1.7e\+308"):
        moments([np.array([[1.7e308]]), np.array([[-1.7e308]])])


def test_a_constant_column_stays_constant_until_it_changes(rng):
    """0.1 has no exact mean over chunks of several sizes; its deviation is 0 all the same."""
    chunks = [np.column_stack([np.full(n, 0.1), rng.normal(size=n)]) for n in (3, 100, 7, 1)]
    found = moments(chunks)
    assert (found.mean[0], found.deviation[0], found.count) == (0.1, 0.0, 111)
    assert found.standardization(3.0).scale[0] == OF_CONSTANT
    later = found.followed_by(np.array([[1.1, 0.0]]), None)
    np.testing.assert_allclose(later.deviation[0], np.std([0.1] * 111 + [1.1]))


def test_a_deviation_of_one_is_no_constant():
    found = moments([np.array([[-1.0], [1.0]])])
    assert found.deviation == [1.0]


@pytest.mark.parametrize("others", [0, 30])
def test_one_value_far_out_at_most_doubles_a_variance(rng, others):
    """Alone and among others; one of weight 0 does nothing."""
    before = moments([rng.normal(size=(900, 1))])
    for far in (1e3, -1e9, 1e300):
        x = np.concatenate([rng.normal(size=(others, 1)), [[far]]])
        after = before.followed_by(x, None)
        np.testing.assert_allclose(after.deviation / before.deviation, np.sqrt(2), rtol=0.04)
        assert abs(after.mean - before.mean) < 0.05
        if others:
            same = before.followed_by(x, np.r_[np.ones(others), 0])
            np.testing.assert_allclose(same.deviation / before.deviation, 1, rtol=0.02)


@pytest.mark.parametrize("size", [100, 1])
def test_a_column_that_has_moved_is_followed(rng, size):
    """Far from all rows before, and for good: in chunks exactly, row by row before long."""
    x = np.concatenate([rng.normal(size=(1000, 1)), 1e6 + rng.normal(size=(1000, 1))])
    found = moments([x[:1000], *np.split(x[1000:], 1000 // size)])
    np.testing.assert_allclose(found.mean, x.mean(), rtol=1e-12 if size > 1 else 0.1)
    np.testing.assert_allclose(found.deviation, x.std(), rtol=1e-12 if size > 1 else 0.1)


def test_a_column_that_began_almost_constant_is_followed(rng):
    x = rng.normal(size=(600, 1))
    x[:300] *= 1e-9
    np.testing.assert_allclose(moments(np.split(x, 6)).deviation, x.std(), rtol=1e-12)


# ---- streams ----------------------------------------------------------------------------------------------------


def sorted_sine(rng, low=0.0, high=1000.0, n=2000):
    u = np.sort(rng.uniform(size=n))
    return (low + (high - low) * u)[:, None], np.sin(5 * u)


SEEDS = (0, 1)
STREAMS = {
    "rising": ({}, {}),
    "falling": ({"low": 10.0, "high": -5.0}, {}),
    "time stamps": ({"low": 1.7e9, "high": 1.7e9 + 1000}, {}),
    "small": ({"high": 1e-9}, {}),
    "a single row first": ({}, {"sizes": (1, *[100] * 20)}),
    "different sizes": ({}, {"sizes": (1, 300, 3, 50, 100)}),
}


@pytest.mark.parametrize(
    ("kind", "seed"), [*(("rising", seed) for seed in SEEDS), *zip(list(STREAMS)[1:], (0, 1, 0, 1, 0), strict=True)]
)
def test_a_sorted_stream_is_learnt(kind, seed):
    rows, chunks = STREAMS[kind]
    X, y = sorted_sine(np.random.default_rng(seed), **rows)
    assert stream(cr.MLPRegressor(random_state=seed), X, y, passes=8, **chunks).score(X, y) > 0.7


@pytest.mark.parametrize("seed", SEEDS)
def test_a_sorted_stream_of_weighted_rows_and_several_targets(seed):
    """Targets of their own scales, all drifting; weights of 1/1000 in the mean, one in seven of them 0."""
    rng = np.random.default_rng(seed)
    X, y = sorted_sine(rng)
    Y = np.column_stack([y, 1e3 * np.cos(X[:, 0] / 200), 1e9 + X[:, 0]])
    weights = rng.uniform(0, 2e-3, len(y))
    weights[::7] = 0
    X[::7] = 1e12  # nobody asked for these
    model = stream(cr.MLPRegressor(random_state=seed), X, Y, passes=8, weights=weights)
    assert model.score(X[weights > 0], Y[weights > 0]) > 0.7


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "quantile", "gaussian_nll", "gamma"])
def test_a_sorted_stream_of_every_loss(rng, loss):
    X, y = sorted_sine(rng)
    y = y if loss != "gamma" else 5 * np.exp(y)
    assert stream(cr.MLPRegressor(random_state=0, loss=loss), X, y, passes=8).score(X, y) > 0.4


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stream_of_a_drifting_mean(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(4000, 3)) + np.linspace(0, 10, 4000)[:, None]
    y = 2 * X[:, 0] + np.sin(X[:, 1])
    assert stream(cr.MLPRegressor(random_state=seed), X, y, passes=3).score(X, y) > 0.8


@pytest.mark.parametrize("seed", SEEDS)
def test_classes_sorted_by_a_feature(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(3000, 3))
    X[:, 0] = 1e4 + 100 * np.sort(X[:, 0])
    y = (np.abs((X[:, 0] - 1e4) / 100) < 0.7).astype(int) + 2 * (X[:, 1] > 0)
    model = stream(cr.MLPClassifier(random_state=seed), X, y, passes=8, classes=[0, 1, 2, 3])
    assert model.score(X, y) > 0.75


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stream_of_a_frame_with_text_and_holes(seed):
    pandas = pytest.importorskip("pandas")
    rng = np.random.default_rng(seed)
    X, y = sorted_sine(rng)
    frame = pandas.DataFrame({"a": X[:, 0], "b": rng.choice(["x", "y", "z"], 2000), "c": rng.normal(size=2000)})
    frame.loc[::9, "c"] = np.nan
    y = y + (frame["b"] == "x").to_numpy()
    assert stream(cr.MLPRegressor(random_state=seed), frame, y, passes=8).score(frame, y) > 0.7


@pytest.mark.parametrize("seed", SEEDS)
def test_a_column_and_a_target_that_begin_constant(seed):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(3000, 2))
    X[:300, 1], X[300:, 1] = 7.0, 7 + 1e3 * X[300:, 1]
    y = np.where(np.arange(3000) < 300, 5e5, 5e5 + 1e3 * X[:, 0] + 2 * (X[:, 1] - 7))
    model = cr.MLPRegressor(random_state=seed)
    stream(model, X[:300], y[:300])
    np.testing.assert_allclose(model.predict(X[:300]), 5e5, atol=10)
    assert stream(model, X[300:], y[300:], passes=5).score(X[300:], y[300:]) > 0.9


@pytest.mark.parametrize("what", ["feature", "target"])
def test_standardize_of_an_outlier_does_not_flatten_other_rows(rng, what):
    X = rng.normal(size=(6000, 4))
    y = X[:, 0] + np.sin(2 * X[:, 1])
    model = stream(cr.MLPRegressor(random_state=0), X[:3000], y[:3000])
    good = model.score(X, y)
    far, said = X[:100].copy(), y[:100].copy()
    if what == "feature":
        far[7, 0] = 1e6
    else:
        said[7] = 1e3
    model.partial_fit(far, said)
    assert stream(model, X[3000:], y[3000:]).score(X, y) > good - 0.05


# ---- the state --------------------------------------------------------------------------------------------------


def test_partial_fit_after_fit_continues_the_standardisation(rng):
    """Rows again change nothing; others count as if they had been there."""
    X, y = rng.normal(size=(300, 3)), 5 + rng.normal(size=300)
    X[:, 2] = 4.0
    model = cr.MLPRegressor(**QUICK, max_iter=3, shrink=False).fit(X[:200], y[:200])
    fitted = model.network_.preparation
    again = model.partial_fit(X[:200], y[:200]).network_.preparation
    for name in ("features", "targets"):
        before, after = getattr(fitted, name), getattr(again, name)
        assert before.limit == after.limit
        np.testing.assert_allclose([after.mean, after.scale], [before.mean, before.scale], rtol=1e-14)
    features = (
        cr.MLPRegressor(**QUICK).fit(X[:200], y[:200]).partial_fit(X[200:], y[200:]).network_.preparation.features
    )
    np.testing.assert_allclose(features.mean, X.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(features.scale[:2], X.std(axis=0)[:2], rtol=1e-12)
    assert features.scale[2] == OF_CONSTANT


def test_standardize_ignores_rows_held_out_by_early_stopping(rng):
    X, y = rng.normal(size=(100, 2)), rng.normal(size=100)
    model = cr.MLPRegressor(**QUICK, max_iter=3, early_stopping=True).fit(X, y).set_params(early_stopping=False)
    kept = model.network_.preparation.features
    more = 3 + rng.normal(size=(50, 2))
    mean = model.partial_fit(more, y[:50]).network_.preparation.features.mean
    np.testing.assert_allclose(mean, (90 * kept.mean + 50 * more.mean(axis=0)) / 140, rtol=1e-12)


def test_partial_fit_after_a_pickle_in_the_middle_of_a_stream(rng):
    X, y = sorted_sine(rng, n=600)
    weights = rng.uniform(size=600)
    whole = stream(cr.MLPRegressor(**QUICK), X, y, weights=weights)
    half = stream(cr.MLPRegressor(**QUICK), X[:300], y[:300], weights=weights[:300])
    opened = stream(pickle.loads(pickle.dumps(half)), X[300:], y[300:], weights=weights[300:])
    np.testing.assert_array_equal(opened.predict(X), whole.predict(X))
    assert opened.loss_curve_ == whole.loss_curve_


def test_a_partial_fit_that_fails_leaves_the_standardisation(rng):
    X, y = rng.normal(size=(100, 2)), rng.poisson(3.0, 100)
    model = cr.MLPRegressor(**QUICK, loss="poisson").partial_fit(X, y)
    before, said = model.network_.preparation, model.predict(X)
    with pytest.raises(DataError, match="a number from 0 up"):
        model.partial_fit(1000 + X, y - 20)
    assert model.network_.preparation is before
    np.testing.assert_array_equal(model.predict(X), said)
    model.partial_fit(X, y)
    np.testing.assert_allclose(model.network_.preparation.features.mean, X.mean(axis=0), rtol=1e-12)


def test_after_a_first_call_that_failed_a_stream_begins_anew(rng):
    X, y = rng.normal(size=(100, 2)), rng.poisson(3.0, 100)
    model = cr.MLPRegressor(**QUICK, loss="poisson")
    with pytest.raises(DataError, match="a number from 0 up"):
        model.partial_fit(1000 + X[:50], y[:50] - 20)
    fresh = cr.MLPRegressor(**QUICK, loss="poisson").partial_fit(X, y)
    np.testing.assert_array_equal(model.partial_fit(X, y).predict(X), fresh.predict(X))


def test_after_a_first_call_that_failed_other_classes_may_come(rng):
    X, y = rng.normal(size=(100, 2)), rng.integers(0, 2, 100)
    model = cr.MLPClassifier(**QUICK)
    with pytest.raises(DataError, match="classes not in"):
        model.partial_fit(X, y, classes=[1, 2])
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        model.partial_fit(X, y)
    assert model.partial_fit(X, y, classes=[0, 1]).classes_.tolist() == [0, 1]


def test_partial_fit_counts_only_ratios_of_sample_weight(rng):
    X, y = sorted_sine(rng, n=600)
    weights = rng.uniform(size=600)
    a, b = (
        stream(cr.MLPRegressor(**QUICK), X, y, weights=weights * size).network_.preparation.features
        for size in (1.0, 1e-300)
    )
    np.testing.assert_allclose([a.mean, a.scale], [b.mean, b.scale], rtol=1e-12)
    np.testing.assert_allclose(a.mean[0], np.average(X[:, 0], weights=weights), rtol=1e-12)


def test_partial_fit_weighs_calls_by_their_sample_weight(rng):
    """Rows of weight 3 in one call are three rows relative to those of weight 1, or of none, in another."""
    X, y = sorted_sine(rng, n=400)
    weights = np.repeat([3.0, 1.0], 200)
    model = stream(cr.MLPRegressor(**QUICK), X, y, weights=weights)
    np.testing.assert_allclose(model.network_.preparation.features.mean[0], np.average(X[:, 0], weights=weights))
    model = cr.MLPRegressor(**QUICK).partial_fit(X[:200], y[:200], weights[:200]).partial_fit(X[200:], y[200:])
    np.testing.assert_allclose(model.network_.preparation.targets.mean[0], np.average(y, weights=weights))


def test_standardize_false_and_warm_start_keep_the_scale(rng):
    """A stream without standardisation has none; a warm start keeps that of the fit before, as it keeps its encoder."""
    X, y = sorted_sine(rng, n=300)
    raw = stream(cr.MLPRegressor(**QUICK, standardize=False), X / 1000, y).network_.preparation
    assert (raw.features, raw.targets) == (None, None)
    model = cr.MLPRegressor(**QUICK, max_iter=3, warm_start=True).fit(X[:100], y[:100])
    fitted = model.network_.preparation
    assert model.fit(X[100:], y[100:]).network_.preparation is fitted


def test_a_model_file_has_the_standardisation_of_the_whole_stream(rng, tmp_path):
    X, y = sorted_sine(rng, n=600)
    model = stream(cr.MLPRegressor(**QUICK), X, y)
    model.network_.save(tmp_path / "m.safetensors")
    np.testing.assert_array_equal(cr.load(tmp_path / "m.safetensors").predict(X), model.predict(X))


@pytest.mark.parametrize("part", ["features", "target"])
@pytest.mark.filterwarnings("error")
def test_a_stream_of_numbers_near_the_largest(rng, part):
    """The distance from which on a value is far out may be beyond the largest number: then none is."""
    X = rng.uniform(-1.7, 1.7, (240, 2))
    features, target = X * (1e308 if part == "features" else 1), X[:, 0] * (1e308 if part == "target" else 1)
    model = cr.MLPRegressor(random_state=0)
    for _ in range(20):
        for rows in np.split(np.arange(240), 8):
            model.partial_fit(features[rows], target[rows])
    assert model.score(features, target) > 0.9
