"""Piecewise-linear encodings: one pass over the rows, column by column; below a dense layer two numbers of a table.

How encoded dense layers are computed is said, and until the loops are loaded done, in :mod:`encoded_in_numpy`.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import numpy as np

from chainrule.backends.compiled import encoded_in_numpy
from chainrule.backends.compiled.calls import call, each_member, known_dtype
from chainrule.backends.compiled.encoded_in_numpy import by_column
from chainrule.backends.compiled.fallback import falling_back_to, with_fallback
from chainrule.backends.compiled.layers import scaled_rows
from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.contract.arrays import ActivationName, Array, Pieces
from chainrule.backends.numpy.backend import NumPyBackend


@with_fallback
def piecewise_linear(self: NumPyBackend, x: Array, pieces: Pieces, *, y: Array) -> None:
    known_dtype(x, y, pieces.width)
    for of_x, of_y in each_member((x, 2), (y, 2)):
        call(LOOPS.piecewise.encode, of_x, *pieces[:5], of_y)


@with_fallback
def piecewise_linear_backward(self: NumPyBackend, dy: Array, y: Array, pieces: Pieces, *, dx: Array) -> None:
    known_dtype(dy, y, dx, pieces.width)
    limits = pieces.width, pieces.low, pieces.high, pieces.first
    for of_dy, of_y, of_dx in each_member((dy, 2), (y, 2), (dx, 2)):
        call(LOOPS.piecewise.encode_backward, of_dy, of_y, *limits, of_dx)


@functools.partial(falling_back_to, encoded_in_numpy.encoded_dense)
def encoded_dense(
    self: NumPyBackend,
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
    loops, n_in = LOOPS.piecewise, x.shape[-1]
    known_dtype(x, scale, W, z, y, fraction, pieces.width)
    self.matmul(x, scaled_rows(self, W[..., :n_in, :], scale[..., :n_in]), out=z)
    column = _columns(pieces).numbers
    sums = self._scratch(W.shape, W.dtype, use="sums of pieces")
    places = (by_column(piece), 2), (by_column(fraction), 2)
    for of_x, of_scale, of_W, of_sums, t, f, of_z in each_member(
        (x, 2), (scale, 1), (W, 2), (sums, 2), *places, (z, 2)
    ):
        call(loops.sum_pieces, column, pieces.first, of_scale, of_W, of_sums)
        table = of_scale, of_W, of_sums
        call(loops.add_fractions, of_x, *pieces[1:5], column, pieces.first, *table, t, f, int(keeps), 0, of_z)
    for of_z, of_b in each_member((z, 2), (b, 1)):
        call(LOOPS.layers.add_bias, of_z, of_b)
    if activation != "identity" or z is not y:
        self.activate(activation, z, out=y)


@functools.partial(falling_back_to, encoded_in_numpy.encoded_dense_backward)
def encoded_dense_backward(
    self: NumPyBackend,
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
    loops, n_in, (n, m) = LOOPS.piecewise, x.shape[-1], dz.shape[-2:]
    known_dtype(x, scale, W, dz, dW, fraction, pieces.width)
    numbers = scale[..., :n_in], W[..., :n_in, :]
    self.scaled_dense_backward(x, *numbers, dz, dW=dW[..., :n_in, :], dscale=dscale[..., :n_in], dx=dx)
    column, most = _columns(pieces)
    integer = np.dtype(np.int64)
    room = self._scratch((column.size, 3, m), W.dtype, use="rows of pieces")
    begin = self._scratch((column.size, most + 1), integer, use="begin")
    order = self._scratch((column.size, n), integer, use="order")
    product = self._scratch((n, m), W.dtype, use="product")
    where = column, pieces.first
    for of_scale, of_W, t, f, of_dz, of_dW, of_dscale, of_dx in each_member(
        (scale, 1), (W, 2), (by_column(piece), 2), (by_column(fraction), 2), (dz, 2), (dW, 2), (dscale, 1), (dx, 2)
    ):
        table, gradients = (of_scale, of_W, t, f), (of_dW, of_dscale)
        call(loops.fraction_gradients, *where, *table, of_dz, *gradients, int(frozen), room, begin, order)
        if dx is not None:
            call(loops.add_slopes, *pieces[2:5], *where, *table, 0, of_dz, of_dx, product)


class Columns(NamedTuple):
    """The columns of x that have fractions, and the most pieces that one has."""

    numbers: Array
    most: int


def _columns(pieces: Pieces) -> Columns:
    """Read on the host: an encoding has the same columns in every step."""
    return _columns_of(pieces.first.tobytes())


@functools.lru_cache(maxsize=256)
def _columns_of(first: bytes) -> Columns:
    counts = np.diff(np.frombuffer(first, np.int64))
    return Columns(np.flatnonzero(counts), int(counts.max(initial=0)))
