"""The losses as scikit-learn's MLP weighs them: a mean over rows alone, and half the squared error.

chainrule's own also divide by the columns of the target, so that the learning rate need not change with them. Here the
gradient of a row is z - t, whatever the columns, as in scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass

from chainrule.nn.losses.names import SigmoidCrossEntropy, SquaredError


@dataclass(frozen=True, repr=False)
class BinaryLogLoss(SigmoidCrossEntropy):
    """mean_i( sum_j max(z, 0) - z t + log(1 + exp(-|z|)) )."""

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

    @property
    def scale(self) -> float:
        return 0.5

    @property
    def formula(self) -> str:
        return "mean_i( sum_j( (z - t)^2 / 2 ) )"

    @property
    def gradient(self) -> str:
        return "(z - t) / n"
