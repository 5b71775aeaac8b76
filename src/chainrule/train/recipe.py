"""Settings that nobody set: the net and the training for a table of so many rows.

The command line and the estimators share them. On which tables they were chosen, and what they give, is in
docs/decisions/0018 for plain nets (:data:`RECIPES`), 0035 for the ensembles of presets (:data:`TABLE_RECIPES`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple, TypeAlias, TypeVar, cast, get_args

from chainrule.backends.contract.backend import ActivationName
from chainrule.errors import OptionError
from chainrule.nn.losses.names import Task
from chainrule.nn.metric_names import LEFT_OUT
from chainrule.options import one_of
from chainrule.train.feeding.batch_plan import plan_batches
from chainrule.train.monitoring.early_stopping import EarlyStopping
from chainrule.train.table_net import TableNet

ACTIVATION: Final[ActivationName] = "relu"  # of a plain net
LEARNING_RATE = 2e-3  # of Adam, falling to 0 along a cosine
FEATURE_LIMIT = 3.0  # standard deviations at which features are bent over, so that no outlier rules the net
DECAY = 5.0  # times the mean of the schedule, 1/2 of a cosine: the logarithm by which a run's decay shrinks weights
MOST_DECAY = 1.0  # for tables of 100 rows, whose few steps would ask for so much that it outweighs the loss
MOST_STEPS = 1 << 63  # that are told apart: a whole number may be larger than every float

Auto: TypeAlias = Literal["auto"]
Preset: TypeAlias = Literal["fast", "default", "best"]
MEMBERS: Final[dict[Preset, int]] = {"fast": 2, "default": 8, "best": 24}
AVERAGE = 1 - 1e-9  # decay of the weights' average, at most: at first it is less, and step t has the share 9 / (t + 10)
SMOOTHING = 0.05  # of labels
BETA_2 = 0.95  # of Adam, whose steps are large and few
T = TypeVar("T")


class Recipe(NamedTuple):
    """What suits tables from ``rows`` up to the next recipe's."""

    rows: int
    hidden: tuple[int, ...]
    dropout: float
    batch_size: int
    epochs: int
    alpha: float = 1e-4  # of the estimators' penalty in the loss
    members: int = 1  # nets trained at once, whose mean is the prediction


RECIPES = (
    # Without dropout and a penalty that goes by the number of rows, a row of weight 2 is two rows in a batch of all.
    Recipe(0, (100,), 0.0, 64, 200, alpha=0.0),
    Recipe(1_000, (256,), 0.2, 64, 200),
    Recipe(4_096, (256, 128), 0.2, 128, 200),
    Recipe(16_384, (256, 128), 0.2, 256, 200),
    Recipe(32_768, (256, 128), 0.2, 256, 60),  # an epoch has enough steps
)


@dataclass(frozen=True, kw_only=True)
class Choices:
    """What the user has chosen; "auto" leaves a setting to :func:`resolve`.

    Parameters
    ----------
    hidden : units of each hidden layer
    dropout : rate after each hidden layer
    epochs, batch_size : passes over the rows, and rows per step
    alpha : of the penalty in the loss
    weight_decay : of the optimiser
    members : nets that are trained at once, whose mean is the prediction
    activation : of the hidden layers of a preset; that of a plain net is no recipe's
    preset : the recipe for tables: an ensemble of :class:`TableNet`, of few, some or many members; None for a plain net
    """

    hidden: Sequence[int] | Auto = "auto"
    dropout: float | Auto = "auto"
    epochs: int | Auto = "auto"
    batch_size: int | Auto = "auto"
    alpha: float | Auto = "auto"
    weight_decay: float | Auto = "auto"
    members: int | Auto = "auto"
    activation: ActivationName | Auto = "auto"
    preset: Preset | None = None


@dataclass(frozen=True, kw_only=True)
class Settings:
    """:class:`Choices` with nothing left open.

    ``table`` is the net of a preset, ``lr`` its learning rate, ``early_stopping`` by the rows that its members leave
    out; all None for a plain net.
    """

    hidden: Sequence[int]
    dropout: float
    epochs: int
    batch_size: int
    alpha: float
    weight_decay: float
    members: int = 1
    table: TableNet | None = None
    lr: float | None = None
    early_stopping: EarlyStopping | None = None

    @property
    def activation(self) -> ActivationName:
        """Of the hidden layers, unless another one was chosen."""
        return ACTIVATION if self.table is None else self.table.activation

    @property
    def ema(self) -> float | None:
        """The decay of the weights' average; None for none."""
        return None if self.table is None else AVERAGE


def is_auto(option: object) -> bool:
    """Whether an option is left to the recipe."""
    return isinstance(option, str) and option == "auto"


def recipe_for(rows: int) -> Recipe:
    """The last of :data:`RECIPES` that so many rows reach."""
    return next(recipe for recipe in reversed(RECIPES) if rows >= recipe.rows)


def resolve(
    choices: Choices,
    rows: int,
    *,
    optimizer: str = "adamw",
    lr: float | None = None,
    accumulate: int = 1,
    recipe: Recipe | None = None,
) -> Settings:
    """The settings of a fit.

    Parameters
    ----------
    choices : what the user has set
    rows : to train on
    optimizer : its name; "adamw" alone has a weight decay if none was chosen
    lr : the learning rate at its highest; None if the optimiser has none
    accumulate : batches per update
    recipe : by default that for so many rows; a fit that continues another one keeps the recipe of that one

    The recipe's dropout is for the recipe's layers: if only ``hidden`` was chosen, there is none.
    """
    recipe = recipe or recipe_for(rows)
    epochs, batch_size = _chosen(choices.epochs, recipe.epochs), _chosen(choices.batch_size, recipe.batch_size)
    decay = 0.0
    if is_auto(choices.weight_decay) and optimizer == "adamw" and lr is not None and lr > 0:  # others are refused later
        decay = weight_decay_for(lr, epochs * -(-plan_batches(rows, batch_size).count // accumulate))
    return Settings(
        hidden=_chosen(choices.hidden, recipe.hidden),
        dropout=_chosen(choices.dropout, recipe.dropout if is_auto(choices.hidden) else 0.0),
        epochs=epochs,
        batch_size=batch_size,
        alpha=_chosen(choices.alpha, recipe.alpha),
        weight_decay=_chosen(choices.weight_decay, decay),
        members=_chosen(choices.members, recipe.members),
    )


class TableRecipe(NamedTuple):
    """What suits tables from ``rows`` up to the next recipe's, of a :class:`TableNet`."""

    rows: int
    bins: int
    bins_of_numbers: int  # of a regression, whose target may be a curve of its columns
    batch_size: int
    epochs: int
    lr: float


TABLE_RECIPES = (
    TableRecipe(0, bins=8, bins_of_numbers=8, batch_size=64, epochs=60, lr=0.02),
    TableRecipe(1_000, bins=16, bins_of_numbers=48, batch_size=128, epochs=50, lr=0.04),
    TableRecipe(65_536, bins=16, bins_of_numbers=48, batch_size=256, epochs=25, lr=0.04),
    TableRecipe(262_144, bins=16, bins_of_numbers=48, batch_size=512, epochs=12, lr=0.04),
)
HIDDEN = (96, 64)
# Of many rows: their loss seldom falls again so long after it was lowest, and all epochs would give the same errors.
LONG_PAST, STOPPING_ROWS = EarlyStopping(patience=5, monitor=LEFT_OUT, patience_fraction=0.5), 1_000
DROPOUT, DROPOUT_ROWS = 0.2, 100  # of classes; of fewer rows a row of weight 2 is two rows in a batch of all
SELU: Final[ActivationName] = "selu"  # of the nets for tables


def resolve_preset(choices: Choices, rows: int, *, task: Task, lr: float | None = None) -> Settings:
    """The settings of a fit by ``choices.preset``.

    Parameters
    ----------
    rows : to train on
    task : of the loss: classes have dropout, numbers have a straight line beside the hidden layers
    lr : the learning rate at its highest, if one was chosen
    """
    preset = one_of("preset", choices.preset, get_args(Preset))
    recipe = next(recipe for recipe in reversed(TABLE_RECIPES) if rows >= recipe.rows)
    of_numbers = task == "regress"
    dropout = _chosen(choices.dropout, 0.0 if of_numbers or rows < DROPOUT_ROWS else DROPOUT)
    hidden = tuple(_chosen(choices.hidden, HIDDEN))
    if not hidden:
        raise OptionError("preset: expected at least one hidden layer, got none", hint="preset=None for a linear model")
    return Settings(
        hidden=hidden,
        dropout=dropout,
        epochs=_chosen(choices.epochs, recipe.epochs),
        batch_size=_chosen(choices.batch_size, recipe.batch_size),
        alpha=_chosen(choices.alpha, 0.0),
        weight_decay=_chosen(choices.weight_decay, 0.0),
        members=_chosen(choices.members, MEMBERS[preset]),
        table=TableNet(
            hidden=hidden,
            activation=_chosen(choices.activation, SELU),
            dropout=dropout,
            bins=recipe.bins_of_numbers if of_numbers else recipe.bins,
            has_line=of_numbers,
        ),
        lr=recipe.lr if lr is None else lr,
        early_stopping=LONG_PAST if rows >= STOPPING_ROWS else None,
    )


def _chosen(value: T | Auto, default: T) -> T:
    return default if is_auto(value) else cast(T, value)


def weight_decay_for(learning_rate: float, steps: int) -> float:
    """min(1, 5 / (lr steps)), of AdamW.

    A decay of d shrinks weights to exp(-d sum(lr)) by the end of a run: one number for all tables would hardly hold
    back a net on few rows and flatten one on many. Source: Wang, Aitchison 2024 (arXiv 2405.13698).
    """
    return min(MOST_DECAY, DECAY / (learning_rate * min(steps, MOST_STEPS)))
