"""Losses of the distribution of a target: its quantiles, or its mean and variance."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from chainrule.backends.contract.backend import Array, Backend
from chainrule.backends.contract.ensembles import MemberMeanName
from chainrule.backends.contract.losses import LossBatch
from chainrule.errors import OptionError
from chainrule.nn.inputs.standardization import LARGEST, SMALLEST, Standardization, Units
from chainrule.nn.losses import baselines
from chainrule.nn.losses.base import Baseline, NumberLoss, Task
from chainrule.options import real_number

SMALLEST_GAP = 1e-3  # of the targets' range, between two quantiles at the start: equal ones would have no gradient


@dataclass(frozen=True, repr=False)
class Quantile(NumberLoss):
    """Several quantiles of a target at once, which never cross; the pinball loss of each, added up.

    q_i1 = z_i1, q_ij = q_i(j-1) + log(1 + exp(z_ij));
    l_i = sum_j( max(u_j (t_i - q_ij), (u_j - 1) (t_i - q_ij)) ) for levels u_j

    Parameters
    ----------
    levels : rising, in (0, 1); the net has one output for each, for each target column
    reduction : "mean" (over rows, columns and levels) or "sum"

    ``predict`` gives (n, levels), or (n, k, levels) for k target columns. Source: Koenker, Bassett 1978; Gasthaus et
    al. 2019, section 3.
    """

    name: ClassVar[str] = "quantile"
    task: ClassVar[Task] = "regress"
    metric: ClassVar[str] = "d2"
    mean_kind: ClassVar[MemberMeanName] = "quantiles"
    always_shown: ClassVar[Sequence[str]] = ("levels",)
    levels: Sequence[float] = (0.1, 0.5, 0.9)

    def __post_init__(self) -> None:
        super().__post_init__()
        levels = (self.levels,) if isinstance(self.levels, float) else self.levels
        if isinstance(levels, str) or not isinstance(levels, Sequence | np.ndarray) or not len(levels):
            raise OptionError(f"levels: expected numbers between 0 and 1, got {levels!r}", hint="[0.1, 0.5, 0.9]")
        rising = tuple(real_number("a level", level, above=True, below=1.0) for level in levels)
        if any(b <= a for a, b in itertools.pairwise(rising)):
            raise OptionError(f"expected levels of which each is above the one before, got {list(rising)}")
        object.__setattr__(self, "levels", rising)

    @property
    def outputs_each(self) -> int:
        return len(self.levels)

    @property
    def formula(self) -> str:
        return (
            f"{self.reduction}_ij( max(u_j (t - q_ij), (u_j - 1) (t - q_ij)) ) where q_i1 = z_i1, "
            f"q_ij = q_i,j-1 + log(1 + exp(z_ij)), u = {', '.join(f'{u:g}' for u in self.levels)}"
        )

    @property
    def gradient(self) -> str:
        return f"r_j sum_from_j([t < q] - u){' / (n * k)' if self.mean else ''} where r_1 = 1, r_j = sigmoid(z_j)"

    def __call__(self, backend: Backend, batch: LossBatch) -> None:
        backend.quantile_loss(batch, levels=tuple(self.levels), scale=self.scale, mean=self.mean)

    def baseline(self, targets: np.ndarray, weights: np.ndarray | None) -> Baseline | None:
        return Baseline(baselines.pinball(targets, weights, self.levels), 0.0)

    def constant_logits(self, targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
        """z_1 = q_1, z_j = log(exp(q_j - q_(j-1)) - 1) of the targets' own quantiles q."""
        best = baselines.quantiles(targets, weights, self.levels)
        reach = np.ptp(targets if weights is None else targets[weights > 0], axis=0)[:, None]
        gaps = np.maximum(np.diff(best, axis=1), SMALLEST_GAP * np.where(reach > 0, reach, 1.0))
        return np.concatenate([best[:, :1], gaps + np.log(-np.expm1(-gaps))], axis=1).ravel()

    def to_predictions(self, backend: Backend, logits: Array) -> None:
        backend.quantiles(logits, count=len(self.levels), out=logits)

    def units(self, targets: Standardization) -> Units:
        back, count = targets.units(), len(self.levels)
        return Units(np.repeat(back.scale, count), np.repeat(back.shift, count))

    def point(self, numbers: Array) -> Array:
        return numbers if self.columns == 1 else numbers.reshape(len(numbers), self.columns, len(self.levels))


@dataclass(frozen=True, repr=False)
class GaussianNLL(NumberLoss):
    """Mean and variance of a target: l_i = sum_j( (s_ij + (t_ij - m_ij)^2 exp(-s_ij)) / 2 ), in nats.

    It leaves out log(2 pi) / 2 per target column. z = [m, s]: the net has 2 k outputs for k target columns, means m,
    then logarithms s of variances. ``predict`` gives the means, ``predict_distribution`` means and variances. There is
    no metric beside the loss: the density at the target has no bound, so no prediction is perfect, and no fraction of
    the loss is explained.

    Parameters
    ----------
    reduction : "mean" (over rows and target columns) or "sum"

    Source: Nix, Weigend 1994; torch.nn.GaussianNLLLoss.
    """

    name: ClassVar[str] = "gaussian_nll"
    task: ClassVar[Task] = "regress"
    metric: ClassVar[str] = ""
    mean_kind: ClassVar[MemberMeanName] = "mean_and_variance"

    @property
    def outputs_each(self) -> int:
        return 2

    @property
    def scale(self) -> float:
        return 1.0 / self.columns if self.mean else 1.0

    @property
    def formula(self) -> str:
        return f"{self.reduction}_ij( (s + (m - t)^2 exp(-s)) / 2 ) where z = [m, s], of k / 2 columns each"

    @property
    def gradient(self) -> str:
        return f"[(m - t) exp(-s), (1 - (m - t)^2 exp(-s)) / 2]{' / (n * k / 2)' if self.mean else ''}"

    def __call__(self, backend: Backend, batch: LossBatch) -> None:
        backend.gaussian_nll(batch, scale=self.scale, mean=self.mean)

    def to_predictions(self, backend: Backend, logits: Array) -> None:
        backend.mean_and_variance(logits, out=logits)

    def constant_logits(self, targets: np.ndarray, weights: np.ndarray | None) -> np.ndarray | None:
        """The mean and the logarithm of the variance."""
        mean, variance = baselines.mean_and_variance(targets, weights)
        return np.concatenate([mean, np.log(np.where(variance > 0, variance, 1.0))])

    def units(self, targets: Standardization) -> Units:
        """A variance is at least the smallest normal number, so that it has a logarithm, even of a constant target."""
        back = targets.units()
        with np.errstate(over="ignore"):
            squares = np.minimum(back.scale**2, LARGEST)
        return Units(
            np.concatenate([back.scale, squares]), np.concatenate([back.shift, np.full(self.columns, SMALLEST)])
        )

    def point(self, numbers: Array) -> Array:
        return numbers[:, 0] if self.columns == 1 else numbers[:, : self.columns]

    def variance(self, numbers: Array) -> Array:
        """The variance that belongs to :meth:`point`, in squared units of the target."""
        return numbers[:, 1] if self.columns == 1 else numbers[:, self.columns :]
