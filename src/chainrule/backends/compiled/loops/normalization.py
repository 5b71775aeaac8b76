"""Loops of layer and batch normalisation.

If there are several results, a row is worked through in a loop for each, while it stays in the nearest cache: a
compiler that has to tell more than a few arrays apart uses no vector instructions.
"""

from __future__ import annotations

from typing import Any

from chainrule.backends.compiled.jit import loop

# ---- layer normalisation: NumPy adds up the rows ----------------------------------------------------


@loop(writes="")
def less_first(x: Any, out: Any) -> None:
    n, k = x.shape
    for i in range(n):
        first = x[i, 0]
        for j in range(k):
            out[i, j] = x[i, j] - first


@loop(writes="")
def square_distances(x: Any, mean: Any) -> None:
    n, k = x.shape
    for i in range(n):
        center = mean[i]
        for j in range(k):
            distance = x[i, j] - center
            x[i, j] = distance * distance


@loop(writes="")
def normalize_rows(x: Any, mean: Any, inverse_std: Any, gain: Any, bias: Any, y: Any) -> None:
    n, k = x.shape
    for i in range(n):
        center, scale = mean[i], inverse_std[i]
        for j in range(k):
            y[i, j] = (x[i, j] - center) * scale * gain[j] + bias[j]


@loop(writes="")
def row_gradients(dy: Any, x: Any, mean: Any, inverse_std: Any, product: Any, dgain: Any, dbias: Any) -> None:
    """``product`` becomes dy x^."""
    n, k = x.shape
    dgain[:] = 0
    dbias[:] = 0
    for i in range(n):
        center, scale = mean[i], inverse_std[i]
        for j in range(k):
            product[i, j] = dy[i, j] * ((x[i, j] - center) * scale)
        for j in range(k):
            dgain[j] += product[i, j]
        for j in range(k):
            dbias[j] += dy[i, j]


@loop(writes="")
def times_gain(dy: Any, gain: Any, product: Any, g: Any) -> None:
    """product = product gain, g = dy gain: what is averaged over each row."""
    n, k = dy.shape
    for i in range(n):
        for j in range(k):
            product[i, j] *= gain[j]
        for j in range(k):
            g[i, j] = dy[i, j] * gain[j]


@loop(writes="")
def row_input_gradient(g: Any, x: Any, mean: Any, inverse_std: Any, along_x: Any, along_one: Any, dx: Any) -> None:
    n, k = x.shape
    for i in range(n):
        center, scale, of_x, of_one = mean[i], inverse_std[i], along_x[i], along_one[i]
        for j in range(k):
            dx[i, j] = ((g[i, j] - (x[i, j] - center) * scale * of_x) - of_one) * scale


# ---- batch normalisation --------------------------------------------------------------------------


@loop(writes="")
def column_moments(x: Any, mean: Any, var: Any) -> None:
    """The mean of x - first, first the first row, and the variance."""
    n, k = x.shape
    count = x.dtype.type(n)
    mean[:] = 0
    for i in range(n):
        for j in range(k):
            mean[j] += x[i, j] - x[0, j]
    for j in range(k):
        mean[j] /= count
    var[:] = 0
    for i in range(n):
        for j in range(k):
            distance = (x[i, j] - x[0, j]) - mean[j]
            var[j] += distance * distance
    for j in range(k):
        var[j] /= count


@loop(writes="")
def normalize_columns(x: Any, mean: Any, inverse_std: Any, gain: Any, bias: Any, y: Any) -> None:
    n, k = x.shape
    for i in range(n):
        for j in range(k):
            y[i, j] = (x[i, j] - mean[j]) * inverse_std[j] * gain[j] + bias[j]


@loop(writes="")
def column_gradients(dy: Any, x: Any, mean: Any, inverse_std: Any, dgain: Any, dbias: Any) -> None:
    n, k = x.shape
    dgain[:] = 0
    dbias[:] = 0
    for i in range(n):
        for j in range(k):
            dgain[j] += dy[i, j] * ((x[i, j] - mean[j]) * inverse_std[j])
        for j in range(k):
            dbias[j] += dy[i, j]


@loop(writes="")
def column_input_gradient(
    dy: Any, x: Any, mean: Any, inverse_std: Any, along_x: Any, along_one: Any, factor: Any, dx: Any, row: Any
) -> None:
    n, k = x.shape
    for i in range(n):
        for j in range(k):
            row[j] = (x[i, j] - mean[j]) * inverse_std[j] * along_x[j]
        for j in range(k):
            dx[i, j] = (dy[i, j] - row[j] - along_one[j]) * factor[j]
