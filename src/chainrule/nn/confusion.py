"""Which classes are taken for which: of k classes and n rows at most n numbers, not k^2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np


class Confusion(NamedTuple):
    """The pairs of true and predicted classes that occur, in the order of their numbers, and in how many rows each.

    Parameters
    ----------
    true, predicted, rows : (m,) int64, of pairs that all differ
    classes : k, how many there are
    """

    true: np.ndarray
    predicted: np.ndarray
    rows: np.ndarray
    classes: int

    @classmethod
    def of(cls, labels: np.ndarray, predicted: np.ndarray, classes: int) -> Self:
        """Count the pairs of (n,) true and (n,) predicted class numbers."""
        numbers = np.asarray(labels, np.int64) * classes + np.asarray(predicted, np.int64)
        pairs, rows = np.unique(numbers, return_counts=True)
        return cls(*np.divmod(pairs, max(classes, 1)), rows.astype(np.int64), classes)

    @property
    def rows_of_class(self) -> np.ndarray:
        """(k,) int64: how many rows are of each class."""
        counts = np.zeros(self.classes, np.int64)
        np.add.at(counts, self.true, self.rows)
        return counts

    def matrix(self) -> np.ndarray:
        """(k, k) int64: how many rows of class i were predicted as class j."""
        counts = np.zeros((self.classes, self.classes), np.int64)
        counts[self.true, self.predicted] = self.rows
        return counts

    def mistakes(self) -> Self:
        """The pairs that differ, those of the most rows first; of as many rows in the order of their numbers."""
        wrong = np.flatnonzero(self.true != self.predicted)
        wrong = wrong[np.argsort(-self.rows[wrong], kind="stable")]
        return self._replace(true=self.true[wrong], predicted=self.predicted[wrong], rows=self.rows[wrong])

    def merged(self, names: Sequence[str], most: int) -> tuple[np.ndarray, list[str]]:
        """The matrix of at most ``most`` classes, and their names: the most frequent in their order, then all others as
        one."""
        if self.classes <= most:
            return self.matrix(), list(names)
        kept = np.sort(np.argsort(-self.rows_of_class, kind="stable")[: most - 1])
        to = np.full(self.classes, most - 1)
        to[kept] = np.arange(most - 1)
        counts = np.zeros((most, most), np.int64)
        np.add.at(counts, (to[self.true], to[self.predicted]), self.rows)
        return counts, [*(names[i] for i in kept.tolist()), f"{self.classes - most + 1} others"]
