"""What was done to the data before the net saw it; kept with the net, so that a prediction does just the same."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from chainrule.backends.host_memory import advice
from chainrule.errors import DataError, OptionError, ShapeError
from chainrule.nn.table_columns import ColumnData
from chainrule.nn.table_encoder import TableEncoder

STANDARDIZING = "use fewer rows: mean and deviation of a part are nearly those of all"
ELEMENTS = 1 << 23  # of the temporary in which deviations are squared


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
    @advice(STANDARDIZING, doing="standardizing")
    def fit(cls, x: np.ndarray, *, limit: float = math.inf, names: Sequence[str] = ()) -> Standardization:
        """Mean and standard deviation of each column of ``x`` (n, n_columns), or of (n,) as one column.

        DataError where these are not finite, with the column's name out of ``names`` where there are any.
        """
        x = _checked(x)
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is refused below
            mean, scale = cls._moments(x)
        # Asked of the values: the computed deviation of a constant column is the rounding error of its mean, not 0.
        constant = x.min(axis=0) == x.max(axis=0)
        return _finite(cls(mean, np.where(constant, 1.0, scale), limit), x, names)

    @staticmethod
    def _moments(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        mean = x.mean(axis=0, dtype=np.float64)
        scale = np.empty(x.shape[1])
        # Some columns at a time, so that squares need no second table; never one alone, whose sum would be another.
        width = max(2, ELEMENTS // len(x))
        for start in range(0, max(x.shape[1] - 1, 1), width):
            end = start + width if start + width < x.shape[1] - 1 else x.shape[1]
            part = slice(start, end)
            scale[part] = x[:, part].std(axis=0, dtype=np.float64, mean=mean[None, part])
        return mean, scale

    @classmethod
    @advice(STANDARDIZING, doing="standardizing")
    def fit_robust(cls, x: np.ndarray, *, limit: float = math.inf, names: Sequence[str] = ()) -> Standardization:
        """Median and distance of the quartiles of each column; half the range where both quartiles are the same.

        Far values do not move them. Source: Holzmueller, Grinsztajn, Steinwart 2024 (RealMLP), section 3.
        """
        x = _checked(x)
        mean, scale = np.empty(x.shape[1]), np.ones(x.shape[1])
        with np.errstate(over="ignore", invalid="ignore"):  # what comes of it is refused below
            for j in range(x.shape[1]):
                low, lower, mean[j], upper, high = np.percentile(x[:, j], [0, 25, 50, 75, 100])
                if high > low:
                    scale[j] = upper - lower if upper > lower else high / 2 - low / 2
        return _finite(cls(mean, scale, limit), x, names)

    def inverse(self) -> Standardization:
        """x -> x * scale + mean, in the same form: (x - (-mean / scale)) / (1 / scale); for no limit only."""
        if not math.isinf(self.limit):
            raise OptionError("a standardisation with a limit has no inverse in this form")
        return Standardization(-self.mean / self.scale, 1 / self.scale)


def _finite(found: Standardization, x: np.ndarray, names: Sequence[str]) -> Standardization:
    bad = ~(np.isfinite(found.mean) & np.isfinite(found.scale))
    if bad.any():
        column = int(bad.argmax())
        largest = np.abs(x[:, column].astype(np.float64)).max()
        raise DataError(
            f"column {f'{names[column]!r:.60}' if names else f'{column} (from 0)'} reaches {largest:.3g}: "
            "too far to be standardised",
            hint="divide it, or take its logarithm",
        )
    return found


def _checked(x: np.ndarray) -> np.ndarray:
    if isinstance(x, np.ma.MaskedArray):
        raise DataError("a masked array came, whose masked values would silently count", hint="fill or drop them first")
    x = np.asarray(x)
    x = x[:, None] if x.ndim == 1 else x
    if x.ndim != 2 or not x.size or x.dtype.kind not in "biuf":
        raise DataError(f"{x.shape} of {x.dtype} came, rows of finite numbers were expected")
    if not _is_finite(x):
        row, column = np.argwhere(~np.isfinite(x))[0]
        raise DataError(f"row {row}, column {column} is {x[row, column]}; finite numbers were expected")
    return x


def _is_finite(x: np.ndarray) -> bool:
    """Asked part by part: the answers for all of a large table would be an eighth of it."""
    step = max(1, ELEMENTS // x.shape[1])
    return all(bool(np.isfinite(x[start : start + step]).all()) for start in range(0, len(x), step))


class TableLike(Protocol):
    """What is asked of a table: columns by name, or a matrix, or (where all of it is numbers) both."""

    @property
    def source(self) -> str:
        """For messages."""

    @property
    def columns(self) -> Mapping[str, ColumnData]:
        """Empty where there are no names."""

    @property
    def features(self) -> np.ndarray:
        """(n, d) finite numbers; DataError where the columns are others."""


@dataclass(frozen=True)
class Preparation:
    """How a table becomes X, the standardisation of X and of targets, and the names that the table had.

    Parameters
    ----------
    features, targets : Standardization or None
    feature_names : the columns of X, in order; empty where they had no names
    target_name : the column that is predicted; empty where it had no name
    classes : the names of the classes 0, 1, ...; empty for a regression or classes without names
    encoder : makes X from a table with names, where the net was trained on one; ``feature_names`` are then its names
    """

    features: Standardization | None = None
    targets: Standardization | None = None
    feature_names: tuple[str, ...] = ()
    target_name: str = ""
    classes: tuple[str, ...] = ()
    encoder: TableEncoder | None = None

    def __post_init__(self) -> None:
        if self.encoder is None:
            return
        if not self.feature_names:
            object.__setattr__(self, "feature_names", self.encoder.names)
        elif self.feature_names != self.encoder.names:
            raise OptionError("feature_names that are not those of the encoder came", hint="leave them out")

    def refuse_other_codes(self, codes: Mapping[int, int]) -> None:
        """OptionError where the encoder writes codes and a net that takes ``codes`` does not embed them."""
        embedding = None if self.encoder is None else self.encoder.embedding()
        wanted = {} if embedding is None else embedding.codes(training=False)
        if any(codes.get(column) != count for column, count in wanted.items()):
            raise OptionError(
                f"the encoder writes codes to columns {list(wanted)!s:.60} of X, which the net does not embed so",
                hint="cr.MLP(..., embedding=encoder.embedding())",
            )

    def encode(self, table: TableLike) -> np.ndarray:
        """X (n, n_in) before standardisation; DataError where a column is missing or holds the wrong kind."""
        encoder = self.encoder
        if encoder is None:
            return table.features
        if table.columns:
            return encoder.encode(table.columns)
        texts = [name for name, kind in encoder.kinds.items() if kind == "category"]
        if texts:
            raise DataError(f"{table.source} has no names; the model has columns of text: {texts[0]!r:.60}")
        X, names = table.features, encoder.table_names
        if X.shape[1] != len(names):
            raise DataError(f"{table.source}: {X.shape[1]} columns came, {len(names)} were expected")
        return encoder.encode(dict(zip(names, X.T.astype(np.float64), strict=True)))
