"""The losses by name. Each is a class with options; a name stands for it with its defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from chainrule.errors import ModelFileError, OptionError
from chainrule.nn.losses.base import Baseline, Loss, Task
from chainrule.nn.losses.class_losses import Focal, SigmoidCrossEntropy, SoftmaxCrossEntropy
from chainrule.nn.losses.custom_loss import CustomLoss
from chainrule.nn.losses.distribution_losses import GaussianNLL, Quantile
from chainrule.nn.losses.target_losses import AbsoluteError, Gamma, Huber, Poisson, SquaredError
from chainrule.options import one_of

__all__ = [
    "KINDS",
    "LOSSES",
    "AbsoluteError",
    "Baseline",
    "CustomLoss",
    "Focal",
    "Gamma",
    "GaussianNLL",
    "Huber",
    "Loss",
    "LossName",
    "Poisson",
    "Quantile",
    "SigmoidCrossEntropy",
    "SoftmaxCrossEntropy",
    "SquaredError",
    "Task",
    "find_loss",
    "from_description",
]

KINDS: dict[str, type[Loss]] = {
    kind.name: kind
    for kind in (
        SoftmaxCrossEntropy,
        SigmoidCrossEntropy,
        SquaredError,
        Focal,
        AbsoluteError,
        Huber,
        Poisson,
        Gamma,
        Quantile,
        GaussianNLL,
    )
}

# The names of LOSSES once more, for type checkers and editors; a test holds them equal.
LossName: TypeAlias = Literal[
    "softmax_cross_entropy",
    "sigmoid_cross_entropy",
    "squared_error",
    "focal",
    "absolute_error",
    "huber",
    "poisson",
    "gamma",
    "quantile",
    "gaussian_nll",
    "squared_error_sum",
]

LOSSES: dict[str, Loss] = {
    **{name: kind() for name, kind in KINDS.items()},
    "squared_error_sum": SquaredError(reduction="sum"),
}


def find_loss(loss: LossName | Loss, n_out: int) -> Loss:
    """The loss, or the one of that name, bound to ``n_out`` outputs; OptionError lists the names."""
    if isinstance(loss, type) and issubclass(loss, Loss):
        raise OptionError(f"expected a loss, got the class {loss.__name__}", hint=f"{loss.__name__}()")
    found: Loss = loss if isinstance(loss, Loss) else LOSSES[one_of("loss", loss, LOSSES)]
    return found.bind(n_out)


def name_of(loss: Loss) -> str:
    """Its name if it has the options that the name stands for; else its repr: ``Huber(delta=2.0)``."""
    return next((name for name, known in LOSSES.items() if known == loss), repr(loss))


def description_of(loss: Loss) -> str | dict[str, Any]:
    """The loss in a model file: its name, {"name": ..., option: value, ...}, or {"custom": its name}."""
    if isinstance(loss, CustomLoss):
        return {"custom": loss.name}
    name = name_of(loss)
    return name if name in LOSSES else {"name": loss.name, **loss.options}


def from_description(description: Any, custom: Sequence[Any] = ()) -> Loss:
    """The inverse of :func:`description_of`; OptionError or TypeError if it describes none.

    ``custom`` holds the custom losses; ModelFileError if the one described is not among them.
    """
    if isinstance(description, Mapping) and "custom" in description:
        name = description["custom"]
        for loss in custom:
            if isinstance(loss, CustomLoss) and loss.name == name:
                return loss
        raise ModelFileError(f"the net has a custom loss, {name!r:.80}", hint="load(..., custom=[it])")
    if isinstance(description, Mapping):
        options = dict(description)
        return KINDS[one_of("loss", options.pop("name", None), KINDS)](**options)
    return LOSSES[one_of("loss", description, LOSSES)]


def refuse_standardized(loss: Loss) -> None:
    """OptionError if this loss cannot take standardised targets."""
    if not loss.standardizes:
        raise OptionError(
            f"expected targets in their own units for {name_of(loss)}, whose logits are logarithms of the mean, got "
            "standardised ones",
            hint="Preparation(targets=None)",
        )
