"""Standardisation: fitted, applied, undone."""

from __future__ import annotations

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.inputs import standardization

LARGEST = np.finfo(np.float64).max


def standardized(s: cr.Standardization, x: np.ndarray) -> np.ndarray:
    return (x - s.mean) / s.scale


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e6, 1e9, -1e12])
@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e5])
def test_standardization_gives_mean_0_and_deviation_1(rng, offset, spread):
    x = offset + spread * rng.normal(size=(500, 3))
    z = standardized(cr.Standardization.fit(x), x)
    error = 1e-12 + 100 * np.finfo(np.float64).eps * abs(offset) / spread  # 500 terms, each rounded to its offset
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=error)
    np.testing.assert_allclose(z.std(axis=0), 1, rtol=error)


@pytest.mark.parametrize(
    "x", [np.empty((0, 3)), np.array([["a"]]), np.array([[1.0], [np.nan]])], ids=["empty", "text", "nan"]
)
def test_standardization_refuses_no_rows_text_and_nan(x):
    with pytest.raises(cr.DataError):
        cr.Standardization.fit(x)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e150, 1e9 + 0.1, 5e-324, 1 / 3])
@pytest.mark.parametrize("n", [1, 2, 1000, 12_345])
def test_standardization_makes_a_constant_column_0(value, n):
    """And a new row that has another value there becomes 0 as well."""
    for s in (cr.Standardization.fit(np.full((n, 1), value)), cr.Standardization.fit_robust(np.full((n, 1), value))):
        assert (s.mean.tolist(), s.scale.tolist(), s.is_constant.tolist()) == ([value], [math.inf], [True])
        np.testing.assert_array_equal(standardized(s, np.array([[value], [value + 1], [-1e300]])), 0)


def test_standardization_of_one_constant_column_among_others(rng):
    """0.1 in 100 rows has a computed deviation above 0, from the rounding of its mean alone."""
    x = rng.normal(size=(100, 3)) + 7
    x[:, 1] = 0.1
    s = cr.Standardization.fit(x)
    np.testing.assert_allclose(s.mean, [x[:, 0].mean(), 0.1, x[:, 2].mean()])
    np.testing.assert_allclose(s.scale, [x[:, 0].std(), np.inf, x[:, 2].std()])


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "int8", "uint8", "int64", "bool"])
def test_any_real_dtype_is_fitted_in_float64(rng, dtype):
    x = rng.integers(0, 2 if dtype == "bool" else 100, (50, 2)).astype(dtype)
    s = cr.Standardization.fit(x)
    assert s.mean.dtype == s.scale.dtype == np.float64
    np.testing.assert_allclose(s.mean, x.astype(np.float64).mean(axis=0), rtol=1e-14)
    np.testing.assert_allclose(s.scale, x.astype(np.float64).std(axis=0), rtol=1e-14)


def test_one_axis_is_one_column():
    s = cr.Standardization.fit(np.array([1.0, 3.0]))
    assert (s.mean.tolist(), s.scale.tolist()) == ([2.0], [1.0])


@pytest.mark.parametrize("offset", [0.0, 1e9, -1e300])
def test_standardization_of_targets_is_inverted(rng, offset):
    y = offset + max(3, abs(offset) / 1e6) * rng.normal(size=(20, 2))
    s = cr.Standardization.fit(y)
    z = s.of_targets(y)
    np.testing.assert_allclose(z, standardized(s, y), rtol=1e-14)
    np.testing.assert_allclose(s.to_targets(z), y, rtol=1e-14)
    scale, shift = s.units()
    np.testing.assert_array_equal(z * scale + shift, s.to_targets(z))


def test_a_constant_target_keeps_its_distance_and_is_predicted_as_it_is():
    s = cr.Standardization.fit(np.full((5, 1), 0.1))
    np.testing.assert_array_equal(s.of_targets(np.array([[0.1], [2.1]])), [[0], [2]])
    np.testing.assert_array_equal(s.to_targets(np.array([[0], [2]])), [[0.1], [2.1]])
    scale, shift = s.units()
    np.testing.assert_array_equal(np.array([[3.0], [-1e300]]) * scale + shift, 0.1)


# ---- the ends of float64 ----------------------------------------------------------------------------


WAYS = {
    "fit": cr.Standardization.fit,
    "weights": lambda x: cr.Standardization.fit(x, sample_weight=np.geomspace(1e-300, 2e-300, len(x))),
    "fit_robust": cr.Standardization.fit_robust,
    "robust by weights": lambda x: cr.Standardization.fit_robust(x, sample_weight=np.geomspace(1e-300, 2e-300, len(x))),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("exponent", [-990, -600, -564, -350, 350, 600, 900, 1020])
def test_a_column_may_be_as_small_or_large_as_numbers_are(rng, way, exponent):
    """Squares of 1e-170 and 1e200 are no doubles; times a power of two all moments are the same bit for bit."""
    x = rng.normal([0, 5], 1, (101, 2))
    near, far = WAYS[way](x), WAYS[way](np.c_[np.ldexp(x[:, 0], exponent), x[:, 1], np.ldexp(x, exponent)])
    np.testing.assert_allclose(far.mean[1], near.mean[1], rtol=1e-15)
    np.testing.assert_allclose(far.scale[1], near.scale[1], rtol=1e-15)
    for j, column in ((0, 0), (2, 0), (3, 1)):
        np.testing.assert_allclose(np.ldexp(far.mean[j], -exponent), near.mean[column], rtol=1e-13)
        np.testing.assert_allclose(np.ldexp(far.scale[j], -exponent), near.scale[column], rtol=1e-13)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(
    "column",
    [
        [LARGEST, -LARGEST] * 4,
        [LARGEST] * 7 + [-LARGEST],
        [1.0] * 7 + [LARGEST],
        [LARGEST] * 7 + [0.0],
        [1e308, 1.5e308] * 4,
        [5e-324, 0] * 4,
        [1e-310, 3e-310] * 4,
    ],
    ids=str,
)
def test_the_largest_and_the_smallest_numbers_have_finite_moments(way, column):
    s = WAYS[way](np.array(column))
    assert np.isfinite(s.mean).all()
    assert min(column) <= s.mean[0] <= max(column)
    assert (s.scale >= np.finfo(float).tiny).all()
    assert np.isfinite(s.scale).all()


def test_ordinary_columns_have_the_bits_of_numpy(rng):
    x = rng.normal(size=(1000, 5)) * [1e-9, 1, 1e9, 1e100, 1e-100] + [0, 3, 1e12, 0, 0]
    s = cr.Standardization.fit(x)
    np.testing.assert_array_equal(s.mean, x.mean(axis=0))
    np.testing.assert_array_equal(s.scale, x.std(axis=0))


def test_rows_of_sample_weight_0_have_no_influence(rng):
    x = rng.normal(size=(50, 3))
    x[10:, 1] = 7
    x[:10] = 1e300 * rng.normal(size=(10, 3))
    weights = np.r_[np.zeros(10), rng.integers(1, 4, 40)]
    got = cr.Standardization.fit(x, sample_weight=weights)
    want = cr.Standardization.fit(np.repeat(x, weights.astype(int), axis=0))
    np.testing.assert_allclose(got.mean, want.mean, rtol=1e-12)
    np.testing.assert_allclose(got.scale, want.scale, rtol=1e-12)
    assert got.is_constant.tolist() == [False, True, False]


@pytest.mark.parametrize("weights", [np.zeros(3), [1, np.nan, 1], [1, -1, 1]])
def test_invalid_sample_weight_is_refused_for_standardization(weights):
    with pytest.raises(cr.DataError, match="expected finite numbers from 0 up, not all 0"):
        cr.Standardization.fit(np.arange(3.0), sample_weight=np.array(weights))
    with pytest.raises(cr.ShapeError, match=r"expected sample_weight of shape .*, got \(2,\)"):
        cr.Standardization.fit(np.arange(3.0), sample_weight=np.ones(2))


def test_a_number_that_is_not_finite_is_refused_with_its_column():
    with pytest.raises(cr.DataError, match="row 1, column 'b': expected a finite number, got inf"):
        cr.Standardization.fit(np.array([[1, 2], [3, np.inf]]), names=["a", "b"])
    with pytest.raises(cr.DataError, match="row 1, column 0: expected a finite number, got nan"):
        cr.Standardization.fit_robust(np.array([[1, 2], [np.nan, 3]]))


@pytest.mark.parametrize("dtype", ["int64", "uint64"])
def test_whole_numbers_that_are_one_double_are_a_constant(dtype):
    s = cr.Standardization.fit(np.array([[2**60], [2**60 + 1]], dtype))
    assert (s.mean.tolist(), s.scale.tolist()) == ([2.0**60], [math.inf])


def test_standardization_keeps_its_limit():
    assert cr.Standardization.fit(np.ones((3, 2))).limit == math.inf
    assert cr.Standardization.fit(np.ones((3, 2)), limit=4.0).limit == 4.0


@pytest.mark.parametrize(("mean", "scale"), [(2, 3), ((2, 2), (2, 2)), ((), ())])
def test_shapes_that_do_not_fit(mean, scale):
    with pytest.raises(cr.ShapeError, match=r"expected mean and scale of shape \(n_columns,\)"):
        cr.Standardization(np.zeros(mean), np.ones(scale))


def test_by_default_nothing_is_prepared():
    p = cr.Preparation()
    assert (p.features, p.targets, p.feature_names, p.target_name, p.classes) == (None, None, (), "", ())


@pytest.mark.parametrize("n_columns", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("elements", [1, 2500, 5000])
def test_standardization_of_some_columns_at_a_time_has_the_bits_of_all_at_once(rng, monkeypatch, n_columns, elements):
    """Blocks of two columns or three, and never one alone: NumPy adds a single column up in another order."""
    x = rng.normal(size=(1000, n_columns)) * 10.0 ** rng.integers(-3, 4, n_columns)
    whole = cr.Standardization.fit(x)
    monkeypatch.setattr(standardization, "ELEMENTS", elements)
    np.testing.assert_array_equal(cr.Standardization.fit(x).scale, whole.scale)


@pytest.mark.parametrize("source", ["new.csv", {"a": [1.0]}, np.ones((2, 3))], ids=lambda source: type(source).__name__)
def test_predict_table_of_what_is_no_table(source):
    with pytest.raises(cr.DataError, match=r"expected a table of chainrule\.read_table, got (str|dict|nda)"):
        cr.MLP([3, 4, 2]).predict_table(source)


def test_keep_steps_centres_a_column_of_two_values_and_leaves_its_step(rng):
    x = np.stack([rng.integers(0, 2, 50) * 3.0 + 1, rng.normal(size=50), np.full(50, 4.0)], axis=1)
    found, usual = (cr.Standardization.fit_robust(x, keep_steps=keep) for keep in (True, False))
    assert (found.mean[0], found.scale[0]) == (pytest.approx(x[:, 0].mean()), 3.0)
    np.testing.assert_array_equal(found.scale[1:], usual.scale[1:])
    np.testing.assert_array_equal(found.mean, usual.mean)
