"""The trainer: settings, and the way from rows to a fit."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.errors import OptionError, error_context
from chainrule.host_memory import out_of_memory_hint
from chainrule.nn.inputs.row_checks import check_weights, on_host
from chainrule.nn.inputs.rows import Rows
from chainrule.nn.network import Network
from chainrule.optim.adam import Adam
from chainrule.optim.base import Moments, Optimizer
from chainrule.optim.lbfgs import LBFGS
from chainrule.options import real_number, whole_number
from chainrule.random import check_seed
from chainrule.train.checkpoints.checkpoint import Checkpoint
from chainrule.train.checkpoints.resuming import Identity
from chainrule.train.checkpoints.writer import Checkpoints, as_checkpoints, newest
from chainrule.train.feeding.batches import split_order, split_rows
from chainrule.train.feeding.class_weights import ClassWeight, ClassWeights, OwnWeights
from chainrule.train.feeding.host_rows import HostRows
from chainrule.train.feeding.streaming import rows_need_streaming
from chainrule.train.fit import Fit
from chainrule.train.full_batch import FullBatchFit, refuse_options
from chainrule.train.monitoring.early_stopping import EarlyStopping
from chainrule.train.monitoring.validation_metrics import Metric, MetricFunction, find_metrics
from chainrule.train.recipe import MOST_STEPS
from chainrule.train.records.callbacks import Callback, EpochFunction, as_callbacks
from chainrule.train.records.run import EpochRecord, Run
from chainrule.train.shrinkage import shrink_by

__all__ = ["EpochRecord", "Run", "Trainer"]


class Trainer:
    """Trains a net, on rows that stay on its device or, where they do not fit there, come to it block by block.

    Parameters
    ----------
    net : the Network, changed in place
    optimizer : its settings; without ``moments`` its moments start at zero with every fit. An LBFGS takes all rows at
        once and makes as many iterations as it says, each an epoch of the history: batch_size, epochs, shuffle and
        drop_last mean nothing to it and are not looked at; ema, accumulate and stream=True are refused
    batch_size : rows a step, at most as many as there are; the last batch of an epoch may have fewer
    epochs : passes over the rows, at most
    shuffle : deal the rows anew every epoch
    drop_last : leave out a ragged last batch
    seed : of the shuffles and of a validation split
    early_stopping : an EarlyStopping, or None to train all epochs
    monitor : the metric whose best epoch's weights are kept when there is a validation set (or early stopping);
        "valid_loss" by default. Of one that says nothing (nan, or the same whatever the net says) there is a
        UserWarning, and the validation loss is watched
    metrics : also record the metric of the loss (accuracy, r2, d2), not the loss alone; or a list of further ones, of
        the validation rows at the end of each epoch: names ("roc_auc", ...), functions of (y, predicted), Metrics.
        r2 and d2 of several target columns are recorded of validation rows alone
    progress : a progress line on stderr, where that is a terminal
    callbacks : Callbacks, or functions called with an EpochRecord at the end of every epoch
    accumulate : batches that make one update, whose gradient is that of one batch of all their rows: the memory of
        ``batch_size`` rows, the steps of ``accumulate * batch_size``. The last update of an epoch may have fewer
    l2 : alpha of a penalty in the loss, alpha / 2 sum W^2 a batch, of what weight decay is of; where the loss is a mean
        it is divided by the rows (the sum of their weights, whose mean is 1) of the batch, and so is its gradient. That
        is scikit-learn's ``alpha``: the loss that is recorded holds it, the loss of validation rows does not
    ema : decay of an exponential moving average of the weights, in (0, 1), 0.999 say; None for none. Validation, the
        best epoch, callbacks and the net in the end have the averages; training goes on with the raw weights
    stream : whether the rows stay on the host and are sent to the device in blocks, each while the one before is
        trained on; None streams where they would take most of the device's free memory. The result is the same, to
        the bit; X is a NumPy array or a memory map
    moments : Moments that a fit goes on from and leaves as they are in the end, so that the next fit may go on: the
        optimiser's and the number of its steps. Shuffles and schedules begin anew
    bias_from_targets : begin at the best constant prediction: where the output layer's bias is all 0, it is first set
        to the log of the training targets' mean (poisson, gamma), their quantiles (quantile) or their mean and log
        variance (gaussian_nll), by weight. Other losses begin where the net is; a bias that is not 0 stays
    divergence_factor : stop as diverged after an epoch whose mean loss is so many times as large as that of the first
        batch before any update and as that of the best constant prediction (and as 1): a run does not come back from
        there. None: only where the loss is no longer finite
    checkpoints : a folder, or Checkpoints that also say how often: what is written there while training, ``fit`` goes
        on from with ``resume``. None: nothing is written
    shrink : with validation rows, draw the predictions towards the best constant one in the end, by as much as these
        rows ask for (:mod:`chainrule.train.shrinkage`): a net that learnt noise ends as the constant. Changes the
        output layer; Run.shrinkage has the factor. Nothing is done for a loss of one's own, whose constant is not known
    """

    def __init__(
        self,
        net: Network,
        optimizer: Optimizer | None = None,
        *,
        batch_size: int = 128,
        epochs: int = 30,
        shuffle: bool = True,
        drop_last: bool = False,
        seed: int = 0,
        early_stopping: EarlyStopping | None = None,
        monitor: str | None = None,
        metrics: bool | Sequence[str | Metric | MetricFunction] = True,
        progress: bool = False,
        callbacks: Sequence[Callback | EpochFunction] = (),
        stream: bool | None = None,
        accumulate: int = 1,
        ema: float | None = None,
        bias_from_targets: bool = True,
        l2: float = 0.0,
        divergence_factor: float | None = 1e3,
        checkpoints: Checkpoints | str | Path | None = None,
        moments: Moments | None = None,
        shrink: bool = False,
    ) -> None:
        if not isinstance(optimizer, Optimizer | None):
            raise OptionError(f"optimizer: expected an Optimizer, got {optimizer!r}", hint="cr.Adam(lr=1e-3)")
        if not isinstance(early_stopping, EarlyStopping | None):
            raise OptionError(
                f"early_stopping: expected an EarlyStopping or None, got {early_stopping!r}",
                hint="cr.EarlyStopping(patience=10)",
            )
        if callable(callbacks) or isinstance(callbacks, Callback):
            raise OptionError("expected a list of callbacks, got one", hint=f"callbacks=[{callbacks!r}]")
        if not isinstance(stream, bool | None):
            raise OptionError(f"stream: expected True, False or None, got {stream!r}")
        if not isinstance(bias_from_targets, bool):
            raise OptionError(f"bias_from_targets: expected True or False, got {bias_from_targets!r}")
        if isinstance(optimizer, LBFGS):
            refuse_options(optimizer, stream=stream, accumulate=accumulate, ema=ema, checkpoints=checkpoints)
            batch_size, epochs, shuffle, drop_last = sys.maxsize, optimizer.max_iterations, False, False
        self.net = net
        self.optimizer = optimizer if optimizer is not None else Adam()
        self.batch_size, self.epochs = (
            whole_number("batch_size", batch_size),
            whole_number("epochs", epochs, below=MOST_STEPS),
        )
        self.shuffle, self.drop_last, self.seed = shuffle, drop_last, check_seed(seed)
        self.early_stopping = early_stopping
        self.monitor = monitor
        self.metrics, self.valid_metrics = find_metrics(metrics, net.loss)
        self.progress, self.callbacks = progress, tuple(callbacks)
        as_callbacks(self.callbacks)  # checks them
        self.stream = stream
        self.accumulate = whole_number("accumulate", accumulate)
        self.ema = None if ema is None else real_number("ema", ema, above=True, below=1.0)
        self.bias_from_targets, self.shrink = bias_from_targets, bool(shrink)
        self.divergence_factor = None
        if divergence_factor is not None:
            self.divergence_factor = real_number("divergence_factor", divergence_factor, low=1.0, above=True)
        self.checkpoints = as_checkpoints(checkpoints)
        self.l2 = real_number("l2", l2)
        if self.l2 and self.accumulate > 1:
            raise OptionError(
                f"l2={l2} came with accumulate={accumulate}: the penalty would count once a batch of each update",
                hint="Adam(weight_decay=...), which counts once an update",
            )
        if not isinstance(moments, Moments | None):
            raise OptionError(f"moments: expected Moments() or None, got {moments!r:.60}")
        self.moments = moments
        if moments is not None and self.checkpoints is not None:
            raise OptionError(
                "moments came with checkpoints: a fit is gone on with from the one or from the other",
                hint="fit(resume=...), or Moments alone",
            )
        self._stop_requested = False

    def stop(self) -> None:
        """Ask a running fit to end within a few steps; for a signal handler or another thread."""
        self._stop_requested = True

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        class_weight: ClassWeight | None = None,
        validation: Any = None,
        diagnose: bool = False,
        resume: str | Path | None = None,
        resume_anywhere: bool = False,
    ) -> Run:
        """Train, and return what happened.

        Parameters
        ----------
        X : (n, n_in) numbers, finite
        y : what the net's loss wants, one a row
        sample_weight : (n,) numbers from 0 up, or None. Only their ratios mean anything if the loss is a mean: they are
            divided by their mean over the rows that weigh anything
        class_weight : for a classification "balanced", by the rows that are trained on, or {label: weight}: rows are
            weighted by it in the loss, ``valid_loss`` too, but not in metrics; see
            :class:`chainrule.train.feeding.class_weights.ClassWeights`
        validation : None, a fraction in (0, 1) of the rows to hold out, or (X, y) or (X, y, sample_weight). Of a
            fraction no class has all of its rows held out
        diagnose : look into the layers at the first step and at the end of each epoch; ``Run.diagnosis`` says what is
            wrong and what to do. The weights are the same with and without, to the bit
        resume : a checkpoint, or a folder of them: go on from there, with the same settings and rows, to the same
            weights as a fit that never stopped, bit for bit on the same device with the same versions. What the net had
            does not matter; callbacks are told of a start, and of the epochs from there on
        resume_anywhere : also where the device, a version or the number of threads differs

        With validation rows the net ends with the weights of its best epoch, also when it is interrupted (Ctrl-C or
        :meth:`stop`), which returns the Run so far instead of raising.

        Raises
        ------
        OptionError, DataError, ModelFileError   if ``resume`` is of other settings or rows, or no checkpoint.
        ShapeError, DataError   if the rows do not fit the net. Of streamed rows the numbers in X are looked at in the
                                first epoch, each before it is used; the net then has the weights that it came with.
        OutOfMemoryError        if there is not memory enough, on the device or the host; the hint has the largest batch
                                that fits. Before the first step, and nearly all memory is laid out there, the net is as
                                it was. Later it has the weights of the best epoch, or without validation those of the
                                last update, of which a part may be missing: the net can be used and trained on.
                                Checkpoints hold whole updates alone.
        DivergenceError         if the loss stops being finite; ``error.run`` is the Run so far. The net has the weights
                                of the best epoch, or without validation those with which the failing step began.
        """
        self._stop_requested = False
        with self.net.backend.running(), out_of_memory_hint("", doing="training", backend=self.net.backend):
            fraction, own = self._fraction(validation), None
            if class_weight is not None:
                own = OwnWeights(self.net, self._class_weights(class_weight, y, sample_weight, fraction))
                sample_weight = own.take(y, sample_weight)
                if fraction is None and validation is not None:
                    held_X, held_y, *held_weight = validation
                    with error_context("validation"):
                        held_weights = own.take(held_y, *held_weight, held_out=True)
                    validation = held_X, held_y, held_weights
            checkpoint = None if resume is None else Checkpoint.read(newest(resume))
            rows, held_out = self._rows(X, y, sample_weight, validation, fraction, own)
            identity = None
            if checkpoint is not None or self.checkpoints is not None:
                identity = Identity.of(self, X, y, sample_weight, validation)
                if checkpoint is not None:
                    identity.refuse_another(checkpoint, anywhere=resume_anywhere)
            kind = FullBatchFit if isinstance(self.optimizer, LBFGS) else Fit
            run = kind(self, rows, held_out, diagnose=diagnose, identity=identity, resume=checkpoint).run_epochs()
            if self.shrink and held_out is not None:
                run.shrinkage = shrink_by(self.net, rows, held_out)
            return run

    def _fraction(self, validation: Any) -> float | None:
        """The fraction of the rows to hold out; None for none, or rows of their own. OptionError for neither."""
        if isinstance(validation, tuple | list):
            if len(validation) not in {2, 3}:
                raise OptionError(f"validation of {len(validation)} arrays came, (X, y) or (X, y, weights) expected")
            return None
        if isinstance(validation, np.ndarray):
            raise OptionError(
                f"expected a fraction or (X, y), got validation of one array {validation.shape}",
                hint="validation=(X, y), or 0.2 to hold out a fifth of the rows",
            )
        return None if validation is None else real_number("validation", validation, below=1.0, above=True)

    def _class_weights(
        self, class_weight: ClassWeight, y: Any, sample_weight: Any, fraction: float | None
    ) -> ClassWeights:
        """By the rows that will be trained on: those that a split holds out have no say."""
        if fraction is None:
            return ClassWeights(self.net, class_weight, y, sample_weight)
        be = self.net.backend
        y = on_host(be, y, "y")
        training = be.download(split_order(be, len(y), fraction, self.seed)[0])
        if sample_weight is not None:
            sample_weight = check_weights(on_host(be, sample_weight, "sample_weight"), len(y))[training]
            if not sample_weight.any():
                sample_weight = None  # the split itself is refused
        return ClassWeights(self.net, class_weight, y[training], sample_weight)

    def _rows(
        self, X: Any, y: Any, sample_weight: Any, validation: Any, fraction: float | None, own: OwnWeights | None
    ) -> tuple[Rows | HostRows, Rows | None]:
        """The rows to train on and those that are held out, where they are to be."""
        net = self.net
        streamed = self.stream if not isinstance(self.optimizer, LBFGS) else False
        if streamed is None:
            streamed = rows_need_streaming(net, X, y, split=fraction is not None)
        with out_of_memory_hint(_rows_hint(streamed), backend=net.backend):
            if streamed:
                host_rows = HostRows(net, X, y, sample_weight)
                if own is not None:
                    host_rows.weigh_by_class(own.training)
                if fraction is not None:
                    return host_rows.split(fraction, self.seed)
                return host_rows, _held_out(net, validation, own)
            rows = net.upload_rows(X, y, sample_weight)
            if own is not None:
                rows = own.on_device(rows, own.training)
            if fraction is not None:
                return split_rows(net.backend, rows, fraction, self.seed, net.loss)
            return rows, _held_out(net, validation, own)


def _held_out(net: Network, validation: Any, own: OwnWeights | None) -> Rows | None:
    """The rows of (X, y) or (X, y, weights) on the device."""
    if validation is None:
        return None
    with error_context("validation"):
        rows = net.upload_rows(*validation, training=False)
        return rows if own is None else own.on_device(rows, own.held_out)


def _rows_hint(streamed: bool) -> str:
    if streamed:
        return "the rows held out for validation stay on the device: hold out fewer"
    return "Trainer(stream=True) leaves the rows where they are, in a NumPy array or a memory map"
