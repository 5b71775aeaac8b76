"""The net and the trainer that the options of ``chainrule train`` ask for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule.backends.contract.backend import Backend
from chainrule.cli.options.fitting import checkpoint_interval
from chainrule.cli.options.train_options import TrainingOptions
from chainrule.cli.options.types import with_options
from chainrule.cli.training.data import TrainingData
from chainrule.cli.training.table import DEFAULT_LOSS
from chainrule.errors import OptionError
from chainrule.files.regular_file import FilePath
from chainrule.nn.losses.names import LOSSES
from chainrule.nn.metric_names import LEFT_OUT
from chainrule.nn.network import Network
from chainrule.optim.base import Optimizer
from chainrule.optim.lbfgs import LBFGS
from chainrule.train.building import Architecture, TrainingRows, build_net, build_trainer
from chainrule.train.checkpoints.writer import Checkpoints
from chainrule.train.ensemble_fit import HostTable, LeftOutRows, leave_out_rows
from chainrule.train.monitoring.early_stopping import EarlyStopping
from chainrule.train.recipe import ACTIVATION, SMOOTHING, Settings
from chainrule.train.records.callbacks import Callback, EpochFunction
from chainrule.train.trainer import Trainer


def monitor_of(options: TrainingOptions, *, has_validation: bool, leaves_out: bool = False) -> str | None:
    """The metric whose best epoch is kept; None if there is nothing to choose by but the training loss.

    A cosine is for the steps at its end: the lowest training loss is kept, and the validation rows say how far to trust
    it. They choose the epoch if nothing says how far, and if the rate does not fall to 0.
    """
    fit = options.fit
    if fit.monitor:
        return fit.monitor
    if leaves_out:
        return LEFT_OUT
    if not has_validation:
        return None
    falls = options.updates.schedule == "cosine"
    return "loss" if falls and not fit.patience and not fit.no_shrink else "valid_loss"


def left_out_rows(options: TrainingOptions, settings: Settings, data: TrainingData) -> LeftOutRows | None:
    """Blocks of rows that the members of a preset leave out; None if rows are held out otherwise, or too few."""
    if settings.table is None or data.valid is not None:
        return None
    found = data.left_out or leave_out_rows(
        HostTable(data.X, data.y),
        settings.members,
        options.device.seed,
        classes=data.classes,
        groups=data.groups,
        times=data.times,
    )
    return None if found.mask is None else found


def net_of(options: TrainingOptions, settings: Settings, data: TrainingData, backend: Backend) -> Network:
    """The net, prepared for this table: standardised by its training rows, names kept."""
    asked = options.net
    loss_options = dict(asked.loss_option)
    if settings.table is not None and asked.loss is None and data.plan.task != "regress":
        loss_options = {"label_smoothing": SMOOTHING, **loss_options}
    loss = with_options(LOSSES[asked.loss or DEFAULT_LOSS[data.plan.task]], loss_options)
    architecture = Architecture(
        activation=asked.activation or ACTIVATION,
        normalization=asked.normalization,
        residual=asked.residual,
        loss=loss,
        n_out=loss.outputs_for(data.plan.n_out),
        scaling=asked.scaling,
        backend=backend,
        dtype=asked.dtype,
        seed=options.device.seed,
    )
    rows = TrainingRows(
        X=data.X,
        y=data.y,
        target_names=[data.target_name or "y"] if data.y.ndim == 1 else [],
        feature_names=data.feature_names,
        target_name=data.target_name,
        classes=data.plan.classes,
        encoder=data.encoder,
        target_notation=data.target_notation,
    )
    return build_net(architecture, settings, rows)


def trainer_of(
    options: TrainingOptions,
    settings: Settings,
    net: Network,
    optimizer: Optimizer,
    *,
    has_validation: bool,
    leaves_out: bool = False,
    callbacks: Sequence[Callback | EpochFunction],
    progress: bool,
    checkpoints: FilePath | None = None,
) -> Trainer:
    """The trainer of these options.

    ``checkpoints`` is the folder for them; a run of L-BFGS has none and begins again.
    """
    average: dict[str, Any] = {} if options.fit.ema is None else {"ema": options.fit.ema}  # else the preset's, if any
    fit, monitor = options.fit, monitor_of(options, has_validation=has_validation, leaves_out=leaves_out)
    early_stopping = None
    if fit.patience is not None:
        if not has_validation:
            raise OptionError("--patience: expected validation rows, got none", hint="hold some out with --valid 0.2")
        early_stopping = EarlyStopping(patience=fit.patience, monitor=monitor or "valid_loss")
    kept = None
    if checkpoints is not None and not isinstance(optimizer, LBFGS):
        kept = Checkpoints(checkpoints, **checkpoint_interval(fit.checkpoint_every))
    return build_trainer(
        net,
        optimizer,
        settings,
        seed=options.device.seed,
        monitor=monitor,
        early_stopping=early_stopping,
        progress=progress,
        metrics=fit.metrics or True,
        callbacks=callbacks,
        accumulate=fit.accumulate,
        **average,
        checkpoints=kept,
        shrink=not fit.no_shrink,
        threads=options.device.threads,
    )
