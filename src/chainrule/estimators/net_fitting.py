"""The net of an estimator in a fit: made or continued, trained, and told how far to be trusted."""

from __future__ import annotations

import abc

import numpy as np

from chainrule.backends import Backend
from chainrule.errors import OptionError
from chainrule.estimators.constant_columns import prepared_further
from chainrule.estimators.convergence import MonitorChoice
from chainrule.estimators.fit_rows import FitRows
from chainrule.estimators.fitted_net import FittedNet
from chainrule.estimators.held_out import FoldTraining, shrink_by_folds
from chainrule.estimators.new_net import new_net
from chainrule.estimators.own_targets import host_table, own_targets_hidden
from chainrule.estimators.running_scale import RunningScale, scale_applied
from chainrule.estimators.solvers import FitPlan, SolverState, fold_trainer, plan_fit, settings_of
from chainrule.estimators.validation import ValidatedRows
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.columns.target_columns import TargetColumns
from chainrule.nn.losses.names import Loss, Task
from chainrule.nn.network import Network
from chainrule.train.ensemble_fit import LeftOutRows, begin_line, learn_from_left_out, leave_out_rows
from chainrule.train.feeding.class_weights import ClassWeight
from chainrule.train.recipe import Preset, Recipe, Settings, recipe_for
from chainrule.train.records.run import Run
from chainrule.train.trainer import Trainer

FLOAT32_ROWS = 1_000  # from here on float64, which takes twice as long, tells no more


class NetFitting(FittedNet, abc.ABC):
    """What happens to the net from one fit to the next."""

    # ---- what a subclass says -----------------------------------------------------------------------

    _recipe: Recipe
    _preset: Preset | None
    _scale: RunningScale
    _are_targets_numbers: bool

    @abc.abstractmethod
    def _loss(self) -> tuple[Loss, int]:
        """The loss and the outputs of a net for these targets."""

    @property
    def _task(self) -> Task:
        return "regress" if self._are_targets_numbers else "classify"

    def _class_weights(self) -> ClassWeight | None:
        return None

    def _class_names(self) -> tuple[str, ...]:
        """For the model file: the names of the classes 0, 1, ..., if a row has one."""
        return ()

    def _as_predicted(self, outputs: np.ndarray) -> np.ndarray:
        """What ``predict_proba``, or ``predict`` of a regression, makes of the outputs of the net, (n, n_out)."""
        return outputs[:, 0] if outputs.shape[1] == 1 else outputs

    def _is_of_classes(self) -> bool:
        """Whether a row has one class, so that a split may keep their shares."""
        return False

    # ---- the net -------------------------------------------------------------------------------------

    def _begin(
        self,
        training: FitRows,
        settings: Settings,
        device: Backend,
        seed: int,
        rows: ValidatedRows,
        encoder: TableEncoder | None,
    ) -> None:
        """A new net, with the first of its weights, for these training rows."""
        self._net = self._new_net(
            training,
            settings,
            seed,
            device=device,
            dtype=self._net_dtype(rows),
            encoder=encoder,
            target_name=rows.target_name,
        )
        self._scale = RunningScale.of(self._net.preparation, training.X, training.y, training.weights, rows.unit)
        self.n_layers_, self.t_ = len(settings.hidden) + 2, 0
        self._solver_state = SolverState()

    def _settings(self, training: FitRows, *, first: bool, one_epoch: bool) -> Settings:
        """By the recipe, or the preset, that the net is made by, and stays with."""
        if first:
            self._recipe = recipe_for(_counted(training))
        return settings_of(
            self, len(training.y), self._recipe, preset=self._preset, task=self._task, one_epoch=one_epoch
        )

    def _net_dtype(self, rows: ValidatedRows) -> str:
        """ "auto" is float32 for an ensemble on many rows, whose X is standardised before that in its own dtype."""
        is_large = self._preset is not None and len(rows) >= FLOAT32_ROWS
        return "float32" if is_large and self.dtype == "auto" else str(rows.dtype)

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

    def _continue(self, training: FitRows, settings: Settings, device: Backend, *, one_epoch: bool) -> None:
        """With the net of the fit before, on this device."""
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

    def _first_encoder(self, rows: ValidatedRows, targets: np.ndarray, train: np.ndarray | None) -> TableEncoder | None:
        """Of the training rows; nets for tables have statistics of the target for rarer categories."""
        target = None if self._preset is None else self._target_columns(targets, rows.target_name)
        return rows.fit_encoder(train, embed_above=self.embed_above, target=target)

    def _target_columns(self, y: np.ndarray, name: str) -> TargetColumns | None:
        """What categories have statistics of; None for too many classes or targets."""
        if self._is_of_classes():
            return TargetColumns.of_classes(y, self._class_names())
        return TargetColumns.of_numbers(y, name)

    def _hide_own_targets(
        self,
        training: FitRows,
        rows: ValidatedRows,
        train: np.ndarray | None,
        encoder: TableEncoder,
        members: int,
        seed: int,
        *,
        first: bool,
        one_epoch: bool,
    ) -> LeftOutRows | None:
        """Statistics of the target in X become those of rows of other blocks that none of so many members leaves out;
        which these are, None if the statistics stay."""
        target = self._target_columns(training.y, rows.target_name)
        assert target is not None  # else there would be no statistics
        return own_targets_hidden(
            training,
            rows,
            train,
            encoder,
            target,
            members,
            seed,
            by_class=self._is_of_classes(),
            first=first,
            one_epoch=one_epoch,
        )

    def _leave_out(self, training: FitRows, settings: Settings, seed: int, dealt: LeftOutRows | None) -> LeftOutRows:
        """The rows that members of an ensemble are not to see, if they are not yet ``dealt``; its line begins as that
        of the others."""
        table = host_table(training)
        if dealt is None:
            classes = table.y.reshape(-1) if self._is_of_classes() else None
            dealt = leave_out_rows(table, settings.members, seed, classes=classes)
        begin_line(self._net, settings, table, dealt)
        return dealt

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
        found = learn_from_left_out(
            self._net,
            host_table(training),
            run,
            left_out,
            seed,
            self._class_weights(),
            shrinks=bool(self.shrink),
        )
        self.shrinkage_, self.oof_score_ = found.factor, found.score
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

        folds = FoldTraining(new_net, trainer, self._class_weights(), self._is_of_classes(), self.threads)
        return shrink_by_folds(net, training, seed, folds)


def _counted(rows: FitRows) -> int:
    """Rows that weigh anything."""
    return len(rows.y) if rows.weights is None else int(np.count_nonzero(rows.weights))
