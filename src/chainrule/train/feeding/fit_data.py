"""From what ``fit`` is given to the rows of a fit: weighted by class, split, on the device or left on the host."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import OptionError, error_context
from chainrule.host_memory import out_of_memory_hint
from chainrule.nn.inputs.row_checks import check_weights, on_host
from chainrule.nn.inputs.rows import Rows
from chainrule.nn.network import Network
from chainrule.optim.lbfgs import LBFGS
from chainrule.options import real_number
from chainrule.train.feeding.batches import split_order, split_rows
from chainrule.train.feeding.class_weights import ClassWeight, ClassWeights, SampleWeights
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.feeding.streaming import rows_need_streaming
from chainrule.train.out_of_fold.left_out import LeftOut
from chainrule.train.settings import TrainingSettings


class FitData:
    """The arguments of :meth:`Trainer.fit`, with the weights of classes multiplied into those of rows.

    Parameters
    ----------
    net, settings : that are to be trained, and how
    X, y, sample_weight, class_weight, validation, left_out : as for :meth:`Trainer.fit`

    Raises
    ------
    OptionError, DataError   if ``validation`` or ``class_weight`` is not as described there.
    """

    def __init__(
        self,
        net: Network,
        settings: TrainingSettings,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        class_weight: ClassWeight | None = None,
        validation: Any = None,
        left_out: Any = None,
    ) -> None:
        self._net, self._settings = net, settings
        self.X, self.y, self.sample_weight, self.validation = X, y, sample_weight, validation
        self.fraction = validation_fraction(validation)
        if left_out is not None and self.fraction is not None:
            raise OptionError(
                f"validation: expected (X, y) beside left_out, got {self.fraction:g}",
                hint="left_out names the rows of X: split them before",
            )
        self.left_out = None if left_out is None else LeftOut(left_out, net.members, len(X))
        self._own: SampleWeights | None = None  # with class weights: those of the rows themselves, for metrics
        if class_weight is not None:
            self._weigh_by_class(class_weight)

    def _weigh_by_class(self, class_weight: ClassWeight) -> None:
        own = self._own = SampleWeights(self._net, self._class_weights(class_weight))
        self.sample_weight = own.for_loss(self.y, self.sample_weight)
        if self.fraction is None and self.validation is not None:
            held_X, held_y, *held_weight = self.validation
            with error_context("validation"):
                held_weights = own.for_loss(held_y, *held_weight, held_out=True)
            self.validation = held_X, held_y, held_weights

    def _class_weights(self, class_weight: ClassWeight) -> ClassWeights:
        """By the rows that will be trained on: those that a split holds out have no say."""
        net, y, sample_weight = self._net, self.y, self.sample_weight
        if self.fraction is None:
            return ClassWeights(net, class_weight, y, sample_weight)
        be = net.backend
        y = on_host(be, y, "y")
        training = be.download(split_order(be, len(y), self.fraction, self._settings.seed)[0])
        if sample_weight is not None:
            sample_weight = check_weights(on_host(be, sample_weight, "sample_weight"), len(y))[training]
            if not sample_weight.any():
                sample_weight = None  # the split itself is refused
        return ClassWeights(net, class_weight, y[training], sample_weight)

    def rows(self) -> tuple[Rows | HostRows, Rows | None]:
        """The rows to train on, and those held out for validation if there are to be any."""
        streamed = self._is_streamed()
        with out_of_memory_hint(_rows_hint(streamed), backend=self._net.backend):
            return self._host_rows() if streamed else self._resident_rows()

    def _is_streamed(self) -> bool:
        if isinstance(self._settings.optimizer, LBFGS):
            return False
        if self._settings.stream is not None:
            return self._settings.stream
        return rows_need_streaming(self._net, self.X, self.y, split=self.fraction is not None)

    def _host_rows(self) -> tuple[HostRows, Rows | None]:
        rows = HostRows(self._net, self.X, self.y, self.sample_weight)
        if self._own is not None:
            rows.weigh_by_class(self._own.training)
        if self.fraction is not None:
            return rows.split(self.fraction, self._settings.seed)
        return rows, self._held_out()

    def _resident_rows(self) -> tuple[Rows, Rows | None]:
        net = self._net
        rows = net.upload_rows(self.X, self.y, self.sample_weight)
        if self._own is not None:
            rows = self._own.on_device(rows, self._own.training)
        if self.fraction is not None:
            return split_rows(net.backend, rows, self.fraction, self._settings.seed, net.loss)
        return rows, self._held_out()

    def _held_out(self) -> Rows | None:
        """The rows of (X, y) or (X, y, weights) on the device."""
        if self.validation is None:
            return None
        with error_context("validation"):
            rows = self._net.upload_rows(*self.validation, training=False)
            return rows if self._own is None else self._own.on_device(rows, self._own.held_out)


def validation_fraction(validation: Any) -> float | None:
    """The fraction of the rows to hold out; None if there is none, or rows are given. OptionError for anything else."""
    if isinstance(validation, tuple | list):
        if len(validation) not in {2, 3}:
            raise OptionError(f"validation: expected (X, y) or (X, y, weights), got {len(validation)} arrays")
        return None
    if isinstance(validation, np.ndarray):
        raise OptionError(
            f"validation: expected a fraction or (X, y), got one array {validation.shape}",
            hint="validation=(X, y), or 0.2 to hold out a fifth of the rows",
        )
    return None if validation is None else real_number("validation", validation, below=1.0, above=True)


def _rows_hint(streamed: bool) -> str:
    if streamed:
        return "the rows held out for validation stay on the device: hold out fewer"
    return "Trainer(stream=True) leaves the rows where they are, in a NumPy array or a memory map"
