"""Sums of the target over the rows of a category, block by block, and the smoothed means that they give."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from chainrule.errors import ShapeError
from chainrule.nn.columns.target_columns import TargetColumns
from chainrule.nn.inputs.row_checks import relative_weights

PRIOR = 10.0  # rows of mean mu that every category is given


class WeightedTarget(NamedTuple):
    """Columns of a target, each divided by a power of two, so that no sum overflows, and the weights of the rows.

    Parameters
    ----------
    labels : (t,) what the mean of each column is called
    columns : (t, n) each column, scaled and times its row's weight
    weights : (n,) relative weights, or None
    center : (t,) the scaled mean
    lowest, highest : (t,) of the scaled numbers and 0, between which rounding keeps means
    exponents : (t,) of two
    """

    labels: tuple[str, ...]
    columns: np.ndarray
    weights: np.ndarray | None
    center: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    exponents: np.ndarray

    @classmethod
    def of(cls, target: TargetColumns, sample_weight: np.ndarray | None = None) -> WeightedTarget:
        """Weights (n,) are from 0 up; a row of weight 0 counts for none."""
        columns = np.ascontiguousarray(target.values.T)
        exponents = np.frexp(np.abs(columns).max(axis=1, initial=0.0))[1]
        columns = np.ldexp(columns, -exponents[:, None])
        lowest, highest = columns.min(axis=1, initial=0.0), columns.max(axis=1, initial=0.0)
        weights = None if sample_weight is None else relative_weights(sample_weight)
        if weights is not None:
            columns *= weights
        total = len(target) if weights is None else weights.sum()
        center = columns.sum(axis=1) / max(float(total), 1.0)
        return cls(target.labels, columns, weights, center, lowest, highest, exponents)

    def refuse_other_length(self, n: int) -> None:
        """ShapeError unless there are ``n`` rows."""
        if self.columns.shape[1] != n:
            raise ShapeError(f"target: expected {n:,} rows, as the table has, got {self.columns.shape[1]:,}")

    @property
    def mu(self) -> np.ndarray:
        """(t,) the mean, in units of the target."""
        found: np.ndarray = np.ldexp(self.center.clip(self.lowest, self.highest), self.exponents)
        return found


class Cells(NamedTuple):
    """Sums over the rows of a category in a block.

    Parameters
    ----------
    rows : (positions, blocks) how many, those of weight 0 left out
    weights : (positions, blocks)
    values : (t, positions, blocks) of the weighted target
    """

    rows: np.ndarray
    weights: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, target: WeightedTarget, positions: np.ndarray, count: int, block: np.ndarray | None = None) -> Cells:
        """Of rows with these positions, from 0 and below ``count``, and these blocks, from 0; None for one block."""
        blocks = 1 if block is None else int(block.max(initial=0)) + 1
        cell = positions if block is None else positions * blocks + block
        size, shape, weights = count * blocks, (count, blocks), target.weights
        rows = np.bincount(cell if weights is None else cell[weights > 0], minlength=size).reshape(shape)
        return cls(
            rows,
            rows.astype(np.float64) if weights is None else np.bincount(cell, weights, size).reshape(shape),
            np.array([np.bincount(cell, column, size).reshape(shape) for column in target.columns]),
        )

    @property
    def total(self) -> Cells:
        """Over all blocks, (..., positions, 1)."""
        return Cells(*(part.sum(axis=-1, keepdims=True) for part in self))

    @property
    def others(self) -> Cells:
        """Over the blocks but one, for each of them."""
        return Cells(*(whole - part for whole, part in zip(self.total, self, strict=True)))

    def means(self, target: WeightedTarget, share: np.ndarray | float = 1.0) -> np.ndarray:
        """(positions, blocks, t) smoothed, in units of the target; mu, without rounding, if there are no rows.

        ``share`` (blocks,), of all rows that these are: they are smoothed as if there were as many in all.
        """
        sums, mu, prior = np.moveaxis(self.values, 0, -1), target.center, PRIOR * np.reshape(share, (-1, 1))
        smoothed = (sums + prior * mu) / (self.weights[..., None] + prior)
        smoothed[self.rows == 0] = mu
        found: np.ndarray = np.ldexp(smoothed.clip(target.lowest, target.highest), target.exponents)
        return found
