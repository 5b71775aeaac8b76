"""How the rows of each class rank among all rows by its score: the areas under ROC curves, exactly.

With lo_i scores of a class below that of its row i and hi_i not above it, over all n rows, and p rows of the class,

    AUC p (n - p) = sum_i( (lo_i + hi_i) / 2 ) - p^2 / 2,

for among themselves the rows of a class have p^2 / 2, a tie counting half. lo and hi are sums over blocks of rows, so
that neither all scores need to be in memory nor n k truth values: each column of a block is sorted, the p rows of its
class are looked up in it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

CELLS = 1 << 20  # scores sorted at a time


class ClassRanks:
    """``add`` every block of rows once, then ``areas`` are the AUC of each class against the rest.

    Parameters
    ----------
    classes : (m,) int, the class of each score of ``own``, in ascending order
    own : (m,) the scores that rows of a class have for it, of the dtype of all scores
    """

    def __init__(self, classes: np.ndarray, own: np.ndarray) -> None:
        self.classes, first, self._sizes = np.unique(classes, return_index=True, return_counts=True)
        self._own = [np.sort(part) for part in np.split(own, first[1:])] if len(own) else []
        self._twice = np.zeros(len(self.classes), np.int64)  # sum_i( lo_i + hi_i )
        self._undefined = np.zeros(len(self.classes), bool)  # a score is nan
        self._n = 0

    @classmethod
    def of_labels(cls, labels: np.ndarray, own: np.ndarray) -> ClassRanks:
        """Of (n,) class numbers, and the score (n,) of each row for its own class."""
        order = np.argsort(labels, kind="stable")
        return cls(labels[order], own[order])

    def add(self, scores: np.ndarray) -> None:
        """Some rows: (b, k) scores of all classes."""
        self._n += len(scores)
        step = max(1, CELLS // max(1, len(scores)))
        for start in range(0, len(self.classes), step):
            columns = self.classes[start : start + step]
            self._count(start, np.sort(scores.T[columns], axis=1))

    def _count(self, start: int, columns: Sequence[np.ndarray] | np.ndarray) -> None:
        for j, column in enumerate(columns, start):
            own = self._own[j]
            self._twice[j] += column.searchsorted(own).sum() + column.searchsorted(own, "right").sum()
            self._undefined[j] |= np.isnan(column[-1])  # nan is sorted behind all else

    def areas(self) -> np.ndarray:
        """The AUC of each of ``classes`` (those with rows); nan if one has all rows, or a score that is nan."""
        p = self._sizes.astype(np.float64)
        pairs = p * (self._n - p)
        wins = (self._twice - self._sizes.astype(np.int64) ** 2) / 2
        return np.where((pairs > 0) & ~self._undefined, wins / np.where(pairs > 0, pairs, 1), np.nan)
