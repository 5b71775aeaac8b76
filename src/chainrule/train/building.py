"""From settings to a net, an optimiser and a trainer: the one road that the command line and the estimators take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, TypeAlias, TypedDict, Unpack

import numpy as np

from chainrule.backends.contract.backend import ActivationName, Array, Backend
from chainrule.nn.columns.notation import Notation
from chainrule.nn.columns.table_encoder import TableEncoder
from chainrule.nn.inputs.preparation import Preparation
from chainrule.nn.inputs.row_checks import array_of_the_host
from chainrule.nn.inputs.standardization import Standardization
from chainrule.nn.losses.names import Loss
from chainrule.nn.metric_names import LEFT_OUT
from chainrule.nn.mlp import MLP, NormalizationName
from chainrule.nn.network import Network
from chainrule.optim.adam import Adam, AdamW
from chainrule.optim.base import Moments, Optimizer
from chainrule.optim.lbfgs import LBFGS
from chainrule.optim.schedules import Schedule
from chainrule.optim.sgd import SGD
from chainrule.train.checkpoints.writer import Checkpoints
from chainrule.train.monitoring.early_stopping import EarlyStopping
from chainrule.train.monitoring.validation_metrics import Metric, MetricFunction
from chainrule.train.recipe import BETA_2, FEATURE_LIMIT, Settings
from chainrule.train.records.callbacks import Callback, EpochFunction
from chainrule.train.table_net import TableNet, fan_in_of
from chainrule.train.trainer import Trainer

Scaling: TypeAlias = Literal["standard", "robust"]


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """What a net is made of, but for the hidden layers and the dropout, which are in :class:`Settings`.

    Parameters
    ----------
    activation, normalization, residual : of the hidden layers, as for :class:`MLP`
    loss, n_out : the loss, and the outputs of the net
    scaling : of features, "standard" or "robust"; None leaves features and targets as they are
    backend, dtype, seed : as for :class:`MLP`
    """

    activation: ActivationName | Sequence[ActivationName]
    normalization: NormalizationName | None
    residual: bool = False
    loss: Loss
    n_out: int
    scaling: Scaling | None
    backend: Backend
    dtype: str
    seed: int


@dataclass(frozen=True, kw_only=True)
class TrainingRows:
    """The rows that a net is prepared for, with the names that they have.

    Parameters
    ----------
    X : (n, n_in) as the net takes it, on the host or on the net's device
    y : (n,) or (n, k) as the loss takes it
    weights : (n,) from 0 up, or None
    target_names : of the columns of y, for messages; empty if they have none
    feature_names, target_name, classes, encoder, target_notation : as for :class:`Preparation`
    """

    X: Array
    y: np.ndarray
    weights: np.ndarray | None = None
    target_names: Sequence[str] = ()
    feature_names: tuple[str, ...] = ()
    target_name: str = ""
    classes: tuple[str, ...] = ()
    encoder: TableEncoder | None = None
    target_notation: Notation | None = None


@dataclass(frozen=True, kw_only=True)
class Updates:
    """How weights are updated, but for what is in :class:`Settings`.

    Parameters
    ----------
    optimizer : "adamw", "adam", "sgd" or "lbfgs"; the other options are of some of them
    schedule : of the learning rate; not of lbfgs, for which it may be None
    nesterov : if ``momentum`` is not 0
    tolerance, max_evaluations : of lbfgs
    """

    optimizer: str
    schedule: Schedule | None
    momentum: float = 0.9
    nesterov: bool = True
    clip_norm: float | None = None
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    eps_hat: bool = False
    lazy_embedding: bool = False
    tolerance: float = 1e-5
    max_evaluations: int | None = None


class TrainerOptions(TypedDict, total=False):
    """Options of :class:`Trainer` that no recipe chooses."""

    shuffle: bool
    drop_last: bool
    seed: int
    early_stopping: EarlyStopping | None
    monitor: str | None
    metrics: bool | Sequence[str | Metric | MetricFunction]
    progress: bool
    callbacks: Sequence[Callback | EpochFunction]
    accumulate: int
    ema: float | None
    checkpoints: Checkpoints | str | Path | None
    moments: Moments | None
    shrink: bool
    threads: int | None


def build_net(architecture: Architecture, settings: Settings, rows: TrainingRows) -> Network:
    """A net with its first weights, prepared for these training rows."""
    if settings.table is not None:
        return build_table_net(architecture, settings, settings.table, rows)
    net = MLP(
        [rows.X.shape[1], *settings.hidden, architecture.n_out],
        activation=architecture.activation,
        dropout=settings.dropout,
        normalization=architecture.normalization,
        residual=architecture.residual,
        embedding=None if rows.encoder is None else rows.encoder.embedding(rows=len(rows.X)),
        loss=architecture.loss,
        backend=architecture.backend,
        dtype=architecture.dtype,
        seed=architecture.seed,
        members=settings.members,
    )
    net.preparation = _preparation(architecture, rows, _standardize_features(architecture, rows))
    return net


def build_table_net(architecture: Architecture, settings: Settings, table: TableNet, rows: TrainingRows) -> Network:
    """A net for tables with its first weights: all but a line that :func:`start_from_ridge` gives it."""
    X, encoder = _on_host(architecture, rows), rows.encoder
    features = Standardization.fit_robust(
        X, limit=FEATURE_LIMIT, names=rows.feature_names, sample_weight=rows.weights, keep_steps=True
    )
    embedding = None if encoder is None else encoder.embedding(rows=len(rows.X))
    codes = () if embedding is None else embedding.columns
    net = Network(
        table.layers(
            X.shape[1] if embedding is None else embedding.width(X.shape[1]),
            architecture.n_out,
            fan_in=fan_in_of(features, X, codes, rows.weights),
            embedding=embedding,
            encoding=table.encoding(X, features, encoder, rows.weights),
        ),
        X.shape[1],
        loss=architecture.loss,
        backend=architecture.backend,
        dtype=architecture.dtype,
        seed=architecture.seed,
        members=settings.members,
    )
    net.preparation = _preparation(architecture, rows, features)
    return net


def _preparation(architecture: Architecture, rows: TrainingRows, features: Standardization | None) -> Preparation:
    return Preparation(
        features=features,
        targets=_standardize_targets(architecture, rows),
        feature_names=rows.feature_names,
        target_name=rows.target_name,
        classes=rows.classes,
        encoder=rows.encoder,
        target_notation=rows.target_notation,
    )


def _on_host(architecture: Architecture, rows: TrainingRows) -> np.ndarray:
    X = array_of_the_host(rows.X)
    return architecture.backend.download(rows.X) if X is None else X


def _standardize_features(architecture: Architecture, rows: TrainingRows) -> Standardization | None:
    if architecture.scaling is None:
        return None
    X = _on_host(architecture, rows)
    fit = Standardization.fit_robust if architecture.scaling == "robust" else Standardization.fit
    return fit(X, limit=FEATURE_LIMIT, names=rows.feature_names, sample_weight=rows.weights)


def _standardize_targets(architecture: Architecture, rows: TrainingRows) -> Standardization | None:
    loss = architecture.loss
    if architecture.scaling is None or loss.task != "regress" or not loss.standardizes:
        return None
    return Standardization.fit(rows.y, names=rows.target_names, sample_weight=rows.weights)


def build_optimizer(updates: Updates, *, weight_decay: float = 0.0, iterations: int = 1) -> Optimizer:
    """The optimiser; OptionError if one of its options is out of range. ``iterations`` are at most those of lbfgs."""
    if updates.optimizer == "lbfgs" or updates.schedule is None:
        return LBFGS(
            iterations,
            tolerance=updates.tolerance,
            max_evaluations=updates.max_evaluations,
            weight_decay=weight_decay,
        )
    if updates.optimizer == "sgd":
        return SGD(
            updates.schedule,
            momentum=updates.momentum,
            nesterov=bool(updates.nesterov and updates.momentum),
            weight_decay=weight_decay,
            clip_norm=updates.clip_norm,
            lazy_embedding=updates.lazy_embedding,
        )
    return {"adam": Adam, "adamw": AdamW}[updates.optimizer](
        updates.schedule,
        beta1=updates.beta1,
        beta2=updates.beta2,
        eps=updates.eps,
        eps_hat=updates.eps_hat,
        weight_decay=weight_decay,
        clip_norm=updates.clip_norm,
        lazy_embedding=updates.lazy_embedding,
    )


def build_trainer(net: Network, optimizer: Optimizer, settings: Settings, **options: Unpack[TrainerOptions]) -> Trainer:
    """The trainer of these settings; ``options`` are further ones of :class:`Trainer`.

    What of the optimiser depends on the settings (the weight decay, the iterations of an LBFGS) is set here.
    """
    optimizer = replace(optimizer, weight_decay=settings.weight_decay)
    if settings.table is not None and settings.lr is not None:
        lr = replace(optimizer.schedule, lr=settings.lr)
        optimizer = replace(optimizer, lr=lr, groups=settings.table.groups_of(net))
        if isinstance(optimizer, Adam):
            optimizer = replace(optimizer, beta2=BETA_2)
        options = {"ema": settings.ema, "drop_last": True, **options}
        if options.get("early_stopping") is None and options.get("monitor") == LEFT_OUT:
            options["early_stopping"] = settings.early_stopping
    if isinstance(optimizer, LBFGS):
        optimizer = replace(optimizer, max_iterations=settings.epochs)
    return Trainer(
        net,
        optimizer,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        l2=settings.alpha,
        **options,
    )
