"""What the loops of encoded dense layers compute, in NumPy and in their order, so with their bits: before they come.

A number lies in one piece t of its column, and its fractions are 1 for the pieces below, f for t, and 0 above. So with
V_t = s_t W_t its part of a product is sum_(u < t)( V_u ) + f V_t: two numbers of a table for each output. Backward, the
rows of a column are sorted by piece: dV_t = sum( dz of the rows in higher pieces ) + sum( f dz of those in piece t ).

What :func:`encoded_dense` and :func:`encoded_dense_backward` are made of is of one net. There ``piece`` and ``f``
(columns with fractions, n) say where each number lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from chainrule.backends.compiled.state import COMPILED_DTYPES
from chainrule.backends.contract.arrays import ActivationName, Array, Pieces
from chainrule.backends.numpy.backend import NumPyBackend


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
    rows = x if x.ndim == z.ndim else np.broadcast_to(x, (len(z), *x.shape))  # which members may share
    for of_x, of_W, of_scale, *others in _members(rows, W, scale, by_column(piece), by_column(fraction), z):
        add_fractions(of_x, pieces, of_scale, of_W, *others, keeps=keeps)
    np.add(z, b[..., None, :], out=z)
    if activation != "identity" or z is not y:
        self.activate(activation, z, out=y)


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
    places_of = by_column(piece), by_column(fraction), dz
    for member in _members(scale, W, *places_of, dW, dscale):
        fraction_gradients(pieces, *member, frozen=frozen)
    if dx is not None:
        for member in _members(scale, W, *places_of, dx):
            add_slopes(pieces, *member)


def by_column(array: Array) -> Array:
    """Memory of (n, columns) as (columns, n)."""
    return array.reshape(*array.shape[:-2], array.shape[-1], array.shape[-2])


def _members(*arrays: Array) -> Iterator[tuple[Array, ...]]:
    """The arrays of one member after the other; the second is a matrix if there is no model axis."""
    return iter([arrays]) if arrays[1].ndim == 2 else zip(*arrays, strict=True)


def add_fractions(
    x: np.ndarray,
    pieces: Pieces,
    scale: np.ndarray,
    W: np.ndarray,
    piece: np.ndarray,
    f: np.ndarray,
    z: np.ndarray,
    *,
    keeps: bool,
) -> None:
    """z += (p * scale) @ W, p the fractions of x; ``piece`` and ``f`` are written."""
    for q, j, part in _columns(pieces):
        is_zero = not W[part].any()
        if is_zero and not keeps:
            continue
        piece[q], f[q] = _locate(x[:, j], pieces, part)
        if not is_zero:
            sums, s = np.zeros_like(W[part]), scale[part]
            np.cumsum((s[:, None] * W[part])[:-1], axis=0, out=sums[1:])
            sums += 0.0  # no -0
            z += sums[piece[q]] + (f[q] * s[piece[q]])[:, None] * W[part][piece[q]]


def fraction_gradients(
    pieces: Pieces,
    scale: np.ndarray,
    W: np.ndarray,
    piece: np.ndarray,
    f: np.ndarray,
    dz: np.ndarray,
    dW: np.ndarray,
    dscale: np.ndarray,
    *,
    frozen: bool,
) -> None:
    """The rows of dW and dscale that belong to fractions; of a frozen column whose weights are all 0, dscale alone."""
    for q, _, part in _columns(pieces):
        if frozen and not W[part].any():
            dscale[part] = 0
            continue
        count, width = W[part].shape
        order = np.argsort(-piece[q], kind="stable")
        of_row, g = piece[q, order], dz[order]
        higher = np.searchsorted(-of_row, -np.arange(count))  # rows in pieces above each one
        dV = np.concatenate([np.zeros_like(g[:1]), np.cumsum(g, axis=0) + 0.0])[higher]
        place = (of_row[:, None].astype(np.int64) * width + np.arange(width)).reshape(-1)
        np.add.at(dV.reshape(-1), place, (f[q, order, None] * g).reshape(-1))
        dW[part] = dV * scale[part, None]
        dscale[part] = sum_by_halves(dV * W[part])


def add_slopes(
    pieces: Pieces,
    scale: np.ndarray,
    W: np.ndarray,
    piece: np.ndarray,
    f: np.ndarray,
    dz: np.ndarray,
    dx: np.ndarray,
) -> None:
    """dx += the gradient through fractions: dz V_t / width_t for the piece t, and 0 where its fraction is limited."""
    for q, j, part in _columns(pieces):
        if not W[part].any():  # perhaps nothing was kept
            continue
        at = part.start + piece[q]
        slope = sum_by_halves(dz * W[at]) * scale[at] / pieces.width[at]
        inside = (f[q] > pieces.low[at]) & (f[q] < pieces.high[at])
        dx[inside, j] += slope[inside]


def sum_by_halves(values: np.ndarray) -> np.ndarray:
    """Sums along the last axis, whose upper half is added to the lower one until one number is left; overwritten."""
    size = values.shape[-1]
    while size > 1:
        half = (size + 1) // 2
        values[..., : size - half] += values[..., half:size]
        size = half
    return values[..., 0]


def _columns(pieces: Pieces) -> Iterator[tuple[int, int, slice]]:
    """The columns with fractions: their numbers among these and among all, and where their fractions are."""
    for q, j in enumerate(np.flatnonzero(np.diff(pieces.first))):
        yield q, int(j), slice(int(pieces.first[j]), int(pieces.first[j + 1]))


def _locate(values: np.ndarray, pieces: Pieces, part: slice) -> tuple[np.ndarray, np.ndarray]:
    """The piece that each number lies in, the first and the last being open; nan in the last. And its fraction."""
    start, width = pieces.start[part], pieces.width[part]
    piece = np.maximum(np.searchsorted(start, values, side="right") - 1, 0)
    f = (values - start[piece]) / width[piece]
    return piece, np.minimum(np.maximum(f, pieces.low[part][piece]), pieces.high[part][piece])
