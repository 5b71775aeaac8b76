"""The parameters that the classifier and the regressor share, with their types."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias, cast

import numpy as np

from chainrule.backends.contract.backend import ActivationName
from chainrule.errors import OptionError
from chainrule.nn.mlp import NormalizationName
from chainrule.options import one_of, real_number, whole_number
from chainrule.plain_text import show
from chainrule.train.monitoring.validation_metrics import Metric
from chainrule.train.recipe import ACTIVATION, Auto, Choices, Preset, is_auto
from chainrule.train.records.callbacks import Callback, EpochFunction

# scikit-learn's "logistic" is the sigmoid.
ActivationOption: TypeAlias = ActivationName | Literal["logistic"]
Solver: TypeAlias = Literal["adam", "sgd", "lbfgs"]
LearningRate: TypeAlias = Literal["cosine", "constant", "invscaling", "adaptive"]
ClassLossName: TypeAlias = Literal["log_loss", "softmax_cross_entropy", "focal"]
TargetLossName: TypeAlias = Literal[
    "squared_error",
    "absolute_error",
    "huber",
    "poisson",
    "gamma",
    "quantile",
    "gaussian_nll",
    "squared_error_sum",
]
DtypeName: TypeAlias = Literal["auto", "float32", "float64"]
LayerSizes: TypeAlias = int | Sequence[int] | np.ndarray | Auto
Callbacks: TypeAlias = Sequence[Callback | EpochFunction]

SOLVERS: tuple[Solver, ...] = ("adam", "sgd", "lbfgs")
LEARNING_RATES: tuple[LearningRate, ...] = ("cosine", "constant", "invscaling", "adaptive")


class Parameters:
    """What a user sets; :class:`chainrule.MLPClassifier` says what each means."""

    hidden_layer_sizes: LayerSizes
    activation: ActivationOption | Sequence[ActivationOption] | Auto
    solver: Solver
    alpha: float | Auto
    batch_size: int | Auto
    learning_rate: LearningRate
    learning_rate_init: float | Auto
    power_t: float
    max_iter: int | Auto
    shuffle: bool
    random_state: int | np.random.RandomState | None
    tol: float
    verbose: bool
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: float
    max_fun: int
    weight_decay: float | Auto
    dropout: float | Auto
    n_members: int | Auto
    preset: Preset | Auto | None
    normalization: NormalizationName | None
    standardize: bool
    embed_above: int | None
    shrink: bool
    monitor: str | Metric | None
    callbacks: Callbacks | None
    device: str | None
    dtype: DtypeName
    threads: int | None


def initial_rate(parameters: Parameters) -> float | None:
    """The learning rate at the start; None if it is left to the recipe."""
    rate = parameters.learning_rate_init
    return None if is_auto(rate) else real_number("learning_rate_init", rate, above=True)


def choices_of(parameters: Parameters, preset: Preset | None) -> Choices:
    """What of them a recipe would choose, or a ``preset`` if there is one; OptionError for numbers that are none."""
    epochs, batch_size, alpha = parameters.max_iter, parameters.batch_size, parameters.alpha
    members = parameters.n_members
    return Choices(
        hidden=layer_sizes(parameters.hidden_layer_sizes),
        dropout=parameters.dropout,
        epochs=epochs if is_auto(epochs) else whole_number("max_iter", epochs),
        batch_size=batch_size if is_auto(batch_size) else whole_number("batch_size", batch_size),
        alpha=alpha if is_auto(alpha) else real_number("alpha", alpha),
        weight_decay=_weight_decay(parameters.weight_decay),
        preset=preset,
        activation=activation_of_table_net(parameters.activation) if preset else "auto",
        members=members if is_auto(members) else whole_number("n_members", members),
    )


def layer_sizes(sizes: LayerSizes) -> Sequence[int] | Auto:
    """scikit-learn's ``hidden_layer_sizes``, which may be a number, as a list."""
    if isinstance(sizes, str):
        if sizes == "auto":
            return "auto"
        raise OptionError(
            f"hidden_layer_sizes: expected numbers of units, got {show(sizes)}",
            hint="a tuple such as (256, 128), a number, or 'auto'",
        )
    listed = [cast(int, sizes)] if np.ndim(sizes) == 0 else list(cast(Sequence[int], sizes))
    return [whole_number("hidden_layer_sizes", size) for size in listed]


def _weight_decay(weight_decay: float | Auto) -> float | Auto:
    if isinstance(weight_decay, str):
        return one_of("weight_decay", weight_decay, ("auto",))  # type: ignore[no-any-return]
    return real_number("weight_decay", weight_decay)


def activation_names(
    activation: ActivationOption | Sequence[ActivationOption] | Auto,
) -> ActivationName | Sequence[ActivationName]:
    """The names as :class:`chainrule.MLP` has them; of a plain net "auto" is "relu"."""
    if isinstance(activation, str):
        return ACTIVATION if is_auto(activation) else _activation_name(cast(ActivationOption, activation))
    if not isinstance(activation, Iterable):
        return activation
    return [_activation_name(name) for name in activation]


def activation_of_table_net(
    activation: ActivationOption | Sequence[ActivationOption] | Auto,
) -> ActivationName | Auto:
    """That of all hidden layers; OptionError for a list of them."""
    if not isinstance(activation, str):
        raise OptionError(
            f"activation: expected one name with a preset, got {show(activation)}",
            hint="preset=None for a net of your own",
        )
    return "auto" if is_auto(activation) else _activation_name(cast(ActivationOption, activation))


def _activation_name(activation: ActivationOption) -> ActivationName:
    return "sigmoid" if activation == "logistic" else activation
