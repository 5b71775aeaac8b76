"""What the classifier and the regressor share: from checked rows to a fit, and what is known after it."""

from __future__ import annotations

import abc
import math
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, check_X_y, validate_data

from chainrule.backends import Backend, backend, default_device
from chainrule.errors import OptionError
from chainrule.estimators.frames import encode, encoder_for, has_text_or_holes
from chainrule.estimators.held_out import shrink_by_folds
from chainrule.estimators.solvers import (
    Convergence,
    StopAfter,
    Watched,
    epochs_of,
    is_auto,
    layers_of,
    optimizer_of,
    schedule_of,
)
from chainrule.nn.losses import Loss
from chainrule.nn.mlp import MLP
from chainrule.nn.network import DTYPES, Network
from chainrule.nn.preparation import Preparation, Standardization
from chainrule.nn.table_encoder import TableEncoder
from chainrule.options import one_of, real_number, whole_number
from chainrule.train.recipe import Recipe, recipe_for
from chainrule.train.run import Run
from chainrule.train.trainer import Trainer

LIMIT = 3.0  # deviations at which features are bent over, so that none far out rules the net


class BaseMLP(BaseEstimator, abc.ABC):
    """A net behind scikit-learn's methods. Subclasses say what targets are: :meth:`_encode`, :meth:`_loss`."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags

    # ---- what a subclass says -----------------------------------------------------------------------

    _net: Network
    _encoder: TableEncoder | None
    _recipe: Recipe
    history_: dict[str, list[float]]
    _are_targets_numbers: bool
    _score_metric: str  # what its ``score`` measures, by the name that training knows

    @abc.abstractmethod
    def _encode(self, y: Any, classes: Any, *, first: bool) -> np.ndarray:
        """Targets as the loss wants them; at the ``first`` fit classes or columns are learnt."""

    @abc.abstractmethod
    def _loss(self) -> tuple[Loss, int]:
        """The loss and the outputs of a net for these targets."""

    def _of_targets(self, loss: Loss, y: np.ndarray, weights: np.ndarray | None) -> Standardization | None:
        """How targets are brought to a common scale; None for targets that keep theirs."""
        return None

    def _class_weights(self) -> Any:
        return None

    def _has_epochs(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
        return True

    def _is_of_classes(self) -> bool:
        """Whether a row has one class, so that a split may keep their shares."""
        return False

    # ---- fitting ------------------------------------------------------------------------------------

    def _fit(
        self, X: Any, y: Any, sample_weight: Any, eval_set: Any = None, *, classes: Any = None, one_epoch: bool = False
    ) -> Any:
        first = not hasattr(self, "_net") or not (self.warm_start or one_epoch)
        if one_epoch and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        X, y, weights = self._checked(X, y, sample_weight, first=first)
        y = self._encode(y, classes, first=first)
        random = check_random_state(self.random_state)
        seed = int(random.randint(np.iinfo(np.int32).max))
        if first:
            self._begin(X, y, weights, seed)
        elif self._net.backend.device != (device := self._backend()).device:
            self._net = self._net.twin(backend=device)
        validation = None if eval_set is None else self._held_out(eval_set)
        if self.early_stopping and validation is None:
            X, y, weights, validation = self._split(X, y, weights, random)
        watched = Watched(self.monitor, self._score_metric, self._net.loss) if validation else None
        trainer, convergence = self._trainer(self._net, len(X), seed, watched, one_epoch=one_epoch)
        try:
            run = trainer.fit(X, y, sample_weight=weights, class_weight=self._class_weights(), validation=validation)
            self.shrinkage_ = None
            # Rows that the user holds out have their say in the best epoch; a warm start wants the weights as they are.
            if self.shrink and validation is None and not (one_epoch or self.warm_start):
                self.shrinkage_ = shrink_by_folds(self, X, y, weights, seed, after=run)
        finally:
            self._name_weights()
        self._record(run, len(X), joins=one_epoch and not first)
        self._warn(run, convergence, one_epoch=one_epoch)
        return self

    def _checked(self, X: Any, y: Any, sample_weight: Any, *, first: bool) -> tuple[Any, Any, np.ndarray | None]:
        """Rows as scikit-learn wants them checked, in the dtype that is computed in."""
        if first:
            self._encoder = encoder_for(X) if has_text_or_holes(X) else None
        checks = {"dtype": self._dtypes(), "multi_output": True, "y_numeric": self._are_targets_numbers}
        if self._encoder is None:
            X, y = validate_data(self, X, y, **checks, reset=first)
        else:
            X, y = check_X_y(self._encoded(X, self._encoder, first=first), y, **checks, estimator=self)
        if sample_weight is None:
            return X, y, None
        weights = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        if not weights.any():
            raise ValueError("All sample weights are zero: at least one non-zero sample weight was expected")
        return X, y, weights

    def _encoded(self, X: Any, encoder: TableEncoder, *, first: bool = False) -> np.ndarray:
        """The numbers of a DataFrame with text or holes: in float32 unless another dtype was asked for."""
        validate_data(self, X, reset=first, skip_check_array=True)  # names and number of columns
        return encode(X, encoder).astype("float32" if self.dtype == "auto" else self.dtype)

    def _dtypes(self) -> Any:
        if one_of("dtype", self.dtype, ("auto", *DTYPES)) == "auto":
            return (np.float64, np.float32)
        return np.dtype(self.dtype)

    def _begin(self, X: np.ndarray, y: np.ndarray, weights: np.ndarray | None, seed: int) -> None:
        """A new net, with the first of its weights."""
        self._recipe = recipe_for(len(X) if weights is None else int(np.count_nonzero(weights)))
        self._net = self._new_net(X, y, weights, seed)
        self.n_layers_, self.t_ = len(self._net.widths), 0

    def _new_net(self, X: np.ndarray, y: np.ndarray, weights: np.ndarray | None, seed: int) -> Network:
        loss, n_out = self._loss()
        sizes, dropout = layers_of(self, self._recipe)
        hidden = [sizes] if np.ndim(sizes) == 0 else list(sizes)
        net = MLP(
            [X.shape[1], *hidden, n_out], activation=_activation(self.activation), dropout=dropout,
            normalization=self.normalization, loss=loss, backend=self._backend(), dtype=str(X.dtype), seed=seed,
        )  # fmt: skip
        scale = bool(self.standardize)
        net.preparation = Preparation(
            standardization(X, weights, LIMIT) if scale else None,
            self._of_targets(loss, y, weights) if scale else None,
            encoder=self._encoder,
        )
        return net

    def _trainer(
        self, net: Network, rows: int, seed: int, watched: Watched | None = None, *, one_epoch: bool = False,
        fold_epochs: int | None = None,
    ) -> tuple[Trainer, Convergence | None]:  # fmt: skip
        """What trains the net, and what decides when it has converged.

        The net of a fold trains as many epochs as the estimator's did, and nobody is told of it.
        """
        batch_size = self._batch_size(rows)
        epochs = 1 if one_epoch else epochs_of(self, self._recipe)
        schedule = schedule_of(self, rows, batch_size, one_epoch=one_epoch)
        convergence = None
        # A cosine falls to 0 at the end of the last epoch: there is nothing to stop for but rows held out.
        if not one_epoch and self.solver != "lbfgs" and (watched or self.learning_rate != "cosine"):
            convergence = Convergence(
                watched.name if watched else "loss", higher_is_better=bool(watched and watched.higher_is_better),
                tol=self.tol, patience=self.n_iter_no_change, schedule=schedule,
            )  # fmt: skip
        of_fold = fold_epochs is not None
        callbacks = [StopAfter(fold_epochs)] if fold_epochs is not None else list(self.callbacks or ())
        trainer = Trainer(
            net, optimizer_of(self, schedule, epochs=epochs, steps=epochs * -(-rows // batch_size)),
            batch_size=batch_size, seed=seed + self.t_, epochs=epochs, shuffle=bool(self.shuffle),
            monitor=watched.name if watched else None, metrics=watched.metrics if watched else not of_fold,
            progress=bool(self.verbose) and not of_fold, l2=real_number("alpha", self.alpha),
            callbacks=[*callbacks, *([convergence] if convergence else [])],
        )  # fmt: skip
        return trainer, convergence

    def _batch_size(self, rows: int) -> int:
        if is_auto(self.batch_size):
            return min(rows, self._recipe.batch_size)
        if whole_number("batch_size", self.batch_size) > rows:
            warnings.warn(f"batch_size {self.batch_size} came for {rows} rows: they are one batch", stacklevel=5)
        return min(int(self.batch_size), rows)

    def _held_out(self, eval_set: Any) -> tuple[Any, ...]:
        """(X, y) or (X, y, sample_weight) as the net wants them."""
        if not isinstance(eval_set, tuple | list) or len(eval_set) not in {2, 3}:
            raise OptionError("eval_set came that is no (X, y) or (X, y, sample_weight)")
        X, y, *rest = eval_set
        X, y, weights = self._checked(X, y, rest[0] if rest else None, first=False)
        y = self._encode(y, None, first=False)
        return (X, y) if weights is None else (X, y, weights)

    def _split(
        self, X: np.ndarray, y: np.ndarray, weights: np.ndarray | None, random: np.random.RandomState
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, tuple[np.ndarray, ...]]:
        """Rows to train on and rows held out, of classes as many each."""
        rows = np.arange(len(X))
        train, valid = train_test_split(
            rows, random_state=random, test_size=self.validation_fraction, stratify=y if self._is_of_classes() else None
        )
        if len(valid) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        if weights is None:
            return X[train], y[train], None, (X[valid], y[valid])
        return X[train], y[train], weights[train], (X[valid], y[valid], weights[valid])

    # ---- what is known afterwards -------------------------------------------------------------------

    def _record(self, run: Run, rows: int, *, joins: bool) -> None:
        history = {name: list(values) for name, values in run.history.items()}
        before: dict[str, list[float]] = self.history_ if joins else {}
        self.history_ = {name: [*before.get(name, []), *values] for name, values in history.items()}
        self.loss_curve_ = self.history_.get("loss", [])
        self.loss_ = self.loss_curve_[-1] if self.loss_curve_ else math.nan
        scores = self.history_.get(f"valid_{self._score_metric}")
        self.validation_scores_ = scores
        self.best_validation_score_ = max(scores) if scores else None
        self.best_loss_ = min(self.loss_curve_, default=math.nan) if scores is None else None
        self.best_iteration_ = run.best_epoch or None
        self.n_iter_ = len(history.get("loss", []))
        self.t_ += rows * self.n_iter_

    def _warn(self, run: Run, convergence: Convergence | None, *, one_epoch: bool) -> None:
        if run.stopped == "interrupted":
            warnings.warn("Training interrupted by user.", stacklevel=4)
        waits = self.solver == "lbfgs" or self.learning_rate != "cosine"  # a cosine is at its end after max_iter
        reached = convergence is not None and convergence.reached
        most = epochs_of(self, self._recipe)
        if waits and not one_epoch and not reached and self.n_iter_ >= most and run.stopped == "completed":
            warnings.warn(
                f"Maximum iterations ({most}) reached and the optimization hasn't converged yet.",
                ConvergenceWarning, stacklevel=4,
            )  # fmt: skip

    # ---- the net ------------------------------------------------------------------------------------

    @property
    def network_(self) -> Network:
        """The net, on its device: ``network_.save(path)`` writes the model file."""
        check_is_fitted(self)
        return self._net

    def _backend(self) -> Backend:
        return backend(default_device() if self.device is None else self.device)

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = dict(super().__getstate__())
        if "_net" in state:  # as NumPy arrays, whatever it was trained on, and without what only a fit needs
            state["_net"] = self._net.twin(backend=backend("cpu"))
        return state

    def _name_weights(self) -> None:
        """scikit-learn's names for the weights: NumPy copies."""
        arrays = self._net.parameter_arena.download()
        layers = range(self.n_layers_ - 1)
        self.coefs_ = [arrays[f"dense{i}.W"] for i in layers]
        self.intercepts_ = [arrays[f"dense{i}.b"] for i in layers]

    def _read(self, X: Any) -> np.ndarray:
        """Rows to predict, checked."""
        check_is_fitted(self)
        if self._encoder is not None:
            return self._encoded(X, self._encoder)
        checked: np.ndarray = validate_data(self, X, dtype=self._dtypes(), reset=False)
        return checked


def _activation(activation: Any) -> Any:
    """scikit-learn's "logistic" is the sigmoid."""
    if isinstance(activation, str):
        return "sigmoid" if activation == "logistic" else activation
    return [_activation(name) for name in activation] if isinstance(activation, Iterable) else activation


def standardization(x: np.ndarray, weights: np.ndarray | None, limit: float = math.inf) -> Standardization:
    """Mean and deviation of each column, rows by their weights: a row of weight 2 counts as two rows."""
    if weights is None:
        return Standardization.fit(x, limit=limit)
    x = x[:, None] if x.ndim == 1 else x
    counted = Standardization.fit(x[weights > 0], limit=limit)
    mean = np.average(x, axis=0, weights=weights)
    scale = np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weights))
    constant = np.ptp(x[weights > 0], axis=0) == 0
    return Standardization(mean, np.where(constant, counted.scale, scale), limit)
