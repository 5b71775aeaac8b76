"""The options of ``chainrule train`` that say how weights are updated, and what they mean."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from chainrule.cli.options.parser import OptionGroup
from chainrule.errors import OptionError
from chainrule.optim.base import Optimizer
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
from chainrule.train.building import Updates, build_optimizer
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
    "of the learning rate (cosine): cosine falls to 0; constant; flat-cosine falls from half-way; coslog4 makes "
    "four waves; one-cycle rises from a 25th of it for 0.3 of the run, then falls; step multiplies by 0.1 at 1/2 and "
    "at 3/4; exponential falls to a hundredth; plateau multiplies by 0.1 after 10 epochs without a better valid_loss"
)


@dataclass(frozen=True, kw_only=True)
class UpdateOptions:
    """As typed; None for what was not given."""

    optimizer: str
    lr: float | None
    schedule: str | None
    warmup: float | None
    momentum: float
    weight_decay: float | None
    clip_norm: float | None
    lazy_embedding: bool = False

    def with_defaults(self, *, has_rate: bool = True) -> UpdateOptions:
        """With what depends on these options alone filled in: the weight decay of adamw stays the recipe's.

        Without ``has_rate`` so does the learning rate.
        """
        filled: dict[str, Any] = {}
        if self.optimizer != "adamw":
            filled["weight_decay"] = 0.0
        if self.optimizer == "lbfgs":
            self._refuse("lr", "schedule", "warmup", "clip_norm")
            if self.lazy_embedding:
                refuse_with_lbfgs("lazy_embedding")
        else:
            schedule = self.schedule or "cosine"
            filled |= {"schedule": schedule, "warmup": SCHEDULES[schedule].warmup}
            if has_rate:
                filled["lr"] = DEFAULT_LR[self.optimizer]
        return dataclasses.replace(
            self, **{name: value for name, value in filled.items() if getattr(self, name) is None}
        )

    @property
    def describes_updates(self) -> bool:
        """Whether the options say how weights are updated, so that no preset does."""
        given = (self.lr, self.warmup, self.weight_decay, self.clip_norm)
        return (
            any(option is not None for option in given)
            or self.optimizer != OPTIMIZERS[0]
            or self.schedule not in {None, "cosine"}
        )

    def _refuse(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) is not None:
                refuse_with_lbfgs(name)

    def build(self) -> Optimizer:
        """The optimiser of :meth:`with_defaults`, but for what the number of rows decides.

        OptionError if an option is out of range.
        """
        schedule = None
        if self.schedule is not None and self.optimizer != "lbfgs":
            lr = DEFAULT_LR[self.optimizer] if self.lr is None else self.lr  # a preset's is set by the rows
            schedule = SCHEDULES[self.schedule](lr, warmup=self.warmup or 0.0)
        updates = Updates(
            optimizer=self.optimizer,
            schedule=schedule,
            momentum=self.momentum,
            nesterov=self.momentum > 0,
            clip_norm=self.clip_norm,
            lazy_embedding=self.lazy_embedding,
        )
        return build_optimizer(updates, weight_decay=self.weight_decay or 0.0)


def refuse_with_lbfgs(name: str) -> None:
    """OptionError: an option was given that ``--optimizer lbfgs`` does not have."""
    flag = f"--{name.replace('_', '-')}"
    raise OptionError(f"--optimizer lbfgs has no {flag}", hint=f"leave {flag} out")


def add_arguments(parser: OptionGroup) -> None:
    """The options."""
    add = parser.add_argument
    add(
        "--optimizer",
        choices=OPTIMIZERS,
        default="adamw",
        help="(adamw); lbfgs uses all rows per step, --epochs is its number of iterations; needs SciPy",
    )
    add(
        "--lr",
        type=float,
        metavar="X",
        help="learning rate (0.002; sgd 0.01; of a preset 0.02, from 1,000 rows 0.04, divided by the square root of "
        "each layer's inputs)",
    )
    add("--schedule", choices=SCHEDULES, help=ABOUT_SCHEDULES)
    add(
        "--warmup",
        type=float,
        metavar="X",
        help="fraction of the run over which the learning rate rises (0; one-cycle 0.3)",
    )
    add("--momentum", type=float, default=0.9, metavar="X", help="Nesterov momentum of sgd (0.9)")
    add(
        "--weight-decay",
        type=float,
        metavar="X",
        help="of weights, not of biases (of a preset 0; with --preset none adamw 5 / (lr steps), at most 1, others 0)",
    )
    add("--clip-norm", type=float, metavar="X", help="largest norm of the gradient (none)")
    add(
        "--lazy-embedding",
        action="store_true",
        help="of columns with --embed-above, update only the vectors of categories in the batch: faster with very many",
    )
