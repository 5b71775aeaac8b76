"""scikit-learn's own checks of an estimator: all of them, none expected to fail.

Of ensembles as the default is one, but of two members, and of a plain net as a user describes one.
"""

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
    for kind in (cr.MLPClassifier, cr.MLPRegressor)
    for options in ({"n_members": 2, "max_iter": 12}, {"hidden_layer_sizes": (16,), "shrink": False, "max_iter": 60})
    for case in estimator_checks_generator(kind(device="cpu", **options))
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
