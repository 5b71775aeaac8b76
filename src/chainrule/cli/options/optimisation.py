"""The options of ``chainrule train`` that say how weights are updated, and what they mean."""

from __future__ import annotations

import argparse

from chainrule.cli.options.parser import OptionGroup
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
from chainrule.train.recipe import LEARNING_RATE

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


def add_arguments(parser: OptionGroup) -> None:
    """The options."""
    add = parser.add_argument
    add(
        "--optimizer",
        choices=OPTIMIZERS,
        default="adamw",
        help="(adamw); lbfgs takes all rows at once, --epochs iterations of it, and wants SciPy",
    )
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


def with_defaults(args: argparse.Namespace) -> argparse.Namespace:
    """The options with what is left open filled in: what it is by default depends on the others."""
    filled = dict(vars(args))
    if args.weight_decay is None and args.optimizer != "adamw":  # whose own is the recipe's, by the number of steps
        filled["weight_decay"] = 0.0
    if args.optimizer == "lbfgs":
        for name in ("lr", "schedule", "warmup", "clip_norm", "batch_size"):
            if getattr(args, name) is not None:
                flag = f"--{name.replace('_', '-')}"
                raise OptionError(f"{flag} came with --optimizer lbfgs, which has none", hint=f"leave {flag} out")
        return argparse.Namespace(**filled)
    schedule = args.schedule or "cosine"
    defaults = {"lr": DEFAULT_LR[args.optimizer], "schedule": schedule, "warmup": SCHEDULES[schedule].warmup}
    filled |= {name: value for name, value in defaults.items() if filled[name] is None}
    return argparse.Namespace(**filled)


def optimizer_of(args: argparse.Namespace) -> Optimizer:
    """The optimiser and its schedule that the options, :func:`with_defaults`, ask for."""
    decay = args.weight_decay
    if args.optimizer == "lbfgs":
        return LBFGS(args.epochs, weight_decay=decay)
    schedule = SCHEDULES[args.schedule](args.lr, warmup=args.warmup)
    if args.optimizer == "sgd":
        nesterov = args.momentum > 0
        return SGD(schedule, momentum=args.momentum, nesterov=nesterov, weight_decay=decay, clip_norm=args.clip_norm)
    return {"adam": Adam, "adamw": AdamW}[args.optimizer](schedule, weight_decay=decay, clip_norm=args.clip_norm)
