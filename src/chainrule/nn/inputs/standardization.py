"""Columns scaled to mean 0 and standard deviation 1, and predictions scaled back to the target's units, in float64."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from chainrule.backends.contract.batches import HALVED_ABOVE
from chainrule.errors import DataError, ShapeError
from chainrule.host_memory import out_of_memory_hint
from chainrule.nn.inputs.quantiles import five_numbers
from chainrule.plain_text import count_of

STANDARDIZING = "use fewer rows: mean and deviation of a part are nearly those of all"
ELEMENTS = 1 << 18  # of the temporary in which deviations are squared
CACHE_LINE = 8  # columns at a time at least: of fewer, a pass over the rows reads the same memory again and again
LARGEST, SMALLEST = sys.float_info.max, sys.float_info.min  # SMALLEST is the smallest normal double
EXTREME = 400  # binary exponents up to which squares, and sums of any number of them, neither overflow nor underflow


class Units(NamedTuple):
    """The inverse of a standardisation: number = z * scale + shift, (n_columns,) float64 each."""

    scale: np.ndarray
    shift: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Standardization:
    """x -> z = (x - mean) / scale, column by column, then z / sqrt(1 + (z / limit)^2).

    Parameters
    ----------
    mean, scale : (n_columns,) float64 each. A constant column has scale inf: z is 0 whatever x is. Its weights were
        never trained, so another value in a new row must not change a prediction; and the prediction of a constant
        target is that constant.
    limit : no result is larger than this; inf for none. A column that is almost always the same (a pixel at the rim)
        has a tiny scale, and its rare values would lie dozens of standard deviations out: the limit brings them near.
        Source: Holzmueller, Grinsztajn, Steinwart 2024 (RealMLP), section 3, "smooth clipping".
    """

    mean: np.ndarray
    scale: np.ndarray
    limit: float = math.inf

    def __post_init__(self) -> None:
        if self.mean.shape != self.scale.shape or self.mean.ndim != 1:
            raise ShapeError(
                f"expected mean and scale of shape (n_columns,), got {self.mean.shape} and {self.scale.shape}"
            )

    def __repr__(self) -> str:
        constant = int(self.is_constant.sum())
        facts = [f"{constant:,} constant"] * (constant > 0) + [f"limit {self.limit:g}"] * math.isfinite(self.limit)
        return f"<Standardization of {', '.join([count_of(len(self.mean), 'column'), *facts])}>"

    @classmethod
    @out_of_memory_hint(STANDARDIZING, doing="standardizing")
    def fit(
        cls,
        x: np.ndarray,
        *,
        limit: float = math.inf,
        names: Sequence[str] = (),
        sample_weight: np.ndarray | None = None,
    ) -> Standardization:
        """Mean and standard deviation of each column of ``x`` (n, n_columns), or of (n,) as one column.

        A row of ``sample_weight`` 2 counts as two rows, one of 0 not at all. DataError for numbers that are not finite,
        with the column's name from ``names`` if they are given.
        """
        x = _checked(x, names)
        if sample_weight is not None:
            x, sample_weight = _weighted(x, sample_weight)
        low, high = _range(x)
        mean, scale = _moments(x, np.maximum(np.abs(low), np.abs(high)), sample_weight)
        return cls(*_without_constants(mean, scale, low, high), limit)

    @classmethod
    @out_of_memory_hint(STANDARDIZING, doing="standardizing")
    def fit_robust(
        cls,
        x: np.ndarray,
        *,
        limit: float = math.inf,
        names: Sequence[str] = (),
        sample_weight: np.ndarray | None = None,
        keep_steps: bool = False,
    ) -> Standardization:
        """Median and distance of the quartiles of each column; half the range if the quartiles are equal.

        Outliers do not affect them. A column of two values (0 and 1: a category's, or whether a number is missing) has
        mean and standard deviation, as in :meth:`fit`: its quartiles say little, and its mean becomes 0; with
        ``keep_steps`` it has its mean and the step between its values, so that a rare category is no outlier. Weights
        count as in :meth:`fit`; a quartile by weight is the value with that part of the weight below it. DataError as
        there.

        Source: Holzmueller, Grinsztajn, Steinwart 2024 (RealMLP), section 3.
        """
        x = _checked(x, names)
        if sample_weight is not None:
            x, sample_weight = _weighted(x, sample_weight)
        low, high = _range(x)
        reach = np.maximum(np.abs(low), np.abs(high))
        mean, scale = np.empty(x.shape[1]), np.empty(x.shape[1])
        is_binary = np.array([((x[:, j] == low[j]) | (x[:, j] == high[j])).all() for j in range(x.shape[1])])
        for j in np.flatnonzero(~is_binary):
            mean[j], scale[j] = _quartiles(x[:, j], _exponents(reach[j]), sample_weight)
        for columns in _some_at_a_time(np.flatnonzero(is_binary), len(x)):
            mean[columns], scale[columns] = _moments(x[:, columns], reach[columns], sample_weight)
        if keep_steps:
            scale[is_binary] = np.minimum(high / 2 - low / 2, LARGEST / 2)[is_binary] * 2
        return cls(*_without_constants(mean, scale, low, high), limit)

    @property
    def is_constant(self) -> np.ndarray:
        """(n_columns,) bool: whether a column was constant."""
        constant: np.ndarray = np.isinf(self.scale)
        return constant

    def of_targets(self, y: np.ndarray) -> np.ndarray:
        """z of targets ``y`` (n, n_columns), float64, without the limit.

        A target that was constant in training keeps its units: z is its distance from the constant, so that the loss
        of other rows measures how wrong the constant is.
        """
        half = halves(self.mean)
        z: np.ndarray = (y * half - self.mean * half) / (self._unit * half)
        return z

    def to_targets(self, z: np.ndarray) -> np.ndarray:
        """The inverse of :meth:`of_targets`, float64."""
        y: np.ndarray = z * self._unit + self.mean
        return y

    def units(self) -> Units:
        """From a prediction's z to the target's units; a constant target is its constant, whatever z is."""
        return Units(np.where(self.is_constant, 0.0, self.scale), self.mean)

    @property
    def _unit(self) -> np.ndarray:
        unit: np.ndarray = np.where(self.is_constant, 1.0, self.scale)
        return unit


def halves(mean: np.ndarray) -> np.ndarray:
    """(n_columns,) the factor of x, mean and scale with which x - mean cannot overflow: see ``Backend.standardize``."""
    return np.where(np.abs(mean) > HALVED_ABOVE, 0.5, 1.0)


def _range(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x.min(axis=0).astype(np.float64), x.max(axis=0).astype(np.float64)


def _exponents(reach: np.ndarray) -> np.ndarray:
    """(n_columns,) the power of two by which a column of numbers up to ``reach`` is divided before it is squared."""
    exponents = np.frexp(reach)[1]
    return np.where(np.abs(exponents) > EXTREME, exponents, 0)


def _moments(x: np.ndarray, reach: np.ndarray, weights: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and standard deviation; columns whose squares would overflow or underflow are first scaled near 1."""
    with np.errstate(over="ignore", invalid="ignore"):  # of extreme columns, which are computed again below
        mean, scale = _moments_of_rows(x) if weights is None else _weighted_moments(x, weights)
    exponents = _exponents(reach)
    for j in np.flatnonzero(exponents):
        part = np.ldexp(x[:, j : j + 1].astype(np.float64), -exponents[j])
        (center,), (spread,) = _moments_of_rows(part) if weights is None else _weighted_moments(part, weights)
        mean[j], scale[j] = _scaled_back(center, spread, exponents[j])
    return mean, scale


def _quartiles(column: np.ndarray, exponent: Any, weights: np.ndarray | None) -> tuple[Any, Any]:
    """The median, and how far apart the quartiles are, or half the range."""
    scaled = np.ldexp(column.astype(np.float64), -exponent) if exponent else column
    least, lower, median, upper, most = five_numbers(scaled, weights)
    spread = upper - lower if upper > lower else most / 2 - least / 2
    return _scaled_back(median, spread, exponent)


def _moments_of_rows(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = x.mean(axis=0, dtype=np.float64)
    scale = np.empty(x.shape[1])
    # Some columns at a time, so that their squares take little memory; never one alone: NumPy sums a single column in
    # another order, and the result would depend on how the columns are cut.
    width = max(CACHE_LINE, ELEMENTS // len(x))
    for start in range(0, max(x.shape[1] - 1, 1), width):
        end = start + width if start + width < x.shape[1] - 1 else x.shape[1]
        part = slice(start, end)
        scale[part] = x[:, part].std(axis=0, dtype=np.float64, mean=mean[None, part])
    return mean, scale


def _some_at_a_time(columns: np.ndarray, n: int) -> Iterator[np.ndarray]:
    """Parts of these columns of ``n`` rows, so that copies of them take little memory."""
    width = max(1, ELEMENTS // n)
    return (columns[start : start + width] for start in range(0, len(columns), width))


def _weighted_moments(x: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    mean = np.average(x, axis=0, weights=weights)
    return mean, np.sqrt(np.average((x - mean) ** 2, axis=0, weights=weights))


def _scaled_back(center: Any, spread: Any, exponent: Any) -> tuple[Any, Any]:
    """Both times 2^exponent, at most the largest double, so that rounding does not make them infinite."""
    with np.errstate(over="ignore"):
        return np.ldexp(center, exponent).clip(-LARGEST, LARGEST), min(np.ldexp(spread, exponent), LARGEST)


def _without_constants(
    mean: np.ndarray, scale: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Mean and scale. A constant column has its value and scale inf; every other scale has a finite reciprocal.

    Decided by the values: the computed deviation of a constant column is the rounding error of its mean, not 0.
    """
    constant = low == high
    return np.where(constant, low, mean), np.where(constant, np.inf, np.maximum(scale, SMALLEST))


def _weighted(x: np.ndarray, sample_weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows of weight above 0, and their weights times a power of two, so that no product underflows."""
    weights = np.asarray(sample_weight, np.float64)
    if weights.shape != (len(x),):
        raise ShapeError(f"expected sample_weight of shape ({len(x)},), got {weights.shape}")
    if not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
        raise DataError("sample_weight: expected finite numbers from 0 up, not all 0")
    weighs = weights > 0
    return x[weighs], np.ldexp(weights[weighs], -np.frexp(weights.max())[1])


def _checked(x: np.ndarray, names: Sequence[str]) -> np.ndarray:
    if isinstance(x, np.ma.MaskedArray):
        raise DataError(
            "x: expected a plain array, got a masked one, whose masked values would silently be used",
            hint="fill or drop them first",
        )
    x = np.asarray(x)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or not x.size or x.dtype.kind not in "biuf":
        raise DataError(f"x: expected rows of finite numbers, got {x.shape} of {x.dtype}")
    if x.dtype == np.longdouble:
        x = x.astype(np.float64)
    if not _is_finite(x):
        row, column = np.argwhere(~np.isfinite(x))[0]
        name = f"column {names[column]!r:.60}" if names else f"column {column}"
        raise DataError(f"x at row {row}, {name}: expected a finite number, got {x[row, column]}")
    return x


def _is_finite(x: np.ndarray) -> bool:
    """Part by part: the booleans for a whole float64 table would take an eighth of its memory."""
    step = max(1, ELEMENTS // x.shape[1])
    return all(bool(np.isfinite(x[start : start + step]).all()) for start in range(0, len(x), step))
