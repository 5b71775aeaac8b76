"""Losses of targets that are numbers, one output per target column."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np

from chainrule.backends.contract.backend import Array, Backend
from chainrule.backends.contract.ensembles import MemberMeanName
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.contract.target_losses import ElementwiseLossName
from chainrule.nn.losses import baselines
from chainrule.nn.losses.base import Baseline, NumberLoss, Support, Task
from chainrule.options import real_number


@dataclass(frozen=True, repr=False)
class _Elementwise(NumberLoss):
    """A sum over the outputs, one per target column."""

    task: ClassVar[Task] = "regress"
    metric: ClassVar[str] = "d2"
    of_element: ClassVar[str]  # l and dl/dz of one element, as they are printed
    slope: ClassVar[str]

    @property
    def parameter(self) -> float:
        """The number in the formula, if there is one."""
        return 0.0

    @property
    def formula(self) -> str:
        return f"{self.reduction}_ij( {self.of_element} )"

    @property
    def gradient(self) -> str:
        return f"{self.slope} / (n * k)" if self.mean else self.slope

    def __call__(self, backend: Backend, batch: LossBatch) -> None:
        backend.elementwise_loss(
            batch, cast(ElementwiseLossName, self.name), parameter=self.parameter, scale=self.scale, mean=self.mean
        )


@dataclass(frozen=True, repr=False)
class SquaredError(_Elementwise):
    """l_i = sum_j( (z_ij - t_ij)^2 ).   z, t (n, k), in squared units of the target. The best constant is the mean.

    Parameters
    ----------
    reduction : "mean" (over rows and target columns) or "sum"
    """

    name: ClassVar[str] = "squared_error"
    metric: ClassVar[str] = "r2"
    of_element: ClassVar[str] = "(z - t)^2"
    slope: ClassVar[str] = "2 (z - t)"

    def baseline(self, targets: np.ndarray, weights: np.ndarray | None) -> Baseline | None:
        return Baseline(baselines.spread(targets, weights), 0.0)

    def best_constant(self, targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
        """The mean."""
        return baselines.mean_and_variance(targets, weights)[0]


@dataclass(frozen=True, repr=False)
class AbsoluteError(_Elementwise):
    """l_i = sum_j( |z_ij - t_ij| ).   z, t (n, k), in units of the target. The best constant is the median.

    Parameters
    ----------
    reduction : "mean" (over rows and target columns) or "sum"
    """

    name: ClassVar[str] = "absolute_error"
    of_element: ClassVar[str] = "|z - t|"
    slope: ClassVar[str] = "sign(z - t)"

    def baseline(self, targets: np.ndarray, weights: np.ndarray | None) -> Baseline | None:
        return Baseline(2 * baselines.pinball(targets, weights, [0.5]), 0.0)

    def best_constant(self, targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
        """The median."""
        return baselines.quantiles(targets, weights, [0.5])[:, 0]


@dataclass(frozen=True, repr=False)
class Huber(_Elementwise):
    """Squared near the target, straight beyond: l_i = sum_j( c_ij (z_ij - t_ij - c_ij / 2) ).

    c = clip(z - t, -delta, delta): that is (z - t)^2 / 2 up to delta, then delta (|z - t| - delta / 2).   z, t (n, k).

    Parameters
    ----------
    delta : above 0, in units of the targets as they are trained on: standard deviations if they are standardised
    reduction : "mean" (over rows and target columns) or "sum"

    Source: Huber 1964, section 1; torch.nn.HuberLoss.
    """

    name: ClassVar[str] = "huber"
    slope: ClassVar[str] = "c"
    delta: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "delta", real_number("delta", self.delta, above=True))

    @property
    def parameter(self) -> float:
        return self.delta

    @property
    def formula(self) -> str:
        return f"{self.reduction}_ij( c (z - t - c / 2) ) where {self._clipped}"

    @property
    def gradient(self) -> str:
        return f"{super().gradient} where {self._clipped}"

    @property
    def _clipped(self) -> str:
        return f"c = clip(z - t, -{self.delta:g}, {self.delta:g})"

    def baseline(self, targets: np.ndarray, weights: np.ndarray | None) -> Baseline | None:
        return Baseline(baselines.huber(targets, weights, self.delta), 0.0)

    def best_constant(self, targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
        """The constant at which the clipped errors sum to 0."""
        return baselines.huber_center(targets, weights, self.delta)


@dataclass(frozen=True, repr=False)
class _LogLink(_Elementwise):
    """z is the logarithm of the mean that the net predicts, so targets keep their scale."""

    standardizes: ClassVar[bool] = False
    mean_kind: ClassVar[MemberMeanName] = "exp"

    def to_predictions(self, backend: Backend, logits: Array) -> None:
        backend.exp(logits, out=logits)

    def constant_logits(self, targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
        """log(mean): zeros would predict a mean of 1, and large targets would then throw the first steps far off."""
        return baselines.log_mean(targets, weights)


@dataclass(frozen=True, repr=False)
class Poisson(_LogLink):
    """Counts: l_i = sum_j( exp(z_ij) - t_ij z_ij ).   z, t (n, k), t from 0 up.

    The negative log likelihood of a Poisson distribution of mean exp(z), without log(t!), which no z changes;
    predictions are exp(z).

    Parameters
    ----------
    reduction : "mean" (over rows and target columns) or "sum"

    Source: McCullagh, Nelder 1989, section 6.2; torch.nn.PoissonNLLLoss.
    """

    name: ClassVar[str] = "poisson"
    support: ClassVar[Support] = "nonnegative"
    of_element: ClassVar[str] = "exp(z) - t z"
    slope: ClassVar[str] = "(exp(z) - t)"

    def baseline(self, targets: np.ndarray, weights: np.ndarray | None) -> Baseline | None:
        return baselines.poisson(targets, weights)

    def perfect(self, targets: np.ndarray, weights: np.ndarray | None) -> float:
        """Of z = log t."""
        return baselines.perfect_poisson(targets, weights)


@dataclass(frozen=True, repr=False)
class Gamma(_LogLink):
    """Positive and skewed (durations, costs): l_i = sum_j( z_ij + t_ij exp(-z_ij) ).   z, t (n, k), t above 0.

    The negative log likelihood of a gamma distribution of mean exp(z), divided by its shape, without the terms that no
    z changes; predictions are exp(z).

    Parameters
    ----------
    reduction : "mean" (over rows and target columns) or "sum"

    Source: McCullagh, Nelder 1989, section 8.3.
    """

    name: ClassVar[str] = "gamma"
    support: ClassVar[Support] = "positive"
    of_element: ClassVar[str] = "z + t exp(-z)"
    slope: ClassVar[str] = "(1 - t exp(-z))"

    def baseline(self, targets: np.ndarray, weights: np.ndarray | None) -> Baseline | None:
        return baselines.gamma(targets, weights)

    def perfect(self, targets: np.ndarray, weights: np.ndarray | None) -> float:
        """Of z = log t."""
        return baselines.perfect_gamma(targets, weights)
