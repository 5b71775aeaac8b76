"""What the classifier and the regressor share: from checked rows to a fit, and what is known after it."""

from __future__ import annotations

import abc
import contextlib
import math
import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from chainrule.backends import Backend, backend, default_device
from chainrule.errors import DataError, OptionError
from chainrule.estimators.solvers import Convergence, Watched, optimizer_of, schedule_of, weight_decay_of
from chainrule.nn.losses import Loss
from chainrule.nn.mlp import MLP
from chainrule.nn.network import DTYPES, Network
from chainrule.nn.preparation import Preparation, Standardization
from chainrule.nn.row_checks import refuse_masked
from chainrule.options import one_of, real_number, whole_number
from chainrule.train.run import Run
from chainrule.train.trainer import Trainer

LIMIT = 3.0  # deviations at which features are bent over, so that none far out rules the net
AUTO_BATCH = ((16_384, 256), (4_096, 128), (0, 64))  # (rows from here up, rows a batch)


class BaseMLP(BaseEstimator, abc.ABC):
    """A net behind scikit-learn's methods. Subclasses say what targets are: :meth:`_encode`, :meth:`_loss`."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags

    # ---- what a subclass says -----------------------------------------------------------------------

    _net: Network
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
        trainer, convergence = self._trainer(len(X), seed, watched, one_epoch=one_epoch)
        try:
            run = trainer.fit(X, y, sample_weight=weights, class_weight=self._class_weights(), validation=validation)
        finally:
            self._name_weights()
        self._record(run, len(X), joins=one_epoch and not first)
        self._warn(run, convergence, one_epoch=one_epoch)
        return self

    def _checked(self, X: Any, y: Any, sample_weight: Any, *, first: bool) -> tuple[Any, Any, np.ndarray | None]:
        """Rows as scikit-learn wants them checked, in the dtype that is computed in."""
        for values, name in ((X, "X"), (y, "y"), (sample_weight, "sample_weight")):
            _refuse_misread(values, name)
        X, y = validate_data(
            self, X, y, dtype=self._dtypes(), multi_output=True, y_numeric=self._are_targets_numbers, reset=first
        )
        if sample_weight is None:
            return X, y, None
        weights = _check_sample_weight(sample_weight, X, ensure_non_negative=True)
        if weights.sum() < np.finfo(weights.dtype).tiny:
            raise ValueError("All sample weights are zero: at least one non-zero sample weight was expected")
        return X, y, weights

    def _dtypes(self) -> Any:
        if one_of("dtype", self.dtype, ("auto", *DTYPES)) == "auto":
            return (np.float64, np.float32)
        return np.dtype(self.dtype)

    def _begin(self, X: np.ndarray, y: np.ndarray, weights: np.ndarray | None, seed: int) -> None:
        """A new net, with the first of its weights."""
        loss, n_out = self._loss()
        hidden = [self.hidden_layer_sizes] if np.ndim(self.hidden_layer_sizes) == 0 else list(self.hidden_layer_sizes)
        self._net = MLP(
            [X.shape[1], *hidden, n_out], activation=_activation(self.activation), dropout=self.dropout,
            normalization=self.normalization, loss=loss, backend=self._backend(), dtype=str(X.dtype), seed=seed,
        )  # fmt: skip
        scale = bool(self.standardize)
        self._net.preparation = Preparation(
            standardization(X, weights, LIMIT) if scale else None, self._of_targets(loss, y, weights) if scale else None
        )
        self.n_layers_, self.t_ = len(hidden) + 2, 0

    def _trainer(
        self, rows: int, seed: int, watched: Watched | None, *, one_epoch: bool
    ) -> tuple[Trainer, Convergence | None]:
        """What trains the net, and what decides when it has converged."""
        batch_size = self._batch_size(rows)
        schedule = schedule_of(self, rows, batch_size, one_epoch=one_epoch)
        convergence = None
        # A cosine falls to 0 at the end of the last epoch: there is nothing to stop for but rows held out.
        if not one_epoch and self.solver != "lbfgs" and (watched or self.learning_rate != "cosine"):
            convergence = Convergence(
                watched.name if watched else "loss", higher_is_better=bool(watched and watched.higher_is_better),
                tol=self.tol, patience=self.n_iter_no_change, schedule=schedule,
            )  # fmt: skip
        trainer = Trainer(
            self._net, optimizer_of(self, schedule, weight_decay_of(self, rows, batch_size)),
            batch_size=batch_size, seed=seed + self.t_,
            epochs=1 if one_epoch else whole_number("max_iter", self.max_iter), shuffle=bool(self.shuffle),
            monitor=watched.name if watched else None, metrics=watched.metrics if watched else True,
            progress=bool(self.verbose), l2=real_number("alpha", self.alpha),
            callbacks=[*(self.callbacks or ()), *([convergence] if convergence else [])],
        )  # fmt: skip
        return trainer, convergence

    def _batch_size(self, rows: int) -> int:
        if isinstance(self.batch_size, str) and self.batch_size == "auto":
            return min(rows, next(size for least, size in AUTO_BATCH if rows >= least))
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
        if waits and not one_epoch and not reached and self.n_iter_ >= self.max_iter and run.stopped == "completed":
            warnings.warn(
                f"Maximum iterations ({self.max_iter}) reached and the optimization hasn't converged yet.",
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
        _refuse_misread(X, "X")
        checked: np.ndarray = validate_data(self, X, dtype=self._dtypes(), reset=False)
        return checked


def _refuse_misread(values: Any, name: str) -> None:
    """DataError for what scikit-learn takes for numbers that nobody meant: masked ones, and dates as their seconds."""
    refuse_masked(values, name)
    if isinstance(values, list | tuple):
        with contextlib.suppress(ValueError):  # no regular array: scikit-learn says so
            values = np.asarray(values[:1])
    dtypes = getattr(values, "dtypes", None)  # of a DataFrame one a column; of a Series it is a single one
    for dtype in dtypes if isinstance(dtypes, Iterable) else [getattr(values, "dtype", dtypes)]:
        if getattr(dtype, "kind", "") in {"m", "M"}:
            raise DataError(f"{name} of dtype {dtype} came, numbers were expected", hint="write dates as numbers")


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
