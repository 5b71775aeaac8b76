"""The losses as scikit-learn's MLP weighs them: a mean over rows alone, and half the squared error.

chainrule's own also divide by the columns of the target, so that the learning rate need not change with them. Here the
gradient of a row is z - t, whatever the columns, as in scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from chainrule.errors import OptionError
from chainrule.nn.losses.names import LOSSES, Loss, SigmoidCrossEntropy, SoftmaxCrossEntropy, SquaredError
from chainrule.options import one_of


@dataclass(frozen=True, repr=False)
class BinaryLogLoss(SigmoidCrossEntropy):
    """mean_i( sum_j( max(z, 0) - z t + log(1 + exp(-|z|)) ) )."""

    shown_as: ClassVar[str] = "log_loss"

    @property
    def scale(self) -> float:
        return 1.0

    @property
    def formula(self) -> str:
        return "mean_i( sum_j( max(z, 0) - z t + log(1 + exp(-|z|)) ) )"

    @property
    def gradient(self) -> str:
        return "(sigmoid(z) - t) / n"


@dataclass(frozen=True, repr=False)
class HalfSquaredError(SquaredError):
    """mean_i( sum_j( (z - t)^2 / 2 ) )."""

    shown_as: ClassVar[str] = "squared_error"

    @property
    def scale(self) -> float:
        return 0.5

    @property
    def formula(self) -> str:
        return "mean_i( sum_j( (z - t)^2 / 2 ) )"

    @property
    def gradient(self) -> str:
        return "(z - t) / n"


def loss_of_classes(loss: str | Loss, classes: int, *, several: bool, smoothing: float = 0.0) -> Loss:
    """The loss of a classifier: "log_loss", a name, or itself; ``several`` labels per row, or one of ``classes``.

    ``smoothing`` is that of the labels of "log_loss".
    """
    if isinstance(loss, str):
        names = [name for name, known in LOSSES.items() if known.task == "classify"]
        name = one_of("loss", loss, ("log_loss", *names))
        binary = name == "log_loss" and (several or classes == 2)
        usual: Loss = (BinaryLogLoss if binary else SoftmaxCrossEntropy)(label_smoothing=smoothing)
        loss = usual if name == "log_loss" else LOSSES[name]
    if not isinstance(loss, Loss) or loss.task == "regress" or (loss.task == "classify" and several):
        raise OptionError(f"loss: expected one for {'several labels per row' if several else 'classes'}, got {loss!r}")
    return loss


def loss_of_targets(loss: str | Loss) -> Loss:
    """The loss of a regressor: a name, or itself."""
    if isinstance(loss, str):
        names = [name for name, known in LOSSES.items() if known.task == "regress"]
        loss = HalfSquaredError() if one_of("loss", loss, names) == "squared_error" else LOSSES[loss]
    if not isinstance(loss, Loss) or loss.task != "regress":
        raise OptionError(f"loss: expected one for a regression, got {loss!r}", hint='loss="squared_error"')
    return loss
