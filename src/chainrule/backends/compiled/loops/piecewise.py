"""Loops of piecewise-linear encodings."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from chainrule.backends.compiled.jit import loop


@loop(writes="")
def encode(x: Any, columns: Any, start: Any, width: Any, low: Any, high: Any, y: Any) -> None:
    """Row by row in a loop for each operation, which a compiler makes vector instructions of: three times as fast."""
    n, m = y.shape
    for i in range(n):
        values, row = x[i], y[i]
        for o in range(m):
            row[o] = values[columns[o]]
        for o in range(m):
            row[o] = (row[o] - start[o]) / width[o]
        for o in range(m):
            z = row[o]
            row[o] = low[o] if z < low[o] else z  # a nan stays
        for o in range(m):
            z = row[o]
            row[o] = high[o] if z > high[o] else z


@loop(writes="")
def encode_backward(dy: Any, y: Any, width: Any, low: Any, high: Any, first: Any, dx: Any) -> None:
    n, k = dx.shape
    zero = dx.dtype.type(0)
    for i in range(n):
        for j in range(k):
            total = dy[i, j]
            for o in range(first[j], first[j + 1]):
                inside = low[o] < y[i, o] < high[o]
                total += dy[i, o] / width[o] if inside else zero
            dx[i, j] = total


# ---- products of encodings: chainrule.backends.compiled.encoded_in_numpy says what is computed ----------------------
# Rows are handed to small functions: with more arrays in sight than two or three, a compiler no longer proves that they
# do not overlap, and uses no vector instructions.

part: Any = numba.njit(nogil=True, error_model="numpy")


@part
def take(out: Any, values: Any) -> None:
    """``out[:] = values``, for which numba compiles the text of an error for two seconds."""
    for o in range(out.size):
        out[o] = values[o]


@part
def add_to(out: Any, values: Any) -> None:
    for o in range(out.size):
        out[o] += values[o]


@part
def times(values: Any, factor: Any, out: Any) -> None:
    for o in range(out.size):
        out[o] = values[o] * factor


@part
def add_scaled(values: Any, factor: Any, more: Any, out: Any) -> None:
    for o in range(out.size):
        out[o] = values[o] + factor * more[o]


@part
def add_rows(order: Any, f: Any, dz: Any, total: Any, weighted: Any) -> None:
    m = dz.shape[1]
    for r in range(order.size):
        i = order[r]
        share = f[i]
        for o in range(m):
            g = dz[i, o]
            total[o] += g
            weighted[o] += share * g


@part
def sum_of_products(a: Any, b: Any, product: Any) -> Any:
    """By halves: an order in which vector instructions can add."""
    for o in range(product.size):
        product[o] = a[o] * b[o]
    size = product.size
    while size > 1:
        half = (size + 1) // 2
        add_to(product[: size - half], product[half:size])
        size = half
    return product[0]


@part
def are_zero(rows: Any) -> bool:
    for t in range(len(rows)):
        count = 0
        for o in range(rows.shape[1]):
            count += rows[t, o] != 0
        if count:
            return False
    return True


@part
def locate(x: Any, j: Any, start: Any, width: Any, low: Any, high: Any, piece: Any, f: Any) -> None:
    """The piece of each number in column j, by how many begin at or below it, and how far it has come through it."""
    n = len(x)
    for i in range(n):
        f[i], piece[i] = x[i, j], 0
    for t in range(1, start.size):
        begin = start[t]
        for i in range(n):
            piece[i] += 0 if f[i] < begin else 1  # a nan goes up
    for i in range(n):
        t = piece[i]
        z = (f[i] - start[t]) / width[t]
        z = low[t] if z < low[t] else z
        f[i] = high[t] if z > high[t] else z


@part
def add_pieces(piece: Any, f: Any, scale: Any, sums: Any, W: Any, z: Any) -> None:
    n, m = z.shape
    for i in range(n):
        t = piece[i]
        share = f[i] * scale[t]
        for o in range(m):
            z[i, o] += sums[t, o] + share * W[t, o]


@part
def sort_rows(piece: Any, pieces: int, begin: Any, order: Any) -> None:
    """The numbers of the rows by piece, the last first: those of piece t are begin[t + 1] .. begin[t] - 1 of order."""
    begin[: pieces + 1] = 0
    for i in range(piece.size):
        begin[piece[i]] += 1
    for u in range(1, pieces):
        begin[pieces - 1 - u] += begin[pieces - u]
    for u in range(piece.size):
        i = piece.size - 1 - u
        begin[piece[i]] -= 1
        order[begin[piece[i]]] = i
    # Now begin[t] is where piece t begins, which is where piece t + 1 ends.


@loop(writes="")
def add_fractions(
    x: Any,
    start: Any,
    width: Any,
    low: Any,
    high: Any,
    first: Any,
    scale: Any,
    W: Any,
    room: Any,
    piece: Any,
    f: Any,
    keeps: bool,
    z: Any,
) -> None:
    """``piece`` and ``f``: (columns with fractions, n), for the gradients if it ``keeps`` them; ``room`` is scratch."""
    q = -1
    for j in range(first.size - 1):
        a, b = first[j], first[j + 1]
        if a == b:
            continue
        q += 1
        is_zero = are_zero(W[a:b])
        if is_zero and not keeps:
            continue
        locate(x, j, start[a:b], width[a:b], low[a:b], high[a:b], piece[q], f[q])
        if is_zero:
            continue
        room[0, :] = 0
        for t in range(b - a - 1):
            add_scaled(room[t], scale[a + t], W[a + t], room[t + 1])
        add_pieces(piece[q], f[q], scale[a:b], room, W[a:b], z)


@loop(writes="")
def fraction_gradients(
    first: Any, scale: Any, W: Any, room: Any, piece: Any, f: Any, dz: Any, dW: Any, dscale: Any, frozen: bool
) -> None:
    """From what :func:`add_fractions` has kept."""
    n, q = len(dz), -1
    order, begin = np.empty(n, np.int64), np.empty(len(room) + 1, np.int64)
    above, dV, product = room[0], room[1], room[2]
    for j in range(first.size - 1):
        a, b = first[j], first[j + 1]
        if a == b:
            continue
        q += 1
        if frozen and are_zero(W[a:b]):
            dscale[a:b] = 0
            continue
        sort_rows(piece[q], b - a, begin, order)
        above[:] = 0
        for u in range(b - a):
            t = b - a - 1 - u
            take(dV, above)
            add_rows(order[begin[t] : begin[t - 1] if t else n], f[q], dz, above, dV)
            times(dV, scale[a + t], dW[a + t])
            dscale[a + t] = sum_of_products(dV, W[a + t], product)


@loop(writes="")
def add_slopes(
    width: Any,
    low: Any,
    high: Any,
    first: Any,
    scale: Any,
    W: Any,
    room: Any,
    piece: Any,
    f: Any,
    dz: Any,
    dx: Any,
) -> None:
    q = -1
    for j in range(first.size - 1):
        if first[j] == first[j + 1]:
            continue
        q += 1
        if are_zero(W[first[j] : first[j + 1]]):  # perhaps nothing was kept
            continue
        for i in range(len(dz)):
            t = first[j] + piece[q, i]
            if low[t] < f[q, i] < high[t]:
                dx[i, j] += sum_of_products(dz[i], W[t], room[0]) * scale[t] / width[t]
