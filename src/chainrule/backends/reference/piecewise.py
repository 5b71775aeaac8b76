"""Piecewise-linear encodings: numbers to fractions of the pieces that they have passed."""

from __future__ import annotations

from chainrule.backends.contract.arrays import ActivationName, Array, Pieces
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


def encoded_dense(
    self: ArrayOperations,
    x: Array,
    pieces: Pieces,
    scale: Array,
    W: Array,
    b: Array,
    activation: ActivationName,
    *,
    z: Array,
    y: Array,
    piece: Array,
    fraction: Array,
    keeps: bool = True,
) -> None:
    encoded = self._scratch((*z.shape[:-1], W.shape[-2]), x.dtype, use="encoded")
    self.piecewise_linear(x, pieces, y=encoded)
    self.scaled_dense(encoded, scale, W, b, activation, z=z, y=y)


def encoded_dense_backward(
    self: ArrayOperations,
    x: Array,
    pieces: Pieces,
    scale: Array,
    W: Array,
    dz: Array,
    *,
    piece: Array,
    fraction: Array,
    dW: Array,
    dscale: Array,
    dx: Array | None,
    frozen: bool = False,
) -> None:
    shape = (*dz.shape[:-1], W.shape[-2])
    encoded = self._scratch(shape, x.dtype, use="encoded")
    self.piecewise_linear(x, pieces, y=encoded)
    dencoded = None if dx is None else self._scratch(shape, x.dtype, use="gradient by encoded")
    self.scaled_dense_backward(encoded, scale, W, dz, dW=dW, dscale=dscale, dx=dencoded)
    if dx is not None:
        self.piecewise_linear_backward(dencoded, encoded, pieces, dx=dx)


def fractions(self: ArrayOperations, of_column: Array, pieces: Pieces, *, y: Array) -> None:
    """y from ``of_column``, in which each column of y has the column of x that it is made of; it is overwritten."""
    xp = self.xp
    xp.subtract(of_column, pieces.start, out=of_column)
    xp.divide(of_column, pieces.width, out=of_column)
    xp.maximum(of_column, pieces.low, out=of_column)
    xp.minimum(of_column, pieces.high, out=of_column)
    y[...] = of_column
