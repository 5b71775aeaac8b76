"""Piecewise-linear encodings: one pass over the rows, column by column; below a dense layer two numbers of a table."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from chainrule.backends.compiled import encoded_in_numpy
from chainrule.backends.compiled.members import blocks_of_rows
from chainrule.backends.compiled.state import COMPILED_DTYPES, LOOPS
from chainrule.backends.contract.arrays import ActivationName, Array, Pieces
from chainrule.backends.numpy.backend import NumPyBackend


def piecewise_linear(self: NumPyBackend, x: Array, pieces: Pieces, *, y: Array) -> None:
    loops = LOOPS.piecewise
    if loops is not None and _is_known(x, y):
        try:
            for x_part, y_part in ((x, y),) if y.ndim == 2 else blocks_of_rows(x, y):
                loops.encode(x_part, *pieces[:5], y_part)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    NumPyBackend.piecewise_linear(self, x, pieces, y=y)


def piecewise_linear_backward(self: NumPyBackend, dy: Array, y: Array, pieces: Pieces, *, dx: Array) -> None:
    loops = LOOPS.piecewise
    if loops is not None and _is_known(dx, y):
        try:
            limits = pieces.width, pieces.low, pieces.high, pieces.first
            for dy_part, y_part, dx_part in ((dy, y, dx),) if y.ndim == 2 else blocks_of_rows(dy, y, dx):
                loops.encode_backward(dy_part, y_part, *limits, dx_part)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    NumPyBackend.piecewise_linear_backward(self, dy, y, pieces, dx=dx)


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
    if z.dtype.char not in COMPILED_DTYPES:
        places: dict[str, Any] = {"piece": piece, "fraction": fraction, "keeps": keeps}
        NumPyBackend.encoded_dense(self, x, pieces, scale, W, b, activation, z=z, y=y, **places)
        return
    n_in = x.shape[-1]
    numbers = self._scratch((*W.shape[:-2], n_in, W.shape[-1]), W.dtype, use="scaled")
    np.multiply(W[..., :n_in, :], scale[..., :n_in, None], out=numbers)
    self.matmul(x, numbers, out=z)
    room = _room(self, pieces, z)
    rows = x if x.ndim == z.ndim else np.broadcast_to(x, (len(z), *x.shape))  # which members may share
    for member in _members(rows, W, scale, _by_column(piece), _by_column(fraction), z):
        _add_fractions(pieces, room, *member, keeps=keeps)
    np.add(z, b[..., None, :], out=z)
    if activation != "identity" or z is not y:
        self.activate(activation, z, out=y)


def _add_fractions(
    pieces: Pieces, room: Array, x: Array, W: Array, scale: Array, piece: Array, f: Array, z: Array, *, keeps: bool
) -> None:
    loops = LOOPS.piecewise
    if loops is not None:
        try:
            loops.add_fractions(x, *pieces[1:], scale, W, room, piece, f, keeps, z)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    encoded_in_numpy.add_fractions(x, pieces, scale, W, piece, f, z, keeps=keeps)


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
    if dz.dtype.char not in COMPILED_DTYPES:
        places: dict[str, Any] = {"piece": piece, "fraction": fraction, "frozen": frozen}
        NumPyBackend.encoded_dense_backward(self, x, pieces, scale, W, dz, dW=dW, dscale=dscale, dx=dx, **places)
        return
    n_in = x.shape[-1]
    numbers = scale[..., :n_in], W[..., :n_in, :]
    self.scaled_dense_backward(x, *numbers, dz, dW=dW[..., :n_in, :], dscale=dscale[..., :n_in], dx=dx)
    room, places_of = _room(self, pieces, dz), (_by_column(piece), _by_column(fraction), dz)
    for member in _members(scale, W, *places_of, dW, dscale):
        _fraction_gradients(pieces, room, *member, frozen=frozen)
    if dx is not None:
        for member in _members(scale, W, *places_of, dx):
            _add_slopes(pieces, room, *member)


def _fraction_gradients(
    pieces: Pieces,
    room: Array,
    scale: Array,
    W: Array,
    piece: Array,
    f: Array,
    dz: Array,
    dW: Array,
    dscale: Array,
    *,
    frozen: bool,
) -> None:
    loops = LOOPS.piecewise
    if loops is not None:
        try:
            loops.fraction_gradients(pieces.first, scale, W, room, piece, f, dz, dW, dscale, frozen)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    encoded_in_numpy.fraction_gradients(pieces, scale, W, piece, f, dz, dW, dscale, frozen=frozen)


def _add_slopes(
    pieces: Pieces, room: Array, scale: Array, W: Array, piece: Array, f: Array, dz: Array, dx: Array
) -> None:
    loops = LOOPS.piecewise
    if loops is not None:
        try:
            loops.add_slopes(*pieces[2:], scale, W, room, piece, f, dz, dx)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    encoded_in_numpy.add_slopes(pieces, scale, W, piece, f, dz, dx)


def _members(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """The arrays of one member after the other; the second is a matrix if there is no model axis."""
    return iter([arrays]) if arrays[1].ndim == 2 else zip(*arrays, strict=True)


def _by_column(array: Array) -> Array:
    """Memory of (n, columns) as (columns, n)."""
    return array.reshape(*array.shape[:-2], array.shape[-1], array.shape[-2])


def _room(self: NumPyBackend, pieces: Pieces, z: Array) -> Array:
    """What the loops keep of one column of x: a row for each piece, and at least three."""
    most = int(np.diff(pieces.first).max())
    return self._scratch((max(3, most), z.shape[-1]), z.dtype, use="pieces")


def _is_known(x: Array, y: Array) -> bool:
    """Whether these have the same rows, in a dtype that the loops know."""
    return x.shape[:-1] == y.shape[:-1] and y.dtype.char in COMPILED_DTYPES and x.dtype == y.dtype
