"""scikit-learn's rules on chainrule's nets: the only room that imports scikit-learn."""

from __future__ import annotations

from chainrule.errors import OptionError

__all__ = ["MLPClassifier", "MLPRegressor"]


class MissingScikitLearnError(OptionError, ImportError):
    """The estimators were asked for, and scikit-learn is not installed."""


try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise MissingScikitLearnError(
        "MLPClassifier and MLPRegressor follow scikit-learn's rules, and scikit-learn is not installed",
        hint="pip install 'chainrule[sklearn]'; cr.MLP and cr.Trainer need none of it",
    ) from error

# After the check for scikit-learn.
from chainrule.estimators.classifier import MLPClassifier  # noqa: E402
from chainrule.estimators.regressor import MLPRegressor  # noqa: E402
