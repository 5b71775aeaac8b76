"""The probabilities of a classifier."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, overload

import numpy as np

from chainrule.estimators.base import BaseMLP
from chainrule.estimators.class_targets import ClassTargets


class ClassProbabilities(BaseMLP):
    """``predict_proba`` and what belongs to it."""

    _targets: ClassTargets

    @overload
    def predict_proba(self, X: np.ndarray) -> np.ndarray: ...
    @overload
    def predict_proba(self, X: Any) -> Any: ...
    def predict_proba(self, X: Any) -> Any:
        """(n, k) the probability of each class in the order of ``classes_``, or label; errors as :meth:`predict`."""
        return self._probabilities(X, "predict_proba", lambda _, p: p)

    def predict_log_proba(self, X: Any) -> Any:
        """The logarithm of :meth:`predict_proba`, -inf for a probability of 0; errors as :meth:`predict`."""

        def logarithm(xp: Any, p: Any) -> Any:
            with np.errstate(divide="ignore"):
                return xp.log(p)

        return self._probabilities(X, "predict_log_proba", logarithm)

    def _probabilities(self, X: Any, method: str, last: Callable[[Any, Any], Any]) -> Any:
        def answer(xp: Any, p: Any) -> Any:
            if self._targets.is_multilabel:
                p = p.reshape(len(p), -1)
            return last(xp, xp.stack([1 - p, p], axis=1) if p.ndim == 1 else p)

        return self._predict_with(X, method, lambda net, rows: net.predict_proba(rows), answer)

    def _as_predicted(self, outputs: np.ndarray) -> np.ndarray:
        single = outputs.shape[1] == 1 and not self._targets.is_multilabel
        return np.hstack([1 - outputs, outputs]) if single else outputs
