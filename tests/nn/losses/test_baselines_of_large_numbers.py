"""Constants of targets whose squares float64 cannot hold."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.losses import baselines


@pytest.mark.parametrize("unit", [1e-310, 1e-200, 1.0, 1e200, 1e308])
@pytest.mark.parametrize("weights", [None, np.array([1.0, 2, 0, 4])])
@pytest.mark.filterwarnings("error")
def test_a_mean_in_any_unit(unit, weights):
    targets = np.array([[0.5, 1.0], [1.5, 1.0], [1.0, 9.0], [0.25, 1.0]])
    targets = targets if unit < 1e308 else np.minimum(targets, 1.5)
    mean, variance = baselines.mean_and_variance(targets * unit, weights)
    np.testing.assert_allclose(mean / unit, np.average(targets, axis=0, weights=weights), rtol=1e-9)
    if unit == 1:
        expected = np.average((targets - mean) ** 2, axis=0, weights=weights)
        np.testing.assert_allclose(variance, expected, rtol=1e-15)
    else:
        assert variance[0] == (np.inf if unit > 1 else 0)


@pytest.mark.parametrize(("loss", "unit"), [("poisson", 1e100), ("gamma", 1e200)])
@pytest.mark.parametrize(("preset", "rtol"), [(None, 1e-6), ("default", 1e-2)])  # Adam's first steps enlarge rounding
@pytest.mark.filterwarnings("error")
def test_an_estimator_of_a_link_fits_large_targets(loss, unit, preset, rtol, rng):
    X = rng.normal(size=(60, 2))
    y = np.exp(X[:, 0])
    here, there = (
        cr.MLPRegressor(loss=loss, preset=preset, max_iter=20, random_state=0).fit(X, y * u) for u in (1e6, unit)
    )
    np.testing.assert_allclose(there.predict(X) / unit, here.predict(X) / 1e6, rtol=rtol)
    assert there.score(X, y * unit) == pytest.approx(here.score(X, y * 1e6), abs=rtol)
