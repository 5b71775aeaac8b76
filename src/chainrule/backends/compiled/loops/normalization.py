"""Loops of layer and batch normalisation.

If there are several results, a row is worked through in a loop for each, while it stays in the nearest cache: a
compiler that has to tell more than a few arrays apart uses no vector instructions. Nor does one that does not know of
an index that it is not negative, so rows are cut before a loop goes along them.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.backends.compiled.jit import loop
from chainrule.backends.compiled.loops.sums import pairwise_sum
from chainrule.backends.contract.backend import HALTED, RUNNING


@loop(writes="inverse_std", rows="var inverse_std")
def invert(var: Any, eps: Any, inverse_std: Any) -> None:
    """``eps`` (1,)."""
    one, least = var.dtype.type(1), eps[0]
    for i in range(var.size):
        inverse_std[i] = one / np.sqrt(var[i] + least)


# ---- layer normalisation ------------------------------------------------------------------------------------------


@loop(writes="distance mean var", rows="x distance mean var")
def row_moments(x: Any, distance: Any, mean: Any, var: Any) -> None:
    """The mean is found from the differences to the first number of a row, the variance from those to the mean."""
    n, k = x.shape
    count = x.dtype.type(k)
    for i in range(n):
        first = x[i, 0]
        for j in range(k):
            distance[i, j] = x[i, j] - first
        center = pairwise_sum(distance[i]) / count
        for j in range(k):
            apart = distance[i, j] - center
            distance[i, j] = apart * apart
        mean[i] = center + first
        var[i] = pairwise_sum(distance[i]) / count


@loop(writes="y", rows="x mean inverse_std y")
def normalize_rows(x: Any, mean: Any, inverse_std: Any, gain: Any, bias: Any, y: Any) -> None:
    n, k = x.shape
    for i in range(n):
        center, scale = mean[i], inverse_std[i]
        for j in range(k):
            y[i, j] = (x[i, j] - center) * scale * gain[j] + bias[j]


@loop(writes="product", rows="dy x mean inverse_std product")
def times_normalized_rows(dy: Any, x: Any, mean: Any, inverse_std: Any, product: Any) -> None:
    """product = dy x^, of which dgain is the sum."""
    n, k = x.shape
    for i in range(n):
        center, scale = mean[i], inverse_std[i]
        for j in range(k):
            product[i, j] = dy[i, j] * ((x[i, j] - center) * scale)


@loop(writes="product g dx", rows="dy x mean inverse_std product g dx")
def row_input_gradient(dy: Any, x: Any, gain: Any, mean: Any, inverse_std: Any, product: Any, g: Any, dx: Any) -> None:
    """From product = dy x^; g = dy gain is scratch."""
    n, k = x.shape
    count = x.dtype.type(k)
    for i in range(n):
        center, scale = mean[i], inverse_std[i]
        for j in range(k):
            product[i, j] *= gain[j]
        for j in range(k):
            g[i, j] = dy[i, j] * gain[j]
        along_x, along_one = pairwise_sum(product[i]) / count, pairwise_sum(g[i]) / count
        for j in range(k):
            dx[i, j] = ((g[i, j] - (x[i, j] - center) * scale * along_x) - along_one) * scale


# ---- batch normalisation ------------------------------------------------------------------------------------------


@loop(writes="mean var", rows="mean var", first="first")
def column_moments(x: Any, first: int, mean: Any, var: Any) -> None:
    """Of the columns from ``first`` on; there is more than one in x."""
    n, width = len(x), mean.size
    count = x.dtype.type(n)
    top = x[0, first : first + width]
    mean[:] = 0
    for i in range(n):
        row = x[i, first : first + width]
        for j in range(width):
            mean[j] += row[j] - top[j]
    for j in range(width):
        mean[j] /= count
    var[:] = 0
    for i in range(n):
        row = x[i, first : first + width]
        for j in range(width):
            distance = (row[j] - top[j]) - mean[j]
            var[j] += distance * distance
    for j in range(width):
        var[j] /= count
        mean[j] += top[j]


@loop(writes="running", rows="running now")
def move(running: Any, now: Any, factor_and_momentum: Any, state: Any) -> None:
    """running += momentum (factor now - running), unless the run has halted."""
    factor = factor_and_momentum[0]
    rate = factor_and_momentum[1] if state[HALTED] == RUNNING else running.dtype.type(0)
    for j in range(now.size):
        running[j] += (now[j] * factor - running[j]) * rate


@loop(writes="y", rows="x y")
def normalize_columns(x: Any, mean: Any, inverse_std: Any, gain: Any, bias: Any, y: Any) -> None:
    n, k = x.shape
    for i in range(n):
        for j in range(k):
            y[i, j] = (x[i, j] - mean[j]) * inverse_std[j] * gain[j] + bias[j]


@loop(writes="dgain dbias", rows="mean inverse_std dgain dbias", first="first")
def column_gradients(dy: Any, x: Any, mean: Any, inverse_std: Any, first: int, dgain: Any, dbias: Any) -> None:
    """Of the columns from ``first`` on; there is more than one in x."""
    n, width = len(x), mean.size
    dgain[:] = 0
    dbias[:] = 0
    for i in range(n):
        gradients, row = dy[i, first : first + width], x[i, first : first + width]
        for j in range(width):
            dgain[j] += gradients[j] * ((row[j] - mean[j]) * inverse_std[j])
        for j in range(width):
            dbias[j] += gradients[j]


@loop(writes="along_x along_one factor", rows="dgain dbias gain inverse_std along_x along_one factor")
def column_factors(
    dgain: Any, dbias: Any, gain: Any, inverse_std: Any, rows: int, along_x: Any, along_one: Any, factor: Any
) -> None:
    """The means of dy x^ and of dy, and gain inverse_std."""
    count = gain.dtype.type(rows)
    for j in range(gain.size):
        along_x[j] = dgain[j] / count
        along_one[j] = dbias[j] / count
        factor[j] = gain[j] * inverse_std[j]


@loop(writes="part dx", rows="dy x part dx")
def column_input_gradient(
    dy: Any, x: Any, mean: Any, inverse_std: Any, along_x: Any, along_one: Any, factor: Any, part: Any, dx: Any
) -> None:
    """``part`` is scratch."""
    n, k = x.shape
    for i in range(n):
        for j in range(k):
            part[i, j] = (x[i, j] - mean[j]) * inverse_std[j] * along_x[j]
        for j in range(k):
            dx[i, j] = (dy[i, j] - part[i, j] - along_one[j]) * factor[j]
