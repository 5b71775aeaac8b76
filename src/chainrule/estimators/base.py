"""What the classifier and the regressor share: from checked rows to a fit, and what is known after it."""

from __future__ import annotations

import abc
import math
import warnings
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from chainrule.backends import Backend, backend, default_device
from chainrule.backends.contract.backend import Array
from chainrule.errors import OptionError, error_context
from chainrule.estimators.array_namespaces import (
    NUMBERS,
    ArrayNamespace,
    check_same_namespace,
    is_on_gpu,
    namespace_of,
    on_host,
)
from chainrule.estimators.early_stopping import split_by_class
from chainrule.estimators.held_out import shrink_by_folds
from chainrule.estimators.running_scale import RunningScale, scale_followed_by
from chainrule.estimators.solvers import Convergence, MonitorChoice, SolverState, epochs_of, layers_of, trainer_of
from chainrule.estimators.validation import WIDE, ValidatedRows, prepared_further, read, standardization, take
from chainrule.host_memory import out_of_memory_hint
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.inputs.preparation import Preparation
from chainrule.nn.inputs.standardization import Standardization
from chainrule.nn.layered_net import DTYPES
from chainrule.nn.losses.names import Loss
from chainrule.nn.mlp import MLP
from chainrule.nn.network import Network
from chainrule.options import one_of
from chainrule.train.recipe import Recipe, recipe_for
from chainrule.train.records.run import Run

LIMIT = 3.0  # deviations at which features are bent over, so that none far out rules the net


class BaseMLP(BaseEstimator, abc.ABC):
    """A net behind scikit-learn's methods. Subclasses say what targets are: :meth:`_encode`, :meth:`_loss`."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.array_api_support = True
        return tags

    # ---- what a subclass says -----------------------------------------------------------------------

    _net: Network
    _solver_state: SolverState
    _recipe: Recipe
    _scale: RunningScale
    history_: dict[str, list[float]]
    _are_targets_numbers: bool
    _score_metric: str  # what its ``score`` measures, by the name that training knows

    @abc.abstractmethod
    def _encode(self, y: Any, classes: Any, *, first: bool, same: bool = False) -> np.ndarray:
        """Targets as the loss wants them; at the ``first`` fit classes or columns are learnt, later, with ``same``, all
        of them must come again."""

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

    def _class_names(self) -> tuple[str, ...]:
        """For the model file: the names of the classes 0, 1, ..., where a row has one."""
        return ()

    def _is_of_classes(self) -> bool:
        """Whether a row has one class, so that a split may keep their shares."""
        return False

    def _labels_of(self, y: np.ndarray) -> np.ndarray | None:
        """The label of each row, by which a split keeps shares and names what it cannot; None for no classes."""
        return None

    # ---- fitting ------------------------------------------------------------------------------------

    @out_of_memory_hint("X as float32 is not copied where it is in order; or use fewer rows", doing="fitting")
    def _fit(
        self, X: Any, y: Any, sample_weight: Any, eval_set: Any = None, *, classes: Any = None, one_epoch: bool = False
    ) -> Any:
        first = not hasattr(self, "history_") or not (self.warm_start or one_epoch)  # none: no fit has come to its end
        if one_epoch and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        device = self._backend()
        rows = self._take(X, y, sample_weight, device, first=first)
        targets = self._encode(rows.y, classes, first=first, same=not first and not one_epoch)
        random = check_random_state(self.random_state)
        seed = int(random.randint(np.iinfo(np.int32).max))
        splits = self.early_stopping and eval_set is None
        train, valid = self._split(targets, random) if splits else (None, None)
        encoder = rows.fit_encoder(train, embed_above=self.embed_above) if first else self._net.preparation.encoder
        matrix = rows.matrix(encoder)

        def part(chosen: np.ndarray | None) -> tuple[Array, np.ndarray, np.ndarray | None]:
            if chosen is None:
                return matrix, targets, rows.weights
            return matrix[chosen], targets[chosen], None if rows.weights is None else rows.weights[chosen]

        x, t, weights = part(train)
        if first:
            self._begin(x, t, weights, device, seed, rows, encoder)
        else:
            self._go_on(device)
            if not one_epoch:  # whose scale goes on by itself
                self._net.preparation = prepared_further(self._net.preparation, x, t, weights)
        if first or not one_epoch:
            self._solver_state = SolverState()
        validation = part(valid) if splits else None if eval_set is None else self._held_out(eval_set)
        watched = MonitorChoice(self.monitor, self._score_metric, self._net.loss) if validation else None
        trainer, convergence = trainer_of(self, self._net, len(x), seed, watched, one_epoch=one_epoch)
        class_weight = self._class_weights()
        try:
            with scale_followed_by(self, x, t, weights, rows.unit, follow=one_epoch and not first):
                run = trainer.fit(x, t, sample_weight=weights, class_weight=class_weight, validation=validation)
            self.shrinkage_ = None
            # Rows that the user holds out have their say in the best epoch; a warm start wants the weights as they are.
            if self.shrink and validation is None and not (one_epoch or self.warm_start):
                self.shrinkage_ = shrink_by_folds(self, x, t, weights, seed, after=run)
        finally:
            self._bring(namespace_of(X))
        self._record(run, len(x), joins=one_epoch and not first)
        self._warn(run, convergence, one_epoch=one_epoch)
        return self

    def _take(self, X: Any, y: Any, sample_weight: Any, device: Backend, *, first: bool) -> ValidatedRows:
        return take(
            self,
            X,
            y,
            sample_weight,
            dtypes=self._dtypes(),
            numeric=self._are_targets_numbers,
            backend=device,
            encoder=None if first else self._net.preparation.encoder,
            first=first,
        )

    def _dtypes(self) -> Any:
        if one_of("dtype", self.dtype, ("auto", *DTYPES)) == "auto":
            return WIDE
        return np.dtype(self.dtype)

    def _begin(
        self,
        X: Array,
        y: np.ndarray,
        weights: np.ndarray | None,
        device: Backend,
        seed: int,
        rows: ValidatedRows,
        encoder: TableEncoder | None,
    ) -> None:
        """A new net, with the first of its weights, for these training rows."""
        self._recipe = recipe_for(len(X) if weights is None else int(np.count_nonzero(weights)))
        self._net = self._new_net(
            X, y, weights, seed, device=device, dtype=str(rows.dtype), encoder=encoder, target_name=rows.target_name
        )
        self._scale = RunningScale.of(self._net.preparation, X, y, weights, rows.unit)
        self.n_layers_, self.t_ = len(self._hidden()) + 2, 0

    def _new_net(
        self,
        X: Array,
        y: np.ndarray,
        weights: np.ndarray | None,
        seed: int,
        *,
        device: Backend,
        dtype: str,
        encoder: TableEncoder | None,
        target_name: str = "",
    ) -> Network:
        """A net with weights drawn by ``seed``, prepared for these training rows."""
        loss, n_out = self._loss()
        net = MLP(
            [X.shape[1], *self._hidden(), n_out],
            activation=_activation(self.activation),
            dropout=layers_of(self, self._recipe)[1],
            normalization=self.normalization,
            loss=loss,
            backend=device,
            dtype=dtype,
            seed=seed,
            embedding=None if encoder is None else encoder.embedding(),
        )
        scale = bool(self.standardize)
        net.preparation = Preparation(
            standardization(on_host(X), weights, LIMIT) if scale else None,
            self._of_targets(loss, y, weights) if scale else None,
            target_name=target_name,
            classes=self._class_names(),
            encoder=encoder,
        )
        return net

    def _go_on(self, device: Backend) -> None:
        """With the net that there is, on this device."""
        if tuple(self._hidden()) != (had := self._net.widths[1:-1]):
            raise OptionError(
                f"hidden_layer_sizes {self.hidden_layer_sizes!r} came to go on from a net of {had}",
                hint="warm_start=False, and fit",
            )
        if self._net.backend.device != device.device:
            self._net = self._net.copy(backend=device)

    def _hidden(self) -> list[Any]:
        sizes = layers_of(self, self._recipe)[0]
        return [sizes] if np.ndim(sizes) == 0 else list(sizes)

    def _held_out(self, eval_set: Any) -> tuple[Any, ...]:
        """(X, y) or (X, y, sample_weight) as the net wants them."""
        if not isinstance(eval_set, tuple | list) or len(eval_set) not in {2, 3}:
            raise OptionError("eval_set came that is no (X, y) or (X, y, sample_weight)")
        X, y, *rest = eval_set
        with error_context("eval_set"):
            rows = self._take(X, y, rest[0] if rest else None, self._net.backend, first=False)
            targets = self._encode(rows.y, None, first=False)
        return rows.matrix(self._net.preparation.encoder), targets, rows.weights

    def _split(self, y: np.ndarray, random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        """Positions of rows to train on and of rows held out: of each class its share, but never all of its rows."""
        if self._is_of_classes():
            train, valid = split_by_class(y, self.validation_fraction, random)
        else:
            train, valid = train_test_split(np.arange(len(y)), random_state=random, test_size=self.validation_fraction)
        if len(valid) < 2:
            raise ValueError(
                "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
            )
        return train, valid

    # ---- what is known afterwards -------------------------------------------------------------------

    def _record(self, run: Run, rows: int, *, joins: bool) -> None:
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

    def _warn(self, run: Run, convergence: Convergence | None, *, one_epoch: bool) -> None:
        if run.stopped == "interrupted":
            warnings.warn("Training interrupted by user.", stacklevel=4)
        if one_epoch or run.stopped != "completed":
            return
        most = epochs_of(self, self._recipe)
        limit = f"Maximum iterations ({most})"
        if self.solver == "lbfgs":
            waits = not run.converged
            limit = limit if self.n_iter_ >= most else f"Maximum evaluations of the loss, max_fun ({self.max_fun}),"
        else:  # a cosine is at its end after max_iter
            waits = self.learning_rate != "cosine" and not (convergence is not None and convergence.reached)
        if waits and (self.n_iter_ >= most or self.solver == "lbfgs"):
            warnings.warn(
                f"{limit} reached and the optimization hasn't converged yet.", ConvergenceWarning, stacklevel=4
            )

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
            there, host = type(self).__new__(type(self)), backend("cpu")
            there.__dict__ = state
            there._net, there._solver_state = self._net.copy(backend=host), self._solver_state.on(host)
            there._bring(None)
        return state

    def _bring(self, namespace: ArrayNamespace | None) -> None:
        """What scikit-learn has names for: copies of the weights, in NumPy or where the rows live."""
        self.coefs_, self.intercepts_ = self._weights(namespace)

    def _weights(self, namespace: ArrayNamespace | None) -> tuple[list[Any], list[Any]]:
        arrays = self._net.parameter_arena.download()
        to_device = (lambda values: values) if namespace is None else namespace.to_device
        layers = range(self.n_layers_ - 1)
        return [to_device(arrays[f"dense{i}.W"]) for i in layers], [to_device(arrays[f"dense{i}.b"]) for i in layers]

    @property
    def _first_weights(self) -> Any:
        """What says where the estimator lives."""
        return self.coefs_[0]

    @out_of_memory_hint("predict fewer rows at a time", doing="predicting")
    def _ask(
        self, X: Any, method: str, question: Callable[[Network, Array], Array], answer: Callable[[Any, Array], Any]
    ) -> Any:
        """What the net says of rows, where they live.

        Parameters
        ----------
        method : whose rules these are, for messages
        question : to the net and (n, n_in)
        answer : ``answer(xp, what the net says)``, xp being NumPy or, for rows in a GPU's memory, CuPy
        """
        check_is_fitted(self)
        check_same_namespace(X, self, attribute="_first_weights", method=method)
        net, be = self._net, self._net.backend
        rows = read(self, X, net=net)
        if is_on_gpu(rows):
            # The module of the device's own arrays: those of another library are brought back to it at the end.
            return be.returned(answer(import_module(be.name), question(net, rows)), like=X)
        values, namespace = answer(np, np.asarray(question(net, rows))), namespace_of(X)
        return values if namespace is None or values.dtype.kind not in NUMBERS else namespace.to_device(values)


def _activation(activation: Any) -> Any:
    """scikit-learn's "logistic" is the sigmoid."""
    if isinstance(activation, str):
        return "sigmoid" if activation == "logistic" else activation
    return [_activation(name) for name in activation] if isinstance(activation, Iterable) else activation
