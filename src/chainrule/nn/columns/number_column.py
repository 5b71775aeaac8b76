"""What a model keeps of a column of numbers, and its columns of X."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from chainrule.errors import DataError, OptionError
from chainrule.nn.columns.column_data import Categorical, ColumnData, refuse_long_names
from chainrule.nn.columns.notation import Notation, check_notation, describe_notation

PART = 4_096  # rows looked at together: of most columns the first ones tell


@dataclass(frozen=True)
class NumberColumn:
    """Numbers, followed by a column of 1 for a missing value and 0 for a number if training rows had missing values.

    Parameters
    ----------
    name : of the table's column
    fill : replaces a missing number: the median of the training rows
    indicator : whether missing values have a column of X of their own: only if training rows had any; without it a
        missing value is the fill and nothing else, because nothing was learnt about it
    notation : how numbers are written in text files of such a table; None if the training data did not show it
    """

    name: str
    fill: float = 0.0
    indicator: bool = False
    notation: Notation | None = None
    kind: ClassVar[str] = "number"

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not isinstance(self.fill, int | float) or isinstance(self.fill, bool):
            raise OptionError(
                f"expected a text as name and a number as fill, got {self.name!r:.60} and {self.fill!r:.60}"
            )
        refuse_long_names("a name of a column", (self.name,))
        if not np.isfinite(self.fill) or not isinstance(self.indicator, bool):
            raise OptionError(
                f"expected a finite fill and a bool as indicator of {self.name!r:.60}, "
                f"got {self.fill!r:.60} and {self.indicator!r:.60}"
            )
        check_notation(self.name, self.notation)

    @classmethod
    def fit(
        cls, name: str, values: np.ndarray, sample_weight: np.ndarray | None = None, *, notation: Notation | None = None
    ) -> NumberColumn:
        """The median by weight, and whether values are missing; a column without any number is filled with 0."""
        holes = np.isnan(values)
        present = values[~holes] if holes.any() else values
        weights = sample_weight if sample_weight is None or not holes.any() else sample_weight[~holes]
        return cls(name, _median(present, weights) if present.size else 0.0, bool(holes.any()), notation)

    @property
    def names(self) -> tuple[str, ...]:
        """Of its columns of X."""
        return (self.name, f"{self.name} is missing") if self.indicator else (self.name,)

    def are_bytes(self, data: ColumnData) -> bool:
        """Whether its columns of X hold whole numbers from 0 to 255 alone."""
        if isinstance(data, Categorical) or not _are_bytes(np.asarray(self.fill)):
            return False
        parts = (data[start : start + PART] for start in range(0, len(data), PART))
        return all(_are_bytes(part[~np.isnan(part)]) for part in parts)

    def encode(self, data: ColumnData, *, out: np.ndarray) -> None:
        """Write the columns of X, (n, len(names))."""
        if isinstance(data, Categorical):
            raise DataError(f"column {self.name!r}: expected numbers, as in training, got text")
        holes = np.isnan(data)
        out[:, 0] = np.where(holes, self.fill, data) if holes.any() else data
        if self.indicator:
            out[:, 1] = holes

    def encode_cell(self, number: float, *, out: np.ndarray, at: int) -> None:
        """Write the columns of X of one row from ``at`` on, which are 0; nan for a missing number."""
        is_missing = math.isnan(number)
        out[at] = self.fill if is_missing else number
        if self.indicator:
            out[at + 1] = is_missing

    def describe(self) -> dict[str, Any]:
        """For the model file."""
        return {
            "kind": self.kind,
            "name": self.name,
            "fill": self.fill,
            "indicator": self.indicator,
            **describe_notation(self.notation),
        }


def _median(values: np.ndarray, weights: np.ndarray | None) -> float:
    """The value with half of the weight on either side; the mean of two values if that holds for all between them.

    Works for numbers so large that the sum of the two in the middle overflows, too.
    """
    if weights is not None:
        order = np.argsort(values, kind="stable")
        below = np.cumsum(weights[order])
        # Weights of the same ratios may have sums that differ by rounding.
        middle = np.searchsorted(below, below[-1] / 2 * np.array([1 - 1e-12, 1 + 1e-12])).clip(max=len(order) - 1)
        values = values[order[middle]]
    with np.errstate(over="ignore"):
        median = float(np.median(values))
    return median if np.isfinite(median) else 2 * float(np.median(values / 2))


def _are_bytes(numbers: np.ndarray) -> bool:
    with np.errstate(invalid="ignore"):  # of infinite numbers and those beyond, which are none
        return bool((numbers.astype(np.uint8) == numbers).all() and not np.signbit(numbers).any())
