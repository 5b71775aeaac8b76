"""Standardisation: fitted, applied, undone."""

from __future__ import annotations

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn import preparation


def standardized(s: cr.Standardization, x: np.ndarray) -> np.ndarray:
    return (x - s.mean) / s.scale


@pytest.mark.parametrize("offset", [0.0, 1.0, 1e6, 1e9, -1e12])
@pytest.mark.parametrize("spread", [1e-3, 1.0, 1e5])
def test_fitted_columns_have_mean_0_and_deviation_1(rng, offset, spread):
    x = offset + spread * rng.normal(size=(500, 3))
    z = standardized(cr.Standardization.fit(x), x)
    error = 1e-12 + 100 * np.finfo(np.float64).eps * abs(offset) / spread  # 500 terms, each rounded to its offset
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=error)
    np.testing.assert_allclose(z.std(axis=0), 1, rtol=error)


@pytest.mark.parametrize("value", [0.0, 0.1, -1e150, 1e9 + 0.1, 5e-324, 1 / 3])
@pytest.mark.parametrize("n", [1, 2, 1000, 12_345])
def test_a_column_that_never_changes_becomes_0(value, n):
    s = cr.Standardization.fit(np.full((n, 1), value))
    assert s.scale.tolist() == [1.0]
    np.testing.assert_allclose(standardized(s, np.array([[value]])), 0, atol=1e-15 * max(1, abs(value)))


def test_one_constant_column_does_not_hide_the_others(rng):
    """0.1 in 100 rows has a computed deviation above 0, from the rounding of its mean alone."""
    x = rng.normal(size=(100, 3)) + 7
    x[:, 1] = 0.1
    s = cr.Standardization.fit(x)
    np.testing.assert_allclose(s.mean, [x[:, 0].mean(), 0.1, x[:, 2].mean()])
    np.testing.assert_allclose(s.scale, [x[:, 0].std(), 1.0, x[:, 2].std()])


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


@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_the_inverse_undoes_it(rng, offset):
    x = offset + 3 * rng.normal(size=(20, 2))
    s = cr.Standardization.fit(x)
    np.testing.assert_allclose(standardized(s.inverse(), standardized(s, x)), x, rtol=1e-14)
    np.testing.assert_allclose(s.inverse().inverse().mean, s.mean, rtol=1e-14)


def test_a_limit_is_kept_and_has_no_inverse():
    assert cr.Standardization.fit(np.ones((3, 2))).limit == math.inf
    limited = cr.Standardization.fit(np.ones((3, 2)), limit=4.0)
    assert limited.limit == 4.0
    with pytest.raises(cr.OptionError, match="no inverse"):
        limited.inverse()


@pytest.mark.parametrize(("mean", "scale"), [(2, 3), ((2, 2), (2, 2)), ((), ())])
def test_shapes_that_do_not_fit(mean, scale):
    with pytest.raises(cr.ShapeError, match=r"two \(n_columns,\) were expected"):
        cr.Standardization(np.zeros(mean), np.ones(scale))


def test_by_default_nothing_is_prepared():
    p = cr.Preparation()
    assert (p.features, p.targets, p.feature_names, p.target_name, p.classes) == (None, None, (), "", ())


@pytest.mark.parametrize("n_columns", [1, 2, 3, 5, 8])
@pytest.mark.parametrize("elements", [1, 2500, 5000])
def test_deviations_of_some_columns_at_a_time_have_the_bits_of_all_at_once(rng, monkeypatch, n_columns, elements):
    """Blocks of two columns or three, and never one alone: NumPy adds a single column up in another order."""
    x = rng.normal(size=(1000, n_columns)) * 10.0 ** rng.integers(-3, 4, n_columns)
    whole = cr.Standardization.fit(x)
    monkeypatch.setattr(preparation, "ELEMENTS", elements)
    np.testing.assert_array_equal(cr.Standardization.fit(x).scale, whole.scale)
