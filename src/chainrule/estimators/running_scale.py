"""The standardisation of a stream: mean and standard deviation of all rows that ``fit`` and ``partial_fit`` have had.

The net is a function of standardised rows to standardised targets. Only the map from a column's own units to these
moves with new rows; no weight is rewritten for it. docs/decisions/0023 says why, with figures.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.errors import DataError
from chainrule.estimators.array_namespaces import on_host
from chainrule.estimators.constant_columns import standardization
from chainrule.nn.inputs.preparation import Preparation
from chainrule.nn.inputs.standardization import Standardization
from chainrule.nn.network import Network

ENOUGH = 100  # rows, from which on a standard deviation is known well enough to recognise outliers
OF_CONSTANT = float(Standardization.fit(np.zeros((1, 1))).scale[0])  # the scale of a constant column


@dataclass(frozen=True, eq=False)
class RunningMoments:
    """Weighted mean and standard deviation of each column over all rows so far.

    Parameters
    ----------
    weight : sum of the rows' weights; only ratios of weights matter
    count : rows of a weight above 0
    mean, deviation : (n_columns,) float64 each; the deviation of a column that is constant so far is exactly 0, its
        mean exactly the value
    """

    weight: float
    count: int
    mean: np.ndarray
    deviation: np.ndarray

    @classmethod
    def of(cls, scale: Standardization, x: Array, weights: np.ndarray | None, unit: float = 1.0) -> RunningMoments:
        """The moments of rows ``x`` (n, n_columns), or (n,) as one column, whose standardisation is ``scale``.

        ``unit`` is what a weight of 1 was given as, in the weights of the whole stream.
        """
        x = x[:, None] if x.ndim == 1 else x
        counted = None if weights is None else np.flatnonzero(weights)
        mean, deviation = scale.mean.copy(), scale.scale.copy()
        for j in np.flatnonzero(scale.scale == OF_CONSTANT):  # of any other column too, by chance
            column = on_host(x[:, j])  # one at a time: together they could be as large as the table
            column = column if counted is None else column[counted]
            if column.min() == column.max():
                mean[j], deviation[j] = column[0], 0.0
        if weights is None or counted is None:
            return cls(float(len(x)), len(x), mean, deviation)
        weight = float(weights.sum(dtype=np.float64)) * unit
        weight = min(max(weight, sys.float_info.min), sys.float_info.max)
        return cls(weight, len(counted), mean, deviation)

    def followed_by(self, x: np.ndarray, weights: np.ndarray | None, unit: float = 1.0) -> RunningMoments:
        """These moments and those of further rows, (n, n_columns) or (n,), as one.

        With shares p and q = 1 - p of the weight and d the difference of the means::

            mean = mean_1 + q d        deviation^2 = p deviation_1^2 + q deviation_2^2 + p q d^2

        in float64, without squares that could over- or underflow. Values far out are first drawn in: :meth:`_drawn_in`.
        Source: Chan, Golub, LeVeque 1983, equation 2.1.

        Raises
        ------
        DataError   if the moments are not finite.
        """
        x = x[:, None] if x.ndim == 1 else x
        if weights is not None and not weights.all():  # rows of weight 0 do not decide what is an outlier either
            x, weights = x[weights > 0], weights[weights > 0]
        x = self._drawn_in(x)
        more = RunningMoments.of(standardization(x, weights), x, weights, unit)
        weight = min(self.weight + more.weight, sys.float_info.max)
        with np.errstate(over="ignore", invalid="ignore"):  # the result is refused below
            q, d = 1 / (1 + self.weight / more.weight), more.mean - self.mean
            p = 1 - q
            within = np.hypot(math.sqrt(p) * self.deviation, math.sqrt(q) * more.deviation)
            mean, deviation = self.mean + q * d, np.hypot(within, math.sqrt(p) * math.sqrt(q) * np.abs(d))
        bad = ~(np.isfinite(mean) & np.isfinite(deviation))
        if bad.any():
            column = int(bad.argmax())
            raise DataError(
                f"column {column} (from 0) is around {more.mean[column]:.3g} after {self.mean[column]:.3g} in the rows "
                "before: too far to be standardised",
                hint="divide it, or take its logarithm",
            )
        return RunningMoments(weight, self.count + more.count, mean, deviation)

    def _drawn_in(self, x: np.ndarray) -> np.ndarray:
        """``x`` with values farther out than sqrt(rows so far) standard deviations set to that distance.

        None of n rows lies more than sqrt(n - 1) standard deviations from their mean (Samuelson 1968, How Deviant Can
        You Be?): a value beyond is like none before. A single one no more than doubles the variance, and does not press
        all other rows into one point. If most rows of a chunk are that far out, the column itself has moved, and they
        count as they are; if a chunk is one row, every such row doubles the variance until it is no longer far out.
        """
        if self.count < ENOUGH:
            return x
        with np.errstate(over="ignore"):  # beyond the largest number is beyond every number
            reach = math.sqrt(self.count) * self.deviation
            low, high = (np.where(reach > 0, self.mean + side * reach, side * np.inf) for side in (-1, 1))
        if ((x.min(axis=0) >= low) & (x.max(axis=0) <= high)).all():
            return x
        has_moved = (((x < low) | (x > high)).mean(axis=0) > 0.5) & (len(x) > 1)
        low, high = np.where(has_moved, -np.inf, low), np.where(has_moved, np.inf, high)
        drawn_in: np.ndarray = np.clip(x.astype(np.float64, copy=False), low, high)
        return drawn_in

    def standardization(self, limit: float) -> Standardization:
        """The standardisation by these moments."""
        return Standardization(self.mean, np.where(self.deviation > 0, self.deviation, OF_CONSTANT), limit)


@dataclass(frozen=True)
class RunningScale:
    """The moments of which a :class:`Preparation` is made; None for what is not standardised."""

    features: RunningMoments | None
    targets: RunningMoments | None

    @classmethod
    def of(
        cls, preparation: Preparation, x: Array, y: np.ndarray, weights: np.ndarray | None, unit: float
    ) -> RunningScale:
        """Of the first rows, for which ``preparation`` was made."""
        features, targets = preparation.features, preparation.targets
        return cls(
            None if features is None else RunningMoments.of(features, x, weights, unit),
            None if targets is None else RunningMoments.of(targets, y, weights, unit),
        )

    def followed_by(self, x: Array, y: np.ndarray, weights: np.ndarray | None, unit: float) -> RunningScale:
        """With further rows; ``x`` (n, n_in) on the host or on a device, ``y`` as the loss has it."""
        return RunningScale(
            None if self.features is None else self.features.followed_by(on_host(x), weights, unit),
            None if self.targets is None else self.targets.followed_by(y, weights, unit),
        )

    def applied_to(self, preparation: Preparation) -> Preparation:
        """``preparation`` with these moments; limits stay."""
        features, targets = preparation.features, preparation.targets
        if self.features is not None and features is not None:
            features = self.features.standardization(features.limit)
        if self.targets is not None and targets is not None:
            targets = self.targets.standardization(targets.limit)
        return dataclasses.replace(preparation, features=features, targets=targets)


@contextlib.contextmanager
def scale_applied(scale: RunningScale | None, net: Network) -> Iterator[None]:
    """Let ``scale`` standardise for ``net``, which is trained inside; None changes nothing.

    If that fails the standardisation is what it was before.
    """
    preparation = net.preparation
    if scale is not None:
        net.preparation = scale.applied_to(preparation)
    try:
        yield
    except BaseException:
        net.preparation = preparation
        raise
