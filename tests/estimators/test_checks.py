"""scikit-learn's own checks of an estimator: all of them, none expected to fail."""

from __future__ import annotations

import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.utils.estimator_checks import parametrize_with_checks

import chainrule as cr


@pytest.mark.filterwarnings("default")  # the checks provoke warnings, those of scikit-learn's own doing among them
@parametrize_with_checks([cr.MLPClassifier(device="cpu"), cr.MLPRegressor(device="cpu")])
def test_scikit_learn_finds_nothing(estimator, check):
    check(estimator)
