"""The options of a run as they were used: what was left open is filled in, with a remark on how it was chosen."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from chainrule.cli.fitting import with_batch_size
from chainrule.cli.training_data import DEFAULT_LOSS, TASKS, Data
from chainrule.nn.network import Network
from chainrule.tables.readers import BUILT_IN


def resolve(args: argparse.Namespace, data: Data, net: Network) -> tuple[argparse.Namespace, dict[str, str]]:
    """The options with which the same net comes out again, and remarks by option.

    ``args`` have their optimiser's defaults (:func:`chainrule.cli.optimisation.with_defaults`). Paths become absolute.
    """
    used: dict[str, Any] = dict(vars(with_batch_size(args, len(data.y))))
    remarks = {}
    if args.data not in BUILT_IN:
        used["data"] = str(Path(args.data).resolve())
    if isinstance(args.valid, str):
        used["valid"] = str(Path(args.valid).resolve())
    if data.target_name and (data.encoder is not None or args.target is None):
        used["target"] = data.target_name
    if data.plan.task in TASKS:  # a multilabel target is known by its loss
        used["task"] = data.plan.task
    used["loss"] = args.loss or DEFAULT_LOSS[data.plan.task]
    used["loss_option"] = [(name, value) for name, value in net.loss.options.items() if value is not None]
    used["monitor"] = args.monitor or (None if data.valid is None else "valid_loss")
    used["device"] = net.backend.device
    for name, what in {
        "batch_size": f"for {len(data.y):,} rows", "task": "by the target's values", "loss": "by the task",
    }.items():  # fmt: skip
        if getattr(args, name) in {None, "auto"} and used[name] not in {None, "auto"}:
            remarks[name] = f"chosen {what}"
    if used["device"] != args.device:
        remarks["device"] = f"{args.device} was asked for"
    return argparse.Namespace(**used), remarks
