"""What was done to the data before the net saw it; kept with the net, so that a prediction does just the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from chainrule.errors import ShapeError


@dataclass(frozen=True, eq=False)
class Standardization:
    """x -> (x - mean) / scale, column by column; (n_columns,) float64 each.

    A column that never changes has scale 1: it becomes 0, and stays finite if it changes one day.
    """

    mean: np.ndarray
    scale: np.ndarray

    def __post_init__(self) -> None:
        if self.mean.shape != self.scale.shape or self.mean.ndim != 1:
            raise ShapeError(
                f"mean {self.mean.shape} and scale {self.scale.shape} came, two (n_columns,) were expected"
            )

    @classmethod
    def fit(cls, x: np.ndarray) -> Standardization:
        """Mean and standard deviation of each column of ``x`` (n, n_columns), or of (n,) as one column."""
        x = np.asarray(x)
        x = x[:, None] if x.ndim == 1 else x
        mean = x.mean(axis=0, dtype=np.float64)
        scale = x.std(axis=0, dtype=np.float64, mean=mean[None, :])
        # Rounding alone makes the deviation of a constant column as large as u * |mean| * sqrt(n).
        constant = scale <= 8 * np.finfo(np.float64).eps * np.abs(mean)
        return cls(mean, np.where(constant, 1.0, scale))

    def inverse(self) -> Standardization:
        """x -> x * scale + mean, in the same form: (x - (-mean / scale)) / (1 / scale)."""
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
