"""Piecewise-linear encodings on a host: columns are taken by their numbers, fractions added rank by rank."""

from __future__ import annotations

import numpy as np

from chainrule.backends.contract.arrays import Array, Pieces
from chainrule.backends.reference.array_operations import ArrayOperations
from chainrule.backends.reference.piecewise import fractions


def piecewise_linear(self: ArrayOperations, x: Array, pieces: Pieces, *, y: Array) -> None:
    of_column = self._scratch((*x.shape[:-1], y.shape[-1]), x.dtype, use="of column")
    x.take(pieces.columns, axis=-1, out=of_column, mode="clip")  # writes straight into `out`
    fractions(self, of_column, pieces, y=y)


def piecewise_linear_backward(self: ArrayOperations, dy: Array, y: Array, pieces: Pieces, *, dx: Array) -> None:
    dx[...] = dy[..., : dx.shape[-1]]
    counts = np.diff(pieces.first)
    for rank in range(counts.max()):  # as in the reference, the fractions of a column are added in their order
        columns = np.flatnonzero(counts > rank)
        at = pieces.first[columns] + rank
        of_y = y[..., at].real
        inside = (of_y > pieces.low[at].real) & (of_y < pieces.high[at].real)
        dx[..., columns] += np.where(inside, dy[..., at] / pieces.width[at], 0)
