"""What is known of a fit afterwards, by scikit-learn's names, and what is warned of."""

from __future__ import annotations

import math
import warnings
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from chainrule.estimators.convergence import Convergence
from chainrule.estimators.parameters import Parameters
from chainrule.train.out_of_fold.score import OutOfFoldScore
from chainrule.train.records.run import Run

CALLER = 5  # frames from here to the line that called ``fit``: BaseMLP._fit, its decorator, the public method


class FittedAttributes(Parameters):
    """The attributes that a fit sets, beside those of its targets."""

    n_layers_: int
    n_iter_: int
    t_: int
    coefs_: list[Any]
    intercepts_: list[Any]
    history_: dict[str, list[float]]
    loss_: float
    loss_curve_: list[float]
    best_loss_: float | None
    validation_scores_: list[float] | None
    best_validation_score_: float | None
    best_iteration_: int | None
    shrinkage_: float | None
    oof_prediction_: np.ndarray | None
    oof_score_: OutOfFoldScore | None
    _score_metric: str  # what ``score`` of the estimator measures, by the name that training knows

    def _record(self, run: Run, rows: int, *, joins: bool) -> None:
        """``joins``: the history continues that of the fits before."""
        history = {name: list(values) for name, values in run.history.items()}
        before: dict[str, list[float]] = self.history_ if joins else {}
        self.history_ = {name: [*before.get(name, []), *values] for name, values in history.items()}
        self.loss_curve_ = self.history_.get("loss", [])
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else math.nan
        scores = self.history_.get(f"valid_{self._score_metric}")
        self.validation_scores_ = scores
        self.best_validation_score_ = max((s for s in scores if not math.isnan(s)), default=None) if scores else None
        self.best_loss_ = min(self.loss_curve_, default=math.nan) if scores is None else None
        self.best_iteration_ = run.best_epoch or None
        self.n_iter_ = len(history.get("loss", []))
        self.t_ += rows * self.n_iter_

    def _warn(self, run: Run, convergence: Convergence | None, epochs: int, *, one_epoch: bool) -> None:
        """A UserWarning if training was interrupted, a ConvergenceWarning if ``epochs`` were too few."""
        if run.stopped == "interrupted":
            warnings.warn("Training interrupted by user.", stacklevel=CALLER)
        if one_epoch or run.stopped != "completed":
            return
        limit = f"Maximum iterations ({epochs})"
        if self.solver == "lbfgs":
            waits = not run.converged
            limit = limit if self.n_iter_ >= epochs else f"Maximum evaluations of the loss, max_fun ({self.max_fun}),"
        else:  # a cosine is at its end after max_iter
            waits = self.learning_rate != "cosine" and not (convergence is not None and convergence.reached)
        if waits and (self.n_iter_ >= epochs or self.solver == "lbfgs"):
            warnings.warn(
                f"{limit} reached and the optimization hasn't converged yet.",
                ConvergenceWarning,
                stacklevel=CALLER,
            )
