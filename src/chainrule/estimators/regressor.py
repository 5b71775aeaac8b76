"""The regressor."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self, overload

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import r2_score
from sklearn.utils.validation import column_or_1d

from chainrule.estimators.array_namespaces import on_host
from chainrule.estimators.base import BaseMLP, if_solver_has_epochs
from chainrule.estimators.labels import exact_targets
from chainrule.estimators.losses import loss_of_targets
from chainrule.estimators.parameters import (
    ActivationOption,
    Callbacks,
    DtypeName,
    LayerSizes,
    LearningRate,
    Solver,
    TargetLossName,
)
from chainrule.nn.losses.names import Loss
from chainrule.nn.metrics import r2
from chainrule.nn.mlp import NormalizationName
from chainrule.nn.scores import point_prediction
from chainrule.train.monitoring.validation_metrics import Metric
from chainrule.train.recipe import Auto, Preset


class MLPRegressor(RegressorMixin, BaseMLP):
    """A multilayer perceptron for numbers, with scikit-learn's methods, parameters and attributes.

    The targets are numbers (n,) or (n, k), scaled to mean 0 and standard deviation 1 in the net with ``standardize``;
    predictions are in their own units, and so are ``score`` (R2) and the metrics; losses are of the standardised ones.

    Parameters and attributes as for :class:`MLPClassifier`, but for

    Parameters
    ----------
    loss : "squared_error" (half of it, as in scikit-learn), "absolute_error", "huber", "poisson", "gamma", "quantile",
        "gaussian_nll", or a loss with options: ``cr.Quantile([0.05, 0.5, 0.95])``
    monitor : "valid_r2" by default, "valid_loss", "valid_rmse", "valid_mae", or a ``cr.Metric``
    """

    _are_targets_numbers = True
    _score_metric = "r2"

    def __init__(
        self,
        hidden_layer_sizes: LayerSizes = "auto",
        activation: ActivationOption | Sequence[ActivationOption] | Auto = "auto",
        *,
        solver: Solver = "adam",
        alpha: float | Auto = "auto",
        batch_size: int | Auto = "auto",
        learning_rate: LearningRate = "cosine",
        learning_rate_init: float | Auto = "auto",
        power_t: float = 0.5,
        max_iter: int | Auto = "auto",
        shuffle: bool = True,
        random_state: int | np.random.RandomState | None = None,
        tol: float = 1e-4,
        verbose: bool = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: float = 10,
        max_fun: int = 15000,
        loss: TargetLossName | Loss = "squared_error",
        weight_decay: float | Auto = "auto",
        dropout: float | Auto = "auto",
        n_members: int | Auto = "auto",
        preset: Preset | Auto | None = "auto",
        normalization: NormalizationName | None = None,
        standardize: bool = True,
        embed_above: int | None = None,
        shrink: bool = True,
        monitor: str | Metric | None = None,
        callbacks: Callbacks | None = None,
        device: str | None = None,
        dtype: DtypeName = "auto",
        threads: int | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.solver = solver
        self.alpha = alpha
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.learning_rate_init = learning_rate_init
        self.power_t = power_t
        self.max_iter = max_iter
        self.shuffle = shuffle
        self.random_state = random_state
        self.tol = tol
        self.verbose = verbose
        self.warm_start = warm_start
        self.momentum = momentum
        self.nesterovs_momentum = nesterovs_momentum
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.epsilon = epsilon
        self.n_iter_no_change = n_iter_no_change
        self.max_fun = max_fun
        self.loss = loss
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.n_members = n_members
        self.preset = preset
        self.normalization = normalization
        self.standardize = standardize
        self.embed_above = embed_above
        self.shrink = shrink
        self.monitor = monitor
        self.callbacks = callbacks
        self.device = device
        self.dtype = dtype
        self.threads = threads

    # ---- targets ------------------------------------------------------------------------------------

    def _encode(self, y: Any, classes: Any, *, first: bool, same: bool = False) -> np.ndarray:
        """(n,) or (n, k) numbers."""
        if y.ndim == 2 and y.shape[1] == 1:
            y = column_or_1d(y, warn=True)
        columns = 1 if y.ndim == 1 else y.shape[1]
        if first:
            self.n_outputs_ = columns
        elif columns != self.n_outputs_:
            raise ValueError(f"expected y of {self.n_outputs_} columns as in the previous fit, got {columns}")
        # Whole numbers beyond 2**53 may differ and have no deviation in float64: there they are constant.
        numbers: np.ndarray = y.astype(np.float64) if y.dtype.kind in "iu" else y
        return numbers

    def _loss(self) -> tuple[Loss, int]:
        loss = loss_of_targets(self.loss)
        self.out_activation_ = "identity" if loss.standardizes else "exp"
        return loss, loss.outputs_for(self.n_outputs_)

    # ---- scikit-learn's methods -----------------------------------------------------------------------

    def fit(self, X: Any, y: Any, sample_weight: Any = None, eval_set: Any = None) -> Self:
        """Train from new weights, or with ``warm_start`` from those of the last fit.

        Parameters
        ----------
        X : (n, n_features) numbers; or a DataFrame, which may hold text and missing values
        y : (n,) or (n, k) numbers
        sample_weight : (n,) from 0 up, or None
        eval_set : (X, y) or (X, y, sample_weight): held-out rows, by which the best epoch is kept and the fit stopped
        """
        self._fit(X, y, sample_weight, eval_set)
        return self

    @if_solver_has_epochs
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """One epoch over these rows, from the weights of the call before.

        The solver continues with its moments, its number of steps and its learning rate. Features and targets are
        standardised by all rows so far; the columns of a DataFrame are encoded as for the rows of the first call.
        Losses are in units of the targets as they are standardised in this call.
        """
        self._fit(X, y, sample_weight, one_epoch=True)
        return self

    @overload
    def predict(self, X: np.ndarray) -> np.ndarray: ...
    @overload
    def predict(self, X: Any) -> Any: ...
    def predict(self, X: Any) -> Any:
        """(n,) or (n, k) numbers; of quantiles (n, levels) or (n, k, levels). Of the kind and on the device of X."""
        return self._predict_with(X, "predict", lambda net, rows: net.predict(rows), lambda _, numbers: numbers)

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """R2 of the predictions, of several targets the mean of theirs; of several quantiles, of the one nearest to the
        median. A constant target has 0."""
        y, weights = exact_targets(on_host(y)), on_host(sample_weight)
        predicted = point_prediction(self.network_, on_host(self.predict(X)))
        with warnings.catch_warnings(), np.errstate(all="ignore"):  # the squares of the largest numbers overflow there
            warnings.simplefilter("ignore", UndefinedMetricWarning)  # of one row, which is constant
            r2_score(y, predicted, sample_weight=weights)  # refuses in scikit-learn's words what has no r2
        return r2(np.asarray(y), predicted, None if weights is None else np.asarray(weights))
