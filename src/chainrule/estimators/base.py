"""What the classifier and the regressor share: from checked rows to a fit."""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if

from chainrule.backends import Backend
from chainrule.errors import OptionError, error_context
from chainrule.estimators.array_namespaces import namespace_of
from chainrule.estimators.constant_columns import prepared_further
from chainrule.estimators.convergence import MonitorChoice
from chainrule.estimators.early_stopping import split_rows
from chainrule.estimators.ensembles import LeftOutRows, begin, learn_from_left_out, leave_out
from chainrule.estimators.fit_rows import FitRows
from chainrule.estimators.fitted_net import FittedNet
from chainrule.estimators.held_out import FoldTraining, shrink_by_folds
from chainrule.estimators.new_net import new_net
from chainrule.estimators.running_scale import RunningScale, scale_applied
from chainrule.estimators.solvers import (
    FitPlan,
    SolverState,
    fold_trainer,
    plan_fit,
    settings_of,
    warn_of_batch_size,
)
from chainrule.estimators.validation import WIDE, ValidatedRows, validated_rows
from chainrule.host_memory import out_of_memory_hint
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.layered_net import DTYPES, dtype_name
from chainrule.nn.losses.names import Loss
from chainrule.nn.network import Network
from chainrule.options import one_of
from chainrule.train.feeding.class_weights import ClassWeight
from chainrule.train.recipe import Recipe, Settings, recipe_for
from chainrule.train.records.run import Run
from chainrule.train.trainer import Trainer

Method = TypeVar("Method", bound=Callable[..., Any])


def if_solver_has_epochs(method: Method) -> Method:
    """A method that estimators with ``solver="lbfgs"`` do not have."""
    return cast(Method, available_if(lambda self: self._has_epochs())(method))


class BaseMLP(FittedNet, abc.ABC):
    """A net behind scikit-learn's methods. Subclasses say what targets are: :meth:`_encode`, :meth:`_loss`."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.array_api_support = True
        return tags

    # ---- what a subclass says -----------------------------------------------------------------------

    _recipe: Recipe
    _scale: RunningScale
    _are_targets_numbers: bool

    @abc.abstractmethod
    def _encode(self, y: Any, classes: Any, *, first: bool, same: bool = False) -> np.ndarray:
        """Targets as the loss takes them: classes or columns are learnt at the ``first`` fit; with ``same``, all of
        them must be in a later one too."""

    @abc.abstractmethod
    def _loss(self) -> tuple[Loss, int]:
        """The loss and the outputs of a net for these targets."""

    def _class_weights(self) -> ClassWeight | None:
        return None

    def _class_names(self) -> tuple[str, ...]:
        """For the model file: the names of the classes 0, 1, ..., if a row has one."""
        return ()

    def _has_epochs(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
        return True

    def _as_predicted(self, outputs: np.ndarray) -> np.ndarray:
        """What ``predict_proba``, or ``predict`` of a regression, makes of the outputs of the net, (n, n_out)."""
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def _is_of_classes(self) -> bool:
        """Whether a row has one class, so that a split may keep their shares."""
        return False

    # ---- fitting ------------------------------------------------------------------------------------

    @out_of_memory_hint("X as float32 is not copied if it is in order; or use fewer rows", doing="fitting")
    def _fit(
        self, X: Any, y: Any, sample_weight: Any, eval_set: Any = None, *, classes: Any = None, one_epoch: bool = False
    ) -> None:
        """``one_epoch`` is a ``partial_fit``."""
        first = not hasattr(self, "history_") or not (self.warm_start or one_epoch)  # without: no fit was completed
        if one_epoch and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        device = self._backend()
        rows = self._validated(X, y, sample_weight, device, first=first)
        targets = self._encode(rows.y, classes, first=first, same=not first and not one_epoch)
        random = check_random_state(self.random_state)
        seed = int(random.randint(np.iinfo(np.int32).max))
        split = self._split(targets, random) if self.early_stopping and eval_set is None else None
        train, valid = split or (None, None)
        encoder = rows.fit_encoder(train, embed_above=self.embed_above) if first else self._net.preparation.encoder
        everything = FitRows(rows.matrix(encoder), targets, rows.weights)
        training = everything.take(train)
        if first:
            settings = self._begin(training, device, seed, rows, encoder, one_epoch=one_epoch)
        else:
            settings = self._continue(training, device, one_epoch=one_epoch)
        validation = everything.take(valid) if split else None if eval_set is None else self._validation(eval_set)
        warn_of_batch_size(self, len(training.y))
        # Rows that the user holds out choose the best epoch; a warm start needs the weights as they are.
        judges = validation is None and not (one_epoch or self.warm_start)
        left_out = None
        if judges and settings.table is not None:
            left_out = leave_out(training, settings, seed, by_class=self._is_of_classes())
            begin(self._net, training, settings, left_out)
        leaves_out = left_out is not None and left_out.mask is not None
        plan = self._plan(training, settings, seed, validation, one_epoch=one_epoch, leaves_out=leaves_out)
        try:
            run = self._train(training, validation, plan, rows.unit, left_out, moves_scale=one_epoch and not first)
            self.shrinkage_ = None
            if left_out is not None:
                self._learn_from_left_out(training, run, left_out, seed)
            elif self.shrink and judges:
                self.shrinkage_ = self._shrink(training, settings, seed, run)
        finally:
            self._publish_weights(namespace_of(X))
        self._record(run, len(training.y), joins=one_epoch and not first)
        self._warn(run, plan.convergence, settings.epochs, one_epoch=one_epoch)

    def _validated(self, X: Any, y: Any, sample_weight: Any, device: Backend, *, first: bool) -> ValidatedRows:
        return validated_rows(
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
        if one_of("dtype", dtype_name(self.dtype), ("auto", *DTYPES)) == "auto":
            return WIDE
        return np.dtype(self.dtype)

    def _begin(
        self,
        training: FitRows,
        device: Backend,
        seed: int,
        rows: ValidatedRows,
        encoder: TableEncoder | None,
        *,
        one_epoch: bool,
    ) -> Settings:
        """A new net, with the first of its weights, for these training rows; the settings of its fit."""
        self._recipe = recipe_for(_counted(training))
        settings = settings_of(self, len(training.y), self._recipe, one_epoch=one_epoch)
        self._net = self._new_net(
            training,
            settings,
            seed,
            device=device,
            dtype=str(rows.dtype),
            encoder=encoder,
            target_name=rows.target_name,
        )
        self._scale = RunningScale.of(self._net.preparation, training.X, training.y, training.weights, rows.unit)
        self.n_layers_, self.t_ = len(settings.hidden) + 2, 0
        self._solver_state = SolverState()
        return settings

    def _new_net(
        self,
        rows: FitRows,
        settings: Settings,
        seed: int,
        *,
        device: Backend,
        dtype: str,
        encoder: TableEncoder | None,
        target_name: str = "",
    ) -> Network:
        """A net with weights drawn by ``seed``, prepared for these training rows."""
        loss, n_out = self._loss()
        return new_net(
            self,
            rows,
            settings,
            seed,
            loss=loss,
            n_out=n_out,
            device=device,
            dtype=dtype,
            encoder=encoder,
            classes=self._class_names(),
            target_name=target_name,
        )

    def _continue(self, training: FitRows, device: Backend, *, one_epoch: bool) -> Settings:
        """With the net of the fit before, on this device; the settings of this fit."""
        settings = settings_of(self, len(training.y), self._recipe, one_epoch=one_epoch)
        if tuple(settings.hidden) != (widths := self._net.widths[1:-1]):
            raise OptionError(
                f"hidden_layer_sizes: expected {tuple(widths)} as in the fit before, got {self.hidden_layer_sizes!r}",
                hint="warm_start=False, and fit",
            )
        if self._net.backend.device != device.device:
            self._net = self._net.copy(backend=device)
        if not one_epoch:  # a partial_fit continues with the solver, and moves the scale as a whole
            self._net.preparation = prepared_further(self._net.preparation, training.X, training.y, training.weights)
            self._solver_state = SolverState()
        return settings

    def _validation(self, eval_set: Any) -> FitRows:
        """(X, y) or (X, y, sample_weight) as the net takes them."""
        if not isinstance(eval_set, tuple | list) or len(eval_set) not in {2, 3}:
            kind = type(eval_set).__name__
            raise OptionError(f"eval_set: expected (X, y) or (X, y, sample_weight), got {kind}")
        X, y, *rest = eval_set
        with error_context("eval_set"):
            rows = self._validated(X, y, rest[0] if rest else None, self._net.backend, first=False)
            targets = self._encode(rows.y, None, first=False)
        return FitRows(rows.matrix(self._net.preparation.encoder), targets, rows.weights)

    def _split(self, y: np.ndarray, random: np.random.RandomState) -> tuple[np.ndarray, np.ndarray]:
        return split_rows(y, self.validation_fraction, random, by_class=self._is_of_classes())

    def _plan(
        self,
        training: FitRows,
        settings: Settings,
        seed: int,
        validation: FitRows | None,
        *,
        one_epoch: bool,
        leaves_out: bool,
    ) -> FitPlan:
        monitor = MonitorChoice(self.monitor, self._score_metric, self._net.loss) if validation else None
        plan = plan_fit(
            self,
            self._net,
            settings,
            self._solver_state,
            len(training.y),
            seed,
            seen=self.t_,
            monitor=monitor,
            one_epoch=one_epoch,
            score=self._score_metric,
            leaves_out=leaves_out,
        )
        self._solver_state = plan.state
        return plan

    def _train(
        self,
        training: FitRows,
        validation: FitRows | None,
        plan: FitPlan,
        unit: float,
        left_out: LeftOutRows | None,
        *,
        moves_scale: bool,
    ) -> Run:
        """``moves_scale``: the standardisation takes these rows in, unless the training fails."""
        X, y, weights = training
        scale = self._scale.followed_by(X, y, weights, unit) if moves_scale else None
        with scale_applied(scale, self._net):
            run = plan.trainer.fit(
                X,
                y,
                sample_weight=weights,
                class_weight=self._class_weights(),
                validation=validation,
                left_out=None if left_out is None else left_out.mask,
            )
        if scale is not None:
            self._scale = scale
        return run

    def _learn_from_left_out(self, training: FitRows, run: Run, left_out: LeftOutRows, seed: int) -> None:
        if run.stopped == "interrupted":
            return
        found = learn_from_left_out(self._net, training, run, left_out, seed, self._class_weights())
        self.shrinkage_, self.oof_score_ = found.shrinkage, found.score
        self.oof_prediction_ = self._as_predicted(found.predictions)

    def _shrink(self, training: FitRows, settings: Settings, seed: int, run: Run) -> float | None:
        """The factor by which predictions were shrunk to the constant; None if the net is as it was trained."""
        if run.stopped == "interrupted":
            return None
        net, recipe = self._net, self._recipe

        def new_net(rows: FitRows) -> Network:
            encoder = net.preparation.encoder
            return self._new_net(rows, settings, seed, device=net.backend, dtype=str(net.dtype), encoder=encoder)

        def trainer(fold_net: Network, rows: int) -> Trainer:
            return fold_trainer(
                self,
                fold_net,
                recipe,
                rows,
                seed,
                seen=self.t_,
                epochs=run.history.epochs,
                rows_of_fit=len(training.y),
            )

        folds = FoldTraining(new_net, trainer, self._class_weights(), self._is_of_classes())
        return shrink_by_folds(net, training, seed, folds)


def _counted(rows: FitRows) -> int:
    """Rows that weigh anything."""
    return len(rows.y) if rows.weights is None else int(np.count_nonzero(rows.weights))
