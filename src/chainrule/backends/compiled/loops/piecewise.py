"""Loops of piecewise-linear encodings."""

from __future__ import annotations

from typing import Any

from chainrule.backends.compiled.jit import loop, part


@loop(writes="y", rows="x y")
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


@loop(writes="dx", rows="dy y dx")
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

TABLES = "start width low high column first scale W sums piece f"


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


@loop(writes="sums", rows="column")
def sum_pieces(column: Any, first: Any, scale: Any, W: Any, sums: Any) -> None:
    """What a number of a piece has of the pieces below it, for every piece of these columns."""
    for q in range(column.size):
        a, b = first[column[q]], first[column[q] + 1]
        sums[a, :] = 0
        for t in range(a, b - 1):
            add_scaled(sums[t], scale[t], W[t], sums[t + 1])


@loop(writes="piece f z", rows="x z", first="row", picks=TABLES, each="column")
def add_fractions(
    x: Any,
    start: Any,
    width: Any,
    low: Any,
    high: Any,
    column: Any,
    first: Any,
    scale: Any,
    W: Any,
    sums: Any,
    piece: Any,
    f: Any,
    keeps: int,
    row: int,
    z: Any,
) -> None:
    """The rows from ``row`` on. ``column`` has fractions; ``piece`` and ``f`` are kept for gradients if ``keeps``."""
    end = row + len(z)
    for q in range(column.size):
        a, b = first[column[q]], first[column[q] + 1]
        is_zero = are_zero(W[a:b])
        if is_zero and not keeps:
            continue
        at, share = piece[q, row:end], f[q, row:end]
        locate(x, column[q], start[a:b], width[a:b], low[a:b], high[a:b], at, share)
        if not is_zero:
            add_pieces(at, share, scale[a:b], sums[a:b], W[a:b], z)


@loop(
    writes="room begin order dW dscale",
    rows="column piece f room begin order",
    picks="column first scale W piece f dW dscale room begin order",
    each="column",
)
def fraction_gradients(
    column: Any,
    first: Any,
    scale: Any,
    W: Any,
    piece: Any,
    f: Any,
    dz: Any,
    dW: Any,
    dscale: Any,
    frozen: int,
    room: Any,
    begin: Any,
    order: Any,
) -> None:
    """From what :func:`add_fractions` has kept. ``room``, ``begin``, ``order``: scratch, for each part its own."""
    n = len(dz)
    for q in range(column.size):
        a, b = first[column[q]], first[column[q] + 1]
        if frozen and are_zero(W[a:b]):
            dscale[a:b] = 0
            continue
        above, dV, product = room[0, 0], room[0, 1], room[0, 2]
        sort_rows(piece[q], b - a, begin[0], order[0])
        above[:] = 0
        for u in range(b - a):
            t = b - a - 1 - u
            take(dV, above)
            add_rows(order[0, begin[0, t] : begin[0, t - 1] if t else n], f[q], dz, above, dV)
            times(dV, scale[a + t], dW[a + t])
            dscale[a + t] = sum_of_products(dV, W[a + t], product)


@loop(
    writes="dx room",
    rows="dz dx room",
    first="row",
    picks="width low high column first scale W piece f room",
    each="column",
)
def add_slopes(
    width: Any,
    low: Any,
    high: Any,
    column: Any,
    first: Any,
    scale: Any,
    W: Any,
    piece: Any,
    f: Any,
    row: int,
    dz: Any,
    dx: Any,
    room: Any,
) -> None:
    """The rows from ``row`` on; ``room`` is scratch, for each part its own."""
    for q in range(column.size):
        j = column[q]
        a, b = first[j], first[j + 1]
        if are_zero(W[a:b]):  # perhaps nothing was kept
            continue
        for i in range(len(dz)):
            t, share = a + piece[q, row + i], f[q, row + i]
            if low[t] < share < high[t]:
                dx[i, j] += sum_of_products(dz[i], W[t], room[0]) * scale[t] / width[t]
