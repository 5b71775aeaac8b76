"""The options that say how long is trained and which epoch is kept, and the trainer that they ask for."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chainrule.cli.optimisation import optimizer_of
from chainrule.cli.options import names, positive_int
from chainrule.cli.parser import OptionGroup
from chainrule.errors import OptionError
from chainrule.nn.network import Network
from chainrule.train.callbacks import Callback, EpochFunction
from chainrule.train.checkpoints import Checkpoints
from chainrule.train.early_stopping import EarlyStopping
from chainrule.train.trainer import Trainer

SECONDS_OF = {"s": 1, "m": 60, "h": 3600}
BATCH_SIZES = (32, 64, 128, 256)  # by default the largest that still gives 32 steps an epoch


def add_arguments(parser: OptionGroup) -> None:
    add = parser.add_argument
    add("--epochs", type=positive_int, default=60, metavar="N", help="passes over the rows (60)")
    add("--batch-size", type=positive_int, metavar="N", help="rows a step (32 to 256, about 32 steps an epoch)")
    add("--accumulate", type=positive_int, default=1, metavar="N", help="batches that make one update (1)")
    add("--class-weight", choices=["balanced"], help="weight rows so that all classes count the same")
    add("--ema", type=float, metavar="X", help="decay of an average of the weights, which is kept; 0.999 say (none)")
    add("--patience", type=positive_int, metavar="N", help="stop after N epochs without a better one")
    add("--monitor", metavar="NAME", help="whose best epoch is kept (valid_loss; valid_accuracy, valid_r2, valid_d2)")
    add("--metrics", type=names, default=[], metavar="A,B", help="also of the validation rows: roc_auc, log_loss, ...")
    add(
        "--checkpoint-every", type=interval, default="30s", metavar="N",
        help="steps, or a time: 30s, 5m (30s); and after epochs, where that costs less than 1 %% of the time",
    )  # fmt: skip
    add("--diagnose", action="store_true", help="look into the layers while they train, and say what is wrong")


def interval(text: str) -> str:
    """``200`` steps, ``30s`` or ``5m``, checked."""
    _steps_or_seconds(text)
    return text


def _steps_or_seconds(text: str) -> dict[str, Any]:
    """The arguments of Checkpoints."""
    found = re.fullmatch(r"([0-9.]+)([smh]?)", text)
    number, unit = found.groups() if found else ("", "")
    with contextlib.suppress(ValueError):
        if not unit and int(number) > 0:
            return {"steps": int(number)}
        if unit and float(number) > 0:
            return {"seconds": float(number) * SECONDS_OF[unit]}
    raise argparse.ArgumentTypeError(f"{text!r} came, a number of steps or a time (30s, 5m, 1h) was expected")


def with_batch_size(args: argparse.Namespace, rows: int) -> argparse.Namespace:
    """The options with a batch size for so many training rows, where none was given and one is needed."""
    chosen = max((size for size in BATCH_SIZES if size * BATCH_SIZES[0] <= rows), default=BATCH_SIZES[0])
    needed = args.batch_size is None and args.optimizer != "lbfgs"  # lbfgs takes all rows at once
    return argparse.Namespace(**{**vars(args), "batch_size": chosen}) if needed else args


def trainer_of(
    args: argparse.Namespace, net: Network, *, has_validation: bool, callbacks: Sequence[Callback | EpochFunction],
    progress: bool, checkpoints: Path | None = None,
) -> Trainer:  # fmt: skip
    """The trainer of these options, to which :func:`with_batch_size` has been applied.

    ``checkpoints`` is the folder for them; a run of L-BFGS has none and is begun anew.
    """
    early_stopping = None
    if args.patience is not None:
        if not has_validation:
            raise OptionError("--patience without validation rows came", hint="hold some out with --valid 0.2")
        early_stopping = EarlyStopping(patience=args.patience, monitor=args.monitor or "valid_loss")
    kept = None
    if checkpoints is not None and args.optimizer != "lbfgs":
        kept = Checkpoints(checkpoints, **_steps_or_seconds(args.checkpoint_every))
    return Trainer(
        net, optimizer_of(args), batch_size=args.batch_size or 1, epochs=args.epochs, seed=args.seed,
        monitor=args.monitor, early_stopping=early_stopping, progress=progress, metrics=args.metrics or True,
        callbacks=callbacks, accumulate=args.accumulate, ema=args.ema, checkpoints=kept,
    )  # fmt: skip
