"""The trainer: a net and the settings of its training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from chainrule.errors import OptionError
from chainrule.host_memory import out_of_memory_hint
from chainrule.nn.network import Network
from chainrule.optim.adam import Adam
from chainrule.optim.base import Moments, Optimizer
from chainrule.optim.lbfgs import LBFGS
from chainrule.train.checkpoints.checkpoint import Checkpoint
from chainrule.train.checkpoints.resuming import Identity
from chainrule.train.checkpoints.writer import Checkpoints, as_checkpoints, newest
from chainrule.train.feeding.class_weights import ClassWeight
from chainrule.train.feeding.fit_data import FitData
from chainrule.train.fit import Fit
from chainrule.train.full_batch import FullBatchFit
from chainrule.train.misplaced_options import names_misplaced_options
from chainrule.train.monitoring.early_stopping import EarlyStopping
from chainrule.train.monitoring.validation_metrics import Metric, MetricFunction, find_metrics
from chainrule.train.out_of_fold.predictions import OutOfFoldRows
from chainrule.train.records.callbacks import Callback, EpochFunction, as_callbacks
from chainrule.train.records.run import EpochRecord, Run
from chainrule.train.settings_as_attributes import SettingsAsAttributes
from chainrule.train.shrinkage.shrink import shrink_by
from chainrule.train.stop_request import StopRequest
from chainrule.train.work import work_of

__all__ = ["EpochRecord", "Run", "Trainer"]


class Trainer(SettingsAsAttributes):
    """Trains a net, on rows that stay on its device or, if they do not fit there, are sent to it block by block.

    The settings are read, and changed for the next fit, as attributes: ``trainer.epochs``.

    Parameters
    ----------
    net : the Network, changed in place
    optimizer : its settings; without ``moments`` its moments start at zero with every fit. An LBFGS takes all rows at
        once and makes as many iterations as it says, each an epoch of the history: batch_size, epochs, shuffle and
        drop_last mean nothing to it and are ignored; ema, accumulate and stream=True are refused
    batch_size : rows per step, at most as many as there are; the last batch of an epoch may have fewer
    epochs : passes over the rows, at most
    shuffle : a new order of the rows in every epoch
    drop_last : leave out a ragged last batch
    seed : of the shuffles and of a validation split
    early_stopping : an EarlyStopping, or None to train all epochs
    monitor : the metric whose best epoch's weights are kept if there is a validation set (or early stopping);
        "valid_loss" by default. If it is undefined or constant (nan, or the same whatever the net predicts) there is a
        UserWarning, and the validation loss is monitored instead
    metrics : also record the metric of the loss (accuracy, r2, d2), not the loss alone; or a list of further ones, of
        the validation rows at the end of each epoch: names ("roc_auc", ...), functions of (y, predicted), Metrics.
        r2 and d2 of several target columns are recorded of validation rows alone
    progress : a bar with the time left on a terminal, on stderr, or in a notebook; there and in a log file a line of
        every tenth of the epochs, which stays
    callbacks : Callbacks, or functions called with an EpochRecord at the end of every epoch
    accumulate : batches per update, whose gradient is that of one batch of all their rows: the memory of
        ``batch_size`` rows, the steps of ``accumulate * batch_size``. The last update of an epoch may have fewer
    l2 : alpha of a penalty in the loss of each batch, (alpha / 2) sum(W^2), over the parameters that weight decay
        applies to; if the loss is a mean, it is divided by the rows of the batch (the sum of their weights, whose mean
        is 1), and so is its gradient. That is scikit-learn's ``alpha``: the recorded loss includes it, the loss of
        validation rows does not
    ema : decay of an exponential moving average of the weights, in (0, 1), such as 0.999; None for none. Validation,
        the best epoch, callbacks and the final net use the average; training continues with the raw weights
    stream : whether the rows stay on the host and are sent to the device in blocks, each while the one before is
        trained on; None streams if they would take most of the device's free memory. The result is the same bit
        for bit; X is a NumPy array or a memory map
    moments : Moments that a fit continues from and leaves updated at its end, for the next fit: those of the
        optimiser and the number of its steps. Shuffles and schedules begin again
    bias_from_targets : begin at the best constant prediction: if the output layer's bias is all 0, it is first set
        to the log of the training targets' mean (poisson, gamma), their quantiles (quantile) or their mean and log
        variance (gaussian_nll), by weight. With other losses, and if the bias is not 0, it stays as it is
    divergence_factor : stop as diverged after an epoch whose mean loss is so many times as large as that of the first
        batch before any update, as that of the best constant prediction, and as 1: no run recovers from that.
        None: only if the loss is no longer finite
    checkpoints : a folder, or Checkpoints that also say how often: ``fit`` resumes from what is written there while
        training, with ``resume``. None: nothing is written
    shrink : with validation rows, shrink the predictions towards the best constant prediction in the end, by a factor
        chosen on these rows (:mod:`chainrule.train.shrinkage`): a net that learnt noise ends as the constant. Changes
        the output layer; Run.shrinkage has the factor. Nothing is done with a custom loss, whose constant is not known
    threads : of the host that may compute at the same time, at most; None for one per core that this process may use,
        or as many as ``OMP_NUM_THREADS`` says. Short steps take one. With another number the last bits of the weights
        may be others
    """

    net: Network
    callbacks: tuple[Callback | EpochFunction, ...]

    @names_misplaced_options
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
        threads: int | None = None,
    ) -> None:
        records_metric, valid_metrics = find_metrics(metrics, net.loss)
        as_callbacks(callbacks)  # checks them
        self.net, self.callbacks = net, tuple(callbacks)
        self._set_all(
            optimizer=Adam() if optimizer is None else optimizer,
            batch_size=batch_size,
            epochs=epochs,
            shuffle=shuffle,
            drop_last=drop_last,
            seed=seed,
            early_stopping=early_stopping,
            monitor=monitor,
            metrics=records_metric,
            valid_metrics=valid_metrics,
            progress=progress,
            stream=stream,
            accumulate=accumulate,
            ema=ema,
            bias_from_targets=bias_from_targets,
            l2=l2,
            divergence_factor=divergence_factor,
            checkpoints=as_checkpoints(checkpoints),
            moments=moments,
            shrink=shrink,
            threads=threads,
        )
        self._stop_request = StopRequest()

    def __repr__(self) -> str:
        count = len(self.callbacks)
        callbacks = f", {count} callback{'s' if count > 1 else ''}" if count else ""
        return f"<Trainer of {self.net!r}: {self.settings}{callbacks}>"

    def stop(self) -> None:
        """Ask a running fit to end within a few steps; for a signal handler or another thread."""
        self._stop_request()

    @names_misplaced_options
    def fit(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        class_weight: ClassWeight | None = None,
        validation: Any = None,
        left_out: Any = None,
        diagnose: bool = False,
        resume: str | Path | None = None,
        resume_anywhere: bool = False,
    ) -> Run:
        """Train, and return what happened.

        Parameters
        ----------
        X : (n, n_in) numbers, finite
        y : what the net's loss takes, one per row
        sample_weight : (n,) numbers from 0 up, or None. If the loss is a mean, only their ratios matter: they are
            divided by their mean over the rows of weight above 0
        class_weight : for a classification "balanced", by the rows that are trained on, or {label: weight}: rows are
            weighted by it in the loss, ``valid_loss`` too, but not in metrics; see
            :class:`chainrule.train.feeding.class_weights.ClassWeights`
        validation : None, a fraction in (0, 1) of the rows to hold out, or (X, y) or (X, y, sample_weight). With a
            fraction, no class has all of its rows held out
        left_out : of an ensemble of k, (k, n) bool: the rows that each member is not trained on. They are its honest
            test: ``left_out_loss`` in the history is the loss that the ensemble should have on new rows, from what the
            members predict for those that they did not see (``monitor="left_out_loss"`` keeps the epoch with the
            lowest), and ``Run.out_of_fold`` has the predictions of the net that is kept
        diagnose : measure the layers at the first step and at the end of each epoch; ``Run.diagnosis`` says what is
            wrong and what to do. The weights are the same with and without, bit for bit
        resume : a checkpoint, or a folder of them: continue from there, with the same settings and rows, to the same
            weights as a fit that never stopped, bit for bit on the same device with the same versions. The weights of
            the net do not matter; callbacks are told of a start, and of the epochs from there on
        resume_anywhere : also if the device, a version or the number of threads differs

        With validation rows the net ends with the weights of its best epoch, also when it is interrupted (Ctrl-C or
        :meth:`stop`), which returns the Run so far instead of raising.

        Raises
        ------
        TypeError               if there is no such option; it says where there is one.
        OptionError, DataError, ModelFileError   if ``resume`` is of other settings or rows, or not a checkpoint.
        ShapeError, DataError   if the rows do not fit the net. The numbers in X of streamed rows are checked in the
                                first epoch, each before it is used; the net then has the weights that it had before.
        OutOfMemoryError        if there is not enough memory, on the device or the host; the hint has the largest batch
                                that fits. Nearly all memory is laid out before the first step; if that fails the net is
                                as it was. Later it has the weights of the best epoch, or without validation those of
                                the last update, of which a part may be missing: the net can still be used and trained.
                                Checkpoints hold whole updates only.
        DivergenceError         if the loss stops being finite; ``error.run`` is the Run so far. The net has the weights
                                of the best epoch, or without validation those with which the failing step began.
        """
        net, settings = self.net, self.settings
        with self._fitting(), net.backend.running(), out_of_memory_hint("", doing="training", backend=net.backend):
            data = FitData(
                net,
                settings,
                X,
                y,
                sample_weight=sample_weight,
                class_weight=class_weight,
                validation=validation,
                left_out=left_out,
            )
            checkpoint = None if resume is None else Checkpoint.read(newest(resume))
            if net.members > 1 and isinstance(settings.optimizer, LBFGS):
                raise OptionError(
                    f"optimizer: expected one that trains in batches for {net.members} members, got LBFGS",
                    hint="cr.Adam(); or train the members one by one: Trainer(net.member(0), cr.LBFGS())",
                )
            rows, held_out = data.rows()
            with net.backend.fitting(work_of(net, settings, len(rows))):
                identity = self._identity(data, checkpoint, anywhere=resume_anywhere)
                kind = FullBatchFit if isinstance(settings.optimizer, LBFGS) else Fit
                run = kind(
                    net,
                    settings,
                    rows,
                    held_out,
                    callbacks=as_callbacks(self.callbacks),
                    stop_request=self._stop_request,
                    diagnose=diagnose,
                    identity=identity,
                    resume=checkpoint,
                    left_out=data.left_out,
                ).run_epochs()
                if data.left_out is not None:
                    run.out_of_fold = OutOfFoldRows(net, rows, data.left_out)()
                if settings.shrink and held_out is not None:
                    run.shrinkage = shrink_by(net, rows, held_out)
                return run

    @contextlib.contextmanager
    def _fitting(self) -> Iterator[None]:
        self._stop_request.requested, self._is_fitting = False, True
        try:
            yield
        finally:
            self._is_fitting = False

    def _identity(self, data: FitData, checkpoint: Checkpoint | None, *, anywhere: bool) -> Identity | None:
        """Whose checkpoints are written and resumed from, compared with the one given; None without any."""
        if checkpoint is None and self.settings.checkpoints is None:
            return None
        masked = None if data.left_out is None else data.left_out.mask
        identity = Identity.of(
            self.net, self.settings, data.X, data.y, data.sample_weight, data.validation, left_out=masked
        )
        if checkpoint is not None:
            identity.refuse_another(checkpoint, anywhere=anywhere)
        return identity
