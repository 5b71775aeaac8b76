"""What was done to the data before the net saw it; kept with the net, so that a prediction does just the same."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from chainrule.errors import DataError, OptionError, ShapeError


@dataclass(frozen=True, eq=False)
class Standardization:
    """x -> z = (x - mean) / scale, column by column, then z / sqrt(1 + (z / limit)^2).

    Parameters
    ----------
    mean, scale : (n_columns,) float64 each. A column that never changes has scale 1: it becomes 0, and stays finite if
        it changes one day.
    limit : no result is larger than this; inf for none. A column that is almost always the same (a pixel at the rim)
        has a tiny scale, and its rare values would land dozens of deviations out; they come to rest near the limit.
        Source: Holzmueller, Grinsztajn, Steinwart 2024 (RealMLP), section 3, "smooth clipping".
    """

    mean: np.ndarray
    scale: np.ndarray
    limit: float = math.inf

    def __post_init__(self) -> None:
        if self.mean.shape != self.scale.shape or self.mean.ndim != 1:
            raise ShapeError(
                f"mean {self.mean.shape} and scale {self.scale.shape} came, two (n_columns,) were expected"
            )

    @classmethod
    def fit(cls, x: np.ndarray, *, limit: float = math.inf) -> Standardization:
        """Mean and standard deviation of each column of ``x`` (n, n_columns), or of (n,) as one column."""
        x = np.asarray(x)
        x = x[:, None] if x.ndim == 1 else x
        if x.ndim != 2 or not x.size or x.dtype.kind not in "biuf" or not np.isfinite(x).all():
            raise DataError(f"{x.shape} of {x.dtype} came, rows of finite numbers were expected")
        mean = x.mean(axis=0, dtype=np.float64)
        scale = x.std(axis=0, dtype=np.float64, mean=mean[None, :])
        # Asked of the values: the computed deviation of a constant column is the rounding error of its mean, not 0.
        constant = x.min(axis=0) == x.max(axis=0)
        return cls(mean, np.where(constant, 1.0, scale), limit)

    def inverse(self) -> Standardization:
        """x -> x * scale + mean, in the same form: (x - (-mean / scale)) / (1 / scale); for no limit only."""
        if not math.isinf(self.limit):
            raise OptionError("a standardisation with a limit has no inverse in this form")
        return Standardization(-self.mean / self.scale, 1 / self.scale)


@dataclass(frozen=True)
class Preparation:
    """Standardisation of features and targets, and the names that the table had.

    Parameters
    ----------
    features, targets : Standardization or None
    feature_names : the columns of X, in order; empty where they had no names
    target_name : the column that is predicted; empty where it had no name
    classes : the names of the classes 0, 1, ...; empty for a regression or classes without names
    """

    features: Standardization | None = None
    targets: Standardization | None = None
    feature_names: tuple[str, ...] = ()
    target_name: str = ""
    classes: tuple[str, ...] = ()
