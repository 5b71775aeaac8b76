"""The options that say how long is trained and which epoch is kept."""

from __future__ import annotations

import argparse
import contextlib
import re
from dataclasses import dataclass
from typing import Any, Literal

from chainrule.cli.options.parser import OptionGroup
from chainrule.cli.options.types import names, positive_int

CHECKPOINT_EVERY = "30s"
SECONDS_OF = {"s": 1, "m": 60, "h": 3600}


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """As typed; None for what was not given."""

    epochs: int | None
    batch_size: int | None
    accumulate: int
    class_weight: Literal["balanced"] | None
    ema: float | None
    patience: int | None
    monitor: str | None
    no_shrink: bool
    metrics: list[str]
    checkpoint_every: str
    diagnose: bool


def add_arguments(parser: OptionGroup) -> None:
    add = parser.add_argument
    add(
        "--epochs",
        type=positive_int,
        metavar="N",
        help="passes over the rows (60; from 1,000 rows 50, and fewer of larger tables; with --preset none 200, from "
        "32,768 rows 60)",
    )
    add(
        "--batch-size",
        type=positive_int,
        metavar="N",
        help="rows per step (64; from 1,000 rows 128; from 65,536 rows 256; from 262,144 rows 512; with --preset none "
        "64; from 4,096 rows 128; from 16,384 rows 256)",
    )
    add("--accumulate", type=positive_int, default=1, metavar="N", help="batches that make one update (1)")
    add("--class-weight", choices=["balanced"], help="weight rows so that every class counts equally")
    add(
        "--ema",
        type=float,
        metavar="X",
        help="keep an exponential moving average of the weights as the model; decay, e.g. 0.999 (a preset's "
        "average has the share 9 / (t + 10) of the weights after step t; with --preset none off)",
    )
    add(
        "--patience",
        type=positive_int,
        metavar="N",
        help="stop after N epochs in which the monitored metric did not improve; holds out a "
        "fifth of the rows (off; from 1,000 rows a preset stops half as many epochs after its best one as that took, "
        "at least 5)",
    )
    add(
        "--monitor",
        metavar="NAME",
        help="metric that decides which epoch is kept, e.g. valid_accuracy (left_out_loss, of the rows that members "
        "leave out; if rows are held out loss with the cosine schedule, valid_loss with another schedule, --patience "
        "or --no-shrink)",
    )
    add(
        "--no-shrink",
        action="store_true",
        help="do not shrink predictions towards the best constant prediction, nor make probabilities surer",
    )
    add(
        "--metrics",
        type=names,
        default=[],
        metavar="A,B",
        help="further metrics of the validation rows: roc_auc, log_loss, ...",
    )


def add_run_arguments(parser: OptionGroup) -> None:
    """Those that only a training with a run directory has; a cross-validation has :func:`set_run_defaults`."""
    add = parser.add_argument
    add(
        "--checkpoint-every",
        type=interval,
        default=CHECKPOINT_EVERY,
        metavar="N",
        help=f"write a checkpoint every N steps, or every 30s, 5m ({CHECKPOINT_EVERY}); also after an epoch if it "
        "costs less than 1 %% of the time since the last one",
    )
    add("--diagnose", action="store_true", help="measure the layers while they train, and report what is wrong")


def set_run_defaults(parser: argparse.ArgumentParser) -> None:
    """The options of :func:`add_run_arguments` as they are by default; a file of options may still set them."""
    parser.set_defaults(checkpoint_every=CHECKPOINT_EVERY, diagnose=False)


def interval(text: str) -> str:
    """``200`` steps, ``30s`` or ``5m``, checked."""
    checkpoint_interval(text)
    return text


def checkpoint_interval(text: str) -> dict[str, Any]:
    """The arguments of Checkpoints: ``{"steps": 200}`` or ``{"seconds": 30.0}``."""
    found = re.fullmatch(r"([0-9.]+)([smh]?)", text)
    number, unit = found.groups() if found else ("", "")
    with contextlib.suppress(ValueError):
        if not unit and int(number) > 0:
            return {"steps": int(number)}
        if unit and float(number) > 0:
            return {"seconds": float(number) * SECONDS_OF[unit]}
    raise argparse.ArgumentTypeError(f"expected a number of steps or a time (30s, 5m, 1h), got {text!r}")
