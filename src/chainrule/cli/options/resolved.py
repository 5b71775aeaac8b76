"""The options of a run as they were used: what was left open is filled in, with a remark on how it was chosen."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from chainrule.cli.options.training_data import DEFAULT_LOSS, TASKS, Data
from chainrule.nn.network import Network
from chainrule.tables.selection import BUILT_IN

BY_ROWS = ("hidden", "dropout", "epochs", "batch_size", "weight_decay")  # what the recipe chooses


def resolve(
    asked: argparse.Namespace, args: argparse.Namespace, data: Data, net: Network
) -> tuple[argparse.Namespace, dict[str, str]]:
    """The options with which the same net comes out again, and remarks by option. Paths become absolute.

    ``asked`` are those that came, with their optimiser's defaults; ``args`` those with the recipe's.
    """
    used: dict[str, Any] = dict(vars(args))
    remarks = {}
    if args.data not in BUILT_IN:
        used["data"] = _absolute(args.data)
    if isinstance(args.valid, str):
        used["valid"] = _absolute(args.valid)
    if data.target_name and (data.encoder is not None or args.target is None):
        used["target"] = data.target_name
    if data.plan.task in TASKS:  # a multilabel target is known by its loss
        used["task"] = data.plan.task
    used["loss"] = args.loss or DEFAULT_LOSS[data.plan.task]
    used["loss_option"] = [(name, value) for name, value in net.loss.options.items() if value is not None]
    used["device"] = net.backend.device
    for name, what in {
        **dict.fromkeys(BY_ROWS, f"for {len(data.y):,} rows"), "task": "by the target's values", "loss": "by the task",
    }.items():  # fmt: skip
        if _is_open(getattr(asked, name)) and not _is_open(used[name]):
            remarks[name] = f"chosen {what}"
    if used["device"] != asked.device:
        remarks["device"] = f"{asked.device} was asked for"
    return argparse.Namespace(**used), remarks


def _is_open(value: Any) -> bool:
    return value is None or value == "auto"


def _absolute(path: str) -> str:
    """OSError where the whole path is longer than the system takes, though the relative one was not."""
    found = Path(path).resolve()
    found.stat()
    return str(found)
