"""Piecewise-linear encodings: numbers to fractions of the pieces that they have passed."""

from __future__ import annotations

from chainrule.backends.contract.arrays import Array, Pieces
from chainrule.backends.reference.array_operations import ArrayOperations


def piecewise_linear(self: ArrayOperations, x: Array, pieces: Pieces, *, y: Array) -> None:
    fractions(self, self.xp.take(x, pieces.columns, axis=-1), pieces, y=y)


def piecewise_linear_backward(self: ArrayOperations, dy: Array, y: Array, pieces: Pieces, *, dx: Array) -> None:
    # One after the other: the order is defined, and no two fractions of a column are added at a time.
    xp, n_in = self.xp, dx.shape[-1]
    dx[...] = dy[..., :n_in]
    for o in range(n_in, y.shape[-1]):
        column, of_y = pieces.columns[o : o + 1], y[..., o : o + 1].real
        inside = (of_y > pieces.low[o : o + 1].real) & (of_y < pieces.high[o : o + 1].real)
        dx[..., column] = dx[..., column] + xp.where(inside, dy[..., o : o + 1] / pieces.width[o : o + 1], 0)


def fractions(self: ArrayOperations, of_column: Array, pieces: Pieces, *, y: Array) -> None:
    """y from ``of_column``, in which each column of y has the column of x that it is made of; it is overwritten."""
    xp = self.xp
    xp.subtract(of_column, pieces.start, out=of_column)
    xp.divide(of_column, pieces.width, out=of_column)
    xp.maximum(of_column, pieces.low, out=of_column)
    xp.minimum(of_column, pieces.high, out=of_column)
    y[...] = of_column
