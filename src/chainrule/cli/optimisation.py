"""The options of ``chainrule train`` that say how weights are updated, and what they mean."""

from __future__ import annotations

import argparse

from chainrule.errors import OptionError
from chainrule.optim.adam import Adam, AdamW
from chainrule.optim.base import Optimizer
from chainrule.optim.lbfgs import LBFGS
from chainrule.optim.schedules import (
    Constant,
    Cosine,
    Coslog4,
    Exponential,
    FlatCosine,
    OneCycle,
    Plateau,
    Schedule,
    Step,
)
from chainrule.optim.sgd import SGD
from chainrule.train.recipe import LEARNING_RATE, recipe_for, weight_decay_for

DEFAULT_LR = {"adamw": LEARNING_RATE, "adam": LEARNING_RATE, "sgd": 1e-2}
OPTIMIZERS = ("adamw", "adam", "sgd", "lbfgs")
SCHEDULES: dict[str, type[Schedule]] = {
    "cosine": Cosine,
    "constant": Constant,
    "flat-cosine": FlatCosine,
    "coslog4": Coslog4,
    "one-cycle": OneCycle,
    "step": Step,
    "exponential": Exponential,
    "plateau": Plateau,
}
ABOUT_SCHEDULES = (
    "of the learning rate (cosine): cosine falls to 0; constant; flat-cosine begins to fall half way; coslog4 makes "
    "four waves; one-cycle rises from a 25th of it for 0.3 of the run, then falls; step takes a tenth at 1/2 and at "
    "3/4; exponential falls to a hundredth; plateau takes a tenth after 10 epochs without a better valid_loss"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    add(
        "--optimizer", choices=OPTIMIZERS, default="adamw",
        help="(adamw); lbfgs takes all rows at once, --epochs iterations of it, and wants SciPy",
    )  # fmt: skip
    add("--lr", type=float, metavar="X", help="learning rate (0.002; sgd 0.01)")
    add("--schedule", choices=SCHEDULES, help=ABOUT_SCHEDULES)
    add("--warmup", type=float, metavar="X", help="fraction of the run in which it rises (0; one-cycle 0.3)")
    add("--momentum", type=float, default=0.9, metavar="X", help="Nesterov momentum of sgd (0.9)")
    add(
        "--weight-decay",
        type=float,
        metavar="X",
        help="of weights, not of biases (adamw 5 / (lr steps), at most 1; others 0)",
    )
    add("--clip-norm", type=float, metavar="X", help="largest norm of the gradient (none)")


def follow_recipe(args: argparse.Namespace, rows: int) -> None:
    """Settings that nobody set become the recipe's for so many training rows; its dropout is for its own layers."""
    recipe = recipe_for(rows)
    if args.dropout is None:
        args.dropout = recipe.dropout if args.hidden is None else 0.0
    args.hidden = list(recipe.hidden) if args.hidden is None else args.hidden
    args.epochs = args.epochs or recipe.epochs
    if args.optimizer != "lbfgs":  # which has no batches, and refuses a size for them
        args.batch_size = args.batch_size or recipe.batch_size


def monitor_of(args: argparse.Namespace, *, validates: bool) -> str | None:
    """Whose best epoch is kept; None for the trainer's own choice.

    A cosine is for the steps at its end: the lowest training loss is kept, and the validation rows say how far to trust
    it. They choose the epoch where nothing says how far, and where the rate does not fall to 0.
    """
    falls = args.schedule in {None, "cosine"} and args.optimizer != "lbfgs"
    if args.monitor or not validates or args.patience or args.no_shrink or not falls:
        return args.monitor  # type: ignore[no-any-return]
    return "loss"


def optimizer_of(args: argparse.Namespace, rows: int) -> Optimizer:
    """The optimiser and its schedule that the options ask for, for so many training rows."""
    decay = args.weight_decay or 0.0
    if args.optimizer == "lbfgs":
        for name in ("lr", "schedule", "warmup", "clip_norm", "batch_size"):
            if getattr(args, name) is not None:
                flag = f"--{name.replace('_', '-')}"
                raise OptionError(f"{flag} came with --optimizer lbfgs, which has none", hint=f"leave {flag} out")
        return LBFGS(args.epochs, weight_decay=decay)
    lr = args.lr if args.lr is not None else DEFAULT_LR[args.optimizer]
    if args.optimizer == "adamw" and args.weight_decay is None and lr > 0:
        batches = -(-rows // min(rows, args.batch_size))
        decay = weight_decay_for(lr, args.epochs * -(-batches // args.accumulate))
    kind = SCHEDULES[args.schedule or "cosine"]
    schedule = kind(lr) if args.warmup is None else kind(lr, warmup=args.warmup)
    if args.optimizer == "sgd":
        nesterov = args.momentum > 0
        return SGD(schedule, momentum=args.momentum, nesterov=nesterov, weight_decay=decay, clip_norm=args.clip_norm)
    return {"adam": Adam, "adamw": AdamW}[args.optimizer](schedule, weight_decay=decay, clip_norm=args.clip_norm)
