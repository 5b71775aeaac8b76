"""The options that say how long is trained and which epoch is kept, and the trainer that they ask for."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from chainrule.cli.optimisation import optimizer_of
from chainrule.cli.options import names, positive_int
from chainrule.cli.parser import OptionGroup
from chainrule.errors import OptionError
from chainrule.nn.network import Network
from chainrule.train.callbacks import Callback, EpochFunction
from chainrule.train.early_stopping import EarlyStopping
from chainrule.train.trainer import Trainer

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
    add("--diagnose", action="store_true", help="look into the layers while they train, and say what is wrong")


def with_batch_size(args: argparse.Namespace, rows: int) -> argparse.Namespace:
    """The options with a batch size for so many training rows, where none was given and one is needed."""
    chosen = max((size for size in BATCH_SIZES if size * BATCH_SIZES[0] <= rows), default=BATCH_SIZES[0])
    needed = args.batch_size is None and args.optimizer != "lbfgs"  # lbfgs takes all rows at once
    return argparse.Namespace(**{**vars(args), "batch_size": chosen}) if needed else args


def trainer_of(
    args: argparse.Namespace, net: Network, *, has_validation: bool, callbacks: Sequence[Callback | EpochFunction],
    progress: bool,
) -> Trainer:  # fmt: skip
    """The trainer of these options, to which :func:`with_batch_size` has been applied."""
    early_stopping = None
    if args.patience is not None:
        if not has_validation:
            raise OptionError("--patience without validation rows came", hint="hold some out with --valid 0.2")
        early_stopping = EarlyStopping(patience=args.patience, monitor=args.monitor or "valid_loss")
    return Trainer(
        net, optimizer_of(args), batch_size=args.batch_size or 1, epochs=args.epochs, seed=args.seed,
        monitor=args.monitor, early_stopping=early_stopping, progress=progress, metrics=args.metrics or True,
        callbacks=callbacks, accumulate=args.accumulate, ema=args.ema,
    )  # fmt: skip
