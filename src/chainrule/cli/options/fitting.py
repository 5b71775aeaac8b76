"""The options that say how long is trained and which epoch is kept, and the trainer that they ask for."""

from __future__ import annotations

import argparse
import contextlib
import re
from collections.abc import Sequence
from typing import Any

from chainrule.cli.options.optimisation import optimizer_of
from chainrule.cli.options.parser import OptionGroup
from chainrule.cli.options.types import names, positive_int
from chainrule.errors import OptionError
from chainrule.files.regular_file import FilePath
from chainrule.nn.network import Network
from chainrule.train.checkpoints.writer import Checkpoints
from chainrule.train.feeding.batches import plan_batches
from chainrule.train.monitoring.early_stopping import EarlyStopping
from chainrule.train.recipe import recipe_for, weight_decay_for
from chainrule.train.records.callbacks import Callback, EpochFunction
from chainrule.train.trainer import Trainer

SECONDS_OF = {"s": 1, "m": 60, "h": 3600}


def add_arguments(parser: OptionGroup) -> None:
    add = parser.add_argument
    add("--epochs", type=positive_int, metavar="N", help="passes over the rows (200; from 32,768 rows 60)")
    add(
        "--batch-size",
        type=positive_int,
        metavar="N",
        help="rows a step (64; from 4,096 rows 128; from 16,384 rows 256)",
    )
    add("--accumulate", type=positive_int, default=1, metavar="N", help="batches that make one update (1)")
    add("--class-weight", choices=["balanced"], help="weight rows so that all classes count the same")
    add("--ema", type=float, metavar="X", help="decay of an average of the weights, which is kept; 0.999 say (none)")
    add("--patience", type=positive_int, metavar="N", help="stop after N epochs without a better one")
    add(
        "--monitor",
        metavar="NAME",
        help="whose best epoch is kept: valid_accuracy, valid_r2, ... (loss, as a cosine is for its last epochs; with "
        "another --schedule, --patience or --no-shrink valid_loss)",
    )
    add("--no-shrink", action="store_true", help="leave the net as it was trained, whatever the validation rows say")
    add("--metrics", type=names, default=[], metavar="A,B", help="also of the validation rows: roc_auc, log_loss, ...")
    add(
        "--checkpoint-every",
        type=interval,
        default="30s",
        metavar="N",
        help="steps, or a time: 30s, 5m (30s); and after epochs, where that costs less than 1 %% of the time",
    )
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
    raise argparse.ArgumentTypeError(f"expected a number of steps or a time (30s, 5m, 1h), got {text!r}")


def with_recipe(args: argparse.Namespace, rows: int, *, has_validation: bool) -> argparse.Namespace:
    """The options with what nobody set filled in by the recipe for so many training rows.

    ``args`` have their optimiser's defaults. The recipe's dropout is for the recipe's layers.
    """
    recipe, used = recipe_for(rows), argparse.Namespace(**vars(args))
    if args.dropout is None:
        used.dropout = recipe.dropout if args.hidden is None else 0.0
    used.hidden = list(recipe.hidden) if args.hidden is None else args.hidden
    used.epochs = args.epochs or recipe.epochs
    used.monitor = _monitor(args, has_validation=has_validation)
    if args.optimizer == "lbfgs":  # all rows at once
        return used
    used.batch_size = args.batch_size or recipe.batch_size
    if args.weight_decay is None:
        steps = used.epochs * -(-plan_batches(rows, used.batch_size).count // args.accumulate)
        used.weight_decay = weight_decay_for(args.lr, steps) if args.lr > 0 else 0.0
    return used


def _monitor(args: argparse.Namespace, *, has_validation: bool) -> str | None:
    """Whose best epoch is kept; None where there is nothing to choose by but the training loss.

    A cosine is for the steps at its end: the lowest training loss is kept, and the validation rows say how far to trust
    it. They choose the epoch where nothing says how far, and where the rate does not fall to 0.
    """
    if args.monitor or not has_validation:
        return args.monitor  # type: ignore[no-any-return]
    falls = args.schedule == "cosine" and args.optimizer != "lbfgs"
    return "loss" if falls and not args.patience and not args.no_shrink else "valid_loss"


def trainer_of(
    args: argparse.Namespace,
    net: Network,
    *,
    has_validation: bool,
    callbacks: Sequence[Callback | EpochFunction],
    progress: bool,
    checkpoints: FilePath | None = None,
) -> Trainer:
    """The trainer of these options, to which :func:`with_recipe` has been applied.

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
        net,
        optimizer_of(args),
        batch_size=args.batch_size or 1,
        epochs=args.epochs,
        seed=args.seed,
        monitor=args.monitor,
        early_stopping=early_stopping,
        progress=progress,
        metrics=args.metrics or True,
        callbacks=callbacks,
        accumulate=args.accumulate,
        ema=args.ema,
        checkpoints=kept,
        shrink=not args.no_shrink,
    )
