"""What the classifier and the regressor share: from checked rows to a fit."""

from __future__ import annotations

import abc
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar, cast

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.metaestimators import available_if

from chainrule.backends import Backend
from chainrule.errors import OptionError, error_context
from chainrule.estimators.array_namespaces import namespace_of
from chainrule.estimators.early_stopping import split_rows
from chainrule.estimators.fit_rows import FitRows
from chainrule.estimators.net_fitting import NetFitting
from chainrule.estimators.presets import preset_of
from chainrule.estimators.solvers import (
    warn_of_batch_size,
)
from chainrule.estimators.validation import WIDE, ValidatedRows, validated_rows
from chainrule.host_memory import out_of_memory_hint
from chainrule.nn.row_format import DTYPES, dtype_name
from chainrule.options import one_of

Method = TypeVar("Method", bound=Callable[..., Any])


def if_solver_has_epochs(method: Method) -> Method:
    """A method that estimators with ``solver="lbfgs"`` do not have."""
    return cast(Method, available_if(lambda self: self._has_epochs())(method))


class BaseMLP(NetFitting):
    """A net behind scikit-learn's methods. Subclasses say what targets are: :meth:`_encode`, :meth:`_loss`."""

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        tags.array_api_support = True
        return tags

    # ---- what a subclass says -----------------------------------------------------------------------

    @abc.abstractmethod
    def _encode(self, y: Any, classes: Any, *, first: bool, same: bool = False) -> np.ndarray:
        """Targets as the loss takes them: classes or columns are learnt at the ``first`` fit; with ``same``, all of
        them must be in a later one too."""

    def _has_epochs(self) -> bool:
        if self.solver == "lbfgs":
            raise AttributeError("partial_fit is only available for stochastic optimizers. lbfgs is not stochastic.")
        return True

    # ---- fitting ------------------------------------------------------------------------------------

    @out_of_memory_hint("X as float32 is not copied if it is in order; or use fewer rows", doing="fitting")
    def _fit(
        self, X: Any, y: Any, sample_weight: Any, eval_set: Any = None, *, classes: Any = None, one_epoch: bool = False
    ) -> None:
        """``one_epoch`` is a ``partial_fit``."""
        first = not hasattr(self, "history_") or not (self.warm_start or one_epoch)  # without: no fit was completed
        if one_epoch and self.early_stopping:
            raise ValueError("partial_fit does not support early_stopping=True")
        for name in ("oof_prediction_", "oof_score_"):  # of a fit before, whose rows were others
            self.__dict__.pop(name, None)
        device = self._backend()
        rows = self._validated(X, y, sample_weight, device, first=first)
        targets = self._encode(rows.y, classes, first=first, same=not first and not one_epoch)
        random = check_random_state(self.random_state)
        seed = int(random.randint(np.iinfo(np.int32).max))
        split = self._split(targets, random) if self.early_stopping and eval_set is None else None
        train, valid = split or (None, None)
        if first:
            self._preset = preset_of(self, one_epoch=one_epoch)
        encoder = self._first_encoder(rows, targets, train) if first else self._net.preparation.encoder
        everything = FitRows(rows.matrix(encoder), targets, rows.weights)
        training = everything.take(train)
        settings = self._settings(training, first=first, one_epoch=one_epoch)
        # Rows that the user holds out choose the best epoch; a warm start needs the weights as they are.
        judges = split is None and eval_set is None and not (one_epoch or self.warm_start)
        leaves_out = judges and settings.table is not None
        dealt, members = None, settings.members if leaves_out else 1
        if encoder is not None and encoder.has_statistics:
            dealt = self._hide_own_targets(
                training, rows, train, encoder, members, seed, first=first, one_epoch=one_epoch
            )
        rows = replace(rows, X=everything.X)  # the columns of a table have given their memory back
        if first:
            self._begin(training, settings, device, seed, rows, encoder)
        else:
            self._continue(training, settings, device, one_epoch=one_epoch)
        validation = everything.take(valid) if split else None if eval_set is None else self._validation(eval_set)
        warn_of_batch_size(self, len(training.y))
        left_out = self._leave_out(training, settings, seed, dealt) if leaves_out else None
        leaves_out = left_out is not None and left_out.mask is not None
        plan = self._plan(training, settings, seed, validation, one_epoch=one_epoch, leaves_out=leaves_out)
        try:
            run = self._train(training, validation, plan, rows.unit, left_out, moves_scale=one_epoch and not first)
            self.shrinkage_ = self.oof_prediction_ = self.oof_score_ = None
            if left_out is not None:
                self._learn_from_left_out(training, run, left_out, seed)
            elif self.shrink and judges:
                self.shrinkage_ = self._shrink(training, settings, seed, run)
        finally:
            namespace = namespace_of(X)
            self._publish_weights(namespace)
        if left_out is not None and namespace is not None and self.oof_prediction_ is not None:
            self.oof_prediction_ = namespace.to_device(self.oof_prediction_)
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
