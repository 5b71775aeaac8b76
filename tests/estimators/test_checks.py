"""scikit-learn's own checks of an estimator: all of them, none expected to fail."""

from __future__ import annotations

import os
from typing import Any

import pytest

os.environ.setdefault("SCIPY_ARRAY_API", "1")  # read when SciPy is imported: else the checks of array APIs are skipped
pytest.importorskip("sklearn", reason="scikit-learn is not installed")

from sklearn.utils.estimator_checks import estimator_checks_generator

import chainrule as cr

CHECKS = [
    case
    for estimator in (cr.MLPClassifier(device="cpu"), cr.MLPRegressor(device="cpu"))
    for case in estimator_checks_generator(estimator)
]


def name_of(value: Any) -> str:
    """Of an estimator or a check, which may be a partial."""
    options = getattr(value, "keywords", {})
    name = getattr(getattr(value, "func", value), "__name__", type(value).__name__)
    return f"{name}{options or ''}"


# The checks provoke warnings, and those of scikit-learn's own code are among them.
@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("estimator", "check"), CHECKS, ids=name_of)
def test_scikit_learn_finds_nothing(estimator, check):
    check(estimator)
