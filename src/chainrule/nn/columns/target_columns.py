"""The target as columns of numbers, whose means per category a table encoder keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from chainrule.errors import DataError, ShapeError

MOST_COLUMNS = 8  # of classes, or of numbers, beyond which a category has no statistics of the target


@dataclass(frozen=True, eq=False)
class TargetColumns:
    """What the statistics of a category are the means of.

    Parameters
    ----------
    values : (n, t) finite numbers, of the training rows
    labels : (t,) what the mean of each column is called: "mean of price", "share of yes"
    """

    values: np.ndarray
    labels: tuple[str, ...]

    def __post_init__(self) -> None:
        values = self.values
        if values.ndim != 2 or values.shape[1] != len(self.labels):
            raise ShapeError(f"target: expected (n, {len(self.labels)}) numbers, got shape {values.shape}")
        if not np.isfinite(values).all():
            raise DataError("target: expected finite numbers, got others")

    @classmethod
    def of_numbers(cls, y: np.ndarray, name: str = "") -> Self | None:
        """A column per target of ``y`` (n,) or (n, t), numbers or zeros and ones; None for more than 8."""
        values = np.asarray(y, np.float64).reshape(len(y), -1)
        several, name = values.shape[1] > 1, name or "target"
        if values.shape[1] > MOST_COLUMNS:
            return None
        names = [f"{name} {j}" for j in range(values.shape[1])] if several else [name]
        return cls(values, tuple(f"mean of {name}" for name in names))

    @classmethod
    def of_classes(cls, y: np.ndarray, names: Sequence[str]) -> Self | None:
        """1 for rows of a class, else 0: of two classes for the second, of 3 to 8 for each; None for others.

        Parameters
        ----------
        y : (n,) class numbers 0, 1, ...
        names : of the classes
        """
        if not 2 <= len(names) <= MOST_COLUMNS:
            return None
        first = 1 if len(names) == 2 else 0  # the share of the first class is 1 minus that of the second
        values = np.asarray(y).reshape(-1, 1) == np.arange(first, len(names))
        return cls(values.astype(np.float64), tuple(f"share of {name}" for name in names[first:]))

    def __len__(self) -> int:
        return len(self.values)

    def take(self, rows: np.ndarray | slice) -> TargetColumns:
        """Those rows."""
        return TargetColumns(self.values[rows], self.labels)
