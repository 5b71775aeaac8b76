"""The options of a run as they were used: what was left open is filled in, with a remark on how it was chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from chainrule.cli.options.data import TASKS, DataOptions
from chainrule.cli.options.train_options import TrainingOptions
from chainrule.cli.training.data import TrainingData
from chainrule.cli.training.model import monitor_of
from chainrule.cli.training.table import DEFAULT_LOSS
from chainrule.nn.metric_names import LEFT_OUT
from chainrule.nn.network import Network
from chainrule.tables.selection import BUILT_IN
from chainrule.train.recipe import Settings

BY_ROWS = (
    "lr",
    "activation",
    "hidden",
    "dropout",
    "epochs",
    "batch_size",
    "weight_decay",
    "members",
)  # what the recipe chooses


def used_options(
    asked: TrainingOptions, settings: Settings, data: TrainingData, net: Network, *, leaves_out: bool = False
) -> tuple[TrainingOptions, dict[str, str]]:
    """The options with which the same net results again, and remarks by option. Paths become absolute.

    ``asked`` are those that were given, with their optimiser's defaults; ``settings`` what the recipe made of them;
    ``leaves_out`` whether members of an ensemble leave out rows.
    """
    monitor = monitor_of(asked, has_validation=data.valid is not None, leaves_out=leaves_out)
    used = TrainingOptions(
        data=_used_data(asked.data, data),
        net=replace(
            asked.net,
            hidden=list(settings.hidden),
            dropout=settings.dropout,
            activation=asked.net.activation or settings.activation,
            members=settings.members,
            loss=asked.net.loss or DEFAULT_LOSS[data.plan.task],
            loss_option=[(name, value) for name, value in net.loss.options.items() if value is not None],
        ),
        updates=replace(asked.updates, weight_decay=settings.weight_decay, lr=settings.lr or asked.updates.lr),
        fit=replace(
            asked.fit,
            epochs=settings.epochs,
            ema=settings.ema if asked.fit.ema is None else asked.fit.ema,
            batch_size=None if asked.updates.optimizer == "lbfgs" else settings.batch_size,
            # What members leave out chooses unless told otherwise. Said here, it would be an error with one more option
            # (--valid, --members 1) or in a fold of which nothing is left out.
            monitor=None if monitor == LEFT_OUT else monitor,
        ),
        device=replace(asked.device, device=net.backend.device),
    )
    return used, _remarks(asked, used, len(data.y))


def _used_data(asked: DataOptions, data: TrainingData) -> DataOptions:
    path, valid, is_named = asked.data, asked.valid, data.encoder is not None or asked.target is None
    return replace(
        asked,
        data=path if path is None or path in BUILT_IN else _absolute(path),
        valid=_absolute(valid) if isinstance(valid, str) else valid,
        target=data.target_name if data.target_name and is_named else asked.target,
        # A multilabel target is known by its loss.
        task=data.plan.task if data.plan.task in TASKS else asked.task,
    )


def _remarks(asked: TrainingOptions, used: TrainingOptions, rows: int) -> dict[str, str]:
    before, after = asked.values(), used.values()
    reasons = {**dict.fromkeys(BY_ROWS, f"for {rows:,} rows"), "task": "by the target's values", "loss": "by the task"}
    remarks = {
        name: f"chosen {reason}"
        for name, reason in reasons.items()
        if _is_open(before[name]) and not _is_open(after[name])
    }
    if used.device.device != asked.device.device:
        remarks["device"] = f"{asked.device.device} was asked for"
    return remarks


def _is_open(value: object) -> bool:
    return value is None or value == "auto"


def _absolute(path: str) -> str:
    """OSError if the whole path is longer than the system takes, though the relative one was not."""
    found = Path(path).resolve()
    found.stat()
    return str(found)
