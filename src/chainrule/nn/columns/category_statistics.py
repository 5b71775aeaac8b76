"""Statistics of the target for the rarer categories of a column of text: smoothed means, and of how many rows.

For category c with n_c rows of weights w_i (relative: their mean is 1), y one column of the target, mu its mean over
all training rows::

    mean_c = (sum_{i in c}( w_i y_i ) + 10 mu) / (sum_{i in c}( w_i ) + 10)        count_c = log(1 + n_c)

A category that has a column of X of its own says by that column what its rows are like: its mean is mu. So is that of a
missing value and of a category that no training row had, whose count is 0.

**A row must not see its own target.** So the sums, and n_c, are those of all training rows for a new row, but for a
training row those of rows of *other blocks* (:meth:`CategoryStatistics.of_other_blocks`): its mean says as little of
its own target as a new row's. If these are a share s of all rows, 10 s is added in place of 10, and n_c / s rows are
counted. A category whose rows all lie in one block has mean mu and count 0 there.

Source: Micci-Barreca 2001, "A preprocessing scheme for high-cardinality categorical attributes"; out of fold as in
Prokhorenkova et al. 2018 (arXiv 1706.09516), section 3, with blocks of rows in place of an order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from chainrule.errors import OptionError
from chainrule.nn.columns.category_sums import Cells, WeightedTarget
from chainrule.nn.columns.column_data import Categorical, look_up, refuse_long_names
from chainrule.nn.columns.target_columns import MOST_COLUMNS

MOST_CATEGORIES = 5_000  # of a column, with statistics of their own: the most frequent; the others count as unseen
FEWEST_CATEGORIES = 2  # of one, the column "rarer" says all
SAME = 1e-6  # of the largest target: a difference of means that is rounding
COUNT = "log count"
ARRAYS = ("means", "counts", "mu")


@dataclass(frozen=True, eq=False)
class CategoryStatistics:
    """What a column of text knows of its rarer categories, beyond that they are rarer.

    Its columns of X are the means, one per column of the target, then the logarithm of the count. A *position* is that
    of a category: first those with a slot of their own, then the rarer ones, last everything else.

    Parameters
    ----------
    categories : (c,) the rarer ones with statistics, in the order of their names
    labels : (t,) what the means are called
    means : (c, t) of the target
    counts : (k + c,) training rows of each category: of the k with a slot of their own, then of these
    mu : (t,) the mean of the target over all training rows
    """

    categories: tuple[str, ...]
    labels: tuple[str, ...]
    means: np.ndarray
    counts: np.ndarray
    mu: np.ndarray

    def __post_init__(self) -> None:
        texts, t = (*self.categories, *self.labels), len(self.labels)
        if not all(isinstance(text, str) for text in texts) or len(set(self.categories)) < len(self.categories):
            raise OptionError(f"expected different texts as categories with statistics, got {self.categories!r:.60}")
        if not 1 <= t <= MOST_COLUMNS or not self.categories:
            raise OptionError(f"expected categories with 1 to {MOST_COLUMNS} means each, got {t}")
        refuse_long_names("a category", texts)
        shapes = [np.shape(array) for array in (self.means, self.mu)]
        if shapes != [(len(self.categories), t), (t,)] or np.ndim(self.counts) != 1 or self.kept < 0:
            raise OptionError(f"expected {len(self.categories)} means of {t} columns, and counts, got shapes {shapes}")
        arrays = [np.asarray(getattr(self, name), np.float64) for name in ARRAYS]
        if not all(np.isfinite(array).all() for array in arrays) or (arrays[1] < 0).any():
            raise OptionError("expected finite statistics, and counts from 0 up")
        for name, array in zip(ARRAYS, arrays, strict=True):
            object.__setattr__(self, name, array)  # the dataclass is frozen

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, CategoryStatistics):
            return NotImplemented
        same = (self.categories, self.labels) == (other.categories, other.labels)
        return same and all(np.array_equal(getattr(self, name), getattr(other, name)) for name in ARRAYS)

    def __hash__(self) -> int:
        return hash((self.categories, self.labels))

    @classmethod
    def fit(cls, kept: tuple[str, ...], data: Categorical, target: WeightedTarget) -> CategoryStatistics | None:
        """Of the training rows in ``data``; None if there are fewer than two rarer categories.

        Parameters
        ----------
        kept : the categories with a slot of their own
        target : of these rows
        """
        target.refuse_other_length(len(data))
        rows, own = np.bincount(data.codes + 1, minlength=len(data.names) + 1)[1:].tolist(), set(kept)
        rarer = [i for i, name in enumerate(data.names) if rows[i] and name not in own]
        if len(rarer) < FEWEST_CATEGORIES:
            return None
        most = sorted(rarer, key=lambda i: (-rows[i], data.names[i]))[:MOST_CATEGORIES]
        names = tuple(sorted(data.names[i] for i in most))
        last = len(kept) + len(names)
        positions = look_up({name: i for i, name in enumerate((*kept, *names))}, data, other=last, missing=last)
        cells = Cells.of(target, positions, last + 1)
        means, counts = cells.means(target)[len(kept) : -1, 0], cells.rows[:-1, 0]
        return cls(names, target.labels, means, counts.astype(np.float64), target.mu)

    @property
    def kept(self) -> int:
        """How many categories of the column have a slot of their own."""
        return len(self.counts) - len(self.categories)

    @property
    def names(self) -> tuple[str, ...]:
        """Of its columns of X, behind the name of the table's column."""
        return (*self.labels, COUNT)

    @cached_property
    def table(self) -> np.ndarray:
        """(k + c + 1, t + 1) the columns of X for a new row, by position."""
        means = np.vstack([np.tile(self.mu, (self.kept, 1)), self.means, self.mu])
        table: np.ndarray = np.column_stack([means, np.log1p(np.append(self.counts, 0.0))])
        return table

    def cells(self, positions: np.ndarray, target: WeightedTarget, block: np.ndarray | None = None) -> Cells:
        """The sums of rows with these positions."""
        return Cells.of(target, positions, len(self.counts) + 1, block)

    def is_of(self, cells: Cells, target: WeightedTarget) -> bool:
        """Whether the statistics are those of these rows, within rounding."""
        total = cells.total
        if len(target.labels) != len(self.labels) or not np.array_equal(total.rows[:-1, 0], self.counts):
            return False
        found, own = (
            np.ldexp(means, -target.exponents) for means in (total.means(target)[self.kept : -1, 0], self.means)
        )
        return bool((np.abs(found - own) <= SAME).all())

    def of_other_blocks(
        self,
        cells: Cells,
        positions: np.ndarray,
        block: np.ndarray,
        target: WeightedTarget,
        *,
        rows: int,
        out: np.ndarray,
    ) -> None:
        """Write the columns of X, (n, t + 1), of training rows: by the rows of other blocks alone, which are a share of
        all. A category has 1 / share times as many rows in all, so means are smoothed, and rows counted, as if it had.
        Else what a net learns of means of few rows, all near mu, would be applied to means of more.

        Parameters
        ----------
        cells : of these rows, by block
        positions : (n,) from :meth:`CategoryColumn.positions`
        block : (n,) the block of each row, from 0
        rows : all, that the statistics of new rows are of
        """
        others = cells.others
        share = np.maximum(others.rows.sum(axis=0), 1) / max(rows, 1)
        means, counts = others.means(target, share), np.log1p(others.rows / share)
        means[: self.kept], means[-1], counts[-1] = target.mu, target.mu, 0.0
        table = np.concatenate([means, counts[..., None]], axis=-1)
        out[...] = table[positions, block]

    def describe(self) -> dict[str, Any]:
        """For the model file, which has the numbers as arrays (:data:`ARRAYS`)."""
        return {"categories": list(self.categories), "labels": list(self.labels)}

    @classmethod
    def from_description(cls, description: Any, arrays: Mapping[str, np.ndarray]) -> CategoryStatistics:
        """The inverse of :meth:`describe`; LookupError, TypeError or ValueError if it describes none."""
        if not isinstance(description, dict) or description.keys() != {"categories", "labels"}:
            raise TypeError(f"statistics of a column: expected categories and labels, got {description!r:.60}")
        if not all(isinstance(part, list) for part in description.values()):
            raise TypeError(f"statistics of a column: expected lists, got {description!r:.60}")
        categories, labels = tuple(description["categories"]), tuple(description["labels"])
        return cls(categories, labels, *(arrays[name] for name in ARRAYS))
