"""Loops of dense layers: bias, activations and their gradients, and sums over rows.

Matrices are (n, m), row by row. What is done to each element is divided among threads by rows, a sum over rows by
columns. Two arrays that might be one keep a compiler from using vector instructions: it compares their addresses first.
"""

from __future__ import annotations

from typing import Any, Final

from chainrule.backends.compiled.jit import loop
from chainrule.backends.compiled.loops.batches import copy_rows
from chainrule.backends.compiled.loops.sums import pairwise_sum, pairwise_sum_of_column
from chainrule.backends.reference.activations import SELU_FLOOR, SELU_SCALE, SLOPE


@loop(writes="z", rows="z")
def add_bias(z: Any, b: Any) -> None:
    n, m = z.shape
    for i in range(n):
        for j in range(m):
            z[i, j] += b[j]


@loop(writes="y", rows="y")
def add_bias_relu(y: Any, b: Any) -> None:
    n, m = y.shape
    zero = y.dtype.type(0)
    for i in range(n):
        for j in range(m):
            value = y[i, j] + b[j]
            y[i, j] = zero if value < zero else value  # a nan stays


@loop(writes="db", rows="db", first="first")
def column_sums(dz: Any, first: int, db: Any) -> None:
    """Of the columns from ``first`` on; in NumPy's order, which for a single column is another."""
    n, m = dz.shape
    if m == 1:
        db[0] = pairwise_sum_of_column(dz)
        return
    width = db.size
    for j in range(width):
        db[j] = 0
    for i in range(n):
        row = dz[i, first : first + width]  # an index that is a sum might be negative: no vector instructions
        for j in range(width):
            db[j] += row[j]


# ---- factors of the columns of x: V = scale W, row by row -----------------------------------------------------------


@loop(writes="V", rows="W scale V")
def scale_rows(W: Any, scale: Any, V: Any) -> None:
    k, m = W.shape
    for i in range(k):
        factor = scale[i]
        for j in range(m):
            V[i, j] = W[i, j] * factor


@loop(writes="product dW dscale", rows="W scale product dW dscale")
def scale_gradient(W: Any, scale: Any, product: Any, dW: Any, dscale: Any) -> None:
    """``dW`` is given as dV."""
    k, m = W.shape
    for i in range(k):
        factor = scale[i]
        for j in range(m):
            product[i, j] = dW[i, j] * W[i, j]
        dscale[i] = pairwise_sum(product[i])
        for j in range(m):
            dW[i, j] *= factor


# ---- activations without exponentials ------------------------------------------------------------------------------


@loop(writes="y", rows="z y")
def relu(z: Any, y: Any) -> None:
    n, m = z.shape
    zero = y.dtype.type(0)
    for i in range(n):
        for j in range(m):
            y[i, j] = zero if z[i, j] < zero else z[i, j]  # a nan stays


@loop(writes="y", rows="z y")
def leaky_relu(z: Any, y: Any) -> None:
    n, m = z.shape
    slope = z.dtype.type(SLOPE)
    for i in range(n):
        for j in range(m):
            below = z[i, j] * slope
            y[i, j] = z[i, j] if z[i, j] > below else below  # a nan stays


ACTIVATE: Final[dict[str, Any]] = {"identity": copy_rows, "relu": relu, "leaky_relu": leaky_relu}


# ---- straight above 0, exponential below: e is NumPy's expm1 of the negative part, in between ----------------------


@loop(writes="e", rows="z e")
def negative_part(z: Any, e: Any) -> None:
    n, m = z.shape
    zero = z.dtype.type(0)
    for i in range(n):
        for j in range(m):
            e[i, j] = zero if z[i, j] > zero else z[i, j]  # a nan stays


@loop(writes="y", rows="z e y")
def add_positive_part(z: Any, e: Any, y: Any) -> None:
    n, m = z.shape
    zero = z.dtype.type(0)
    for i in range(n):
        for j in range(m):
            y[i, j] = (zero if z[i, j] < zero else z[i, j]) + e[i, j]


@loop(writes="y", rows="z e y")
def selu(z: Any, e: Any, y: Any) -> None:
    zero, scale, floor = z.dtype.type(0), z.dtype.type(SELU_SCALE), z.dtype.type(SELU_FLOOR)
    n, m = z.shape
    for i in range(n):
        for j in range(m):
            y[i, j] = (zero if z[i, j] < zero else z[i, j]) * scale + e[i, j] * floor


EXPONENTIAL_BELOW: Final[dict[str, Any]] = {"elu": add_positive_part, "selu": selu}


# ---- softplus = max(z, 0) + log1p(exp(-|z|)), and sigmoid = 1 / (1 + exp(-z)) --------------------------------------


@loop(writes="e", rows="z e")
def minus_magnitude(z: Any, e: Any) -> None:
    n, m = z.shape
    for i in range(n):
        for j in range(m):
            e[i, j] = -abs(z[i, j])


@loop(writes="y", rows="y")
def inverse_of_one_more(y: Any) -> None:
    """1 / (1 + y)."""
    n, m = y.shape
    one = y.dtype.type(1)
    for i in range(n):
        for j in range(m):
            y[i, j] = one / (y[i, j] + one)


# ---- gradients, in place: dz is given as dy ------------------------------------------------------------------------


@loop(writes="dz", rows="y dz")
def relu_gradient(y: Any, dz: Any) -> None:
    n, m = y.shape
    zero, one = y.dtype.type(0), y.dtype.type(1)
    for i in range(n):
        for j in range(m):
            dz[i, j] *= one if y[i, j] > zero else zero


@loop(writes="dz", rows="y dz")
def leaky_relu_gradient(y: Any, dz: Any) -> None:
    n, m = y.shape
    slope, one = y.dtype.type(SLOPE), y.dtype.type(1)
    for i in range(n):
        for j in range(m):
            dz[i, j] *= one if y[i, j] > 0 else slope


@loop(writes="dz", rows="y dz")
def elu_gradient(y: Any, dz: Any) -> None:
    n, m = y.shape
    zero, one = y.dtype.type(0), y.dtype.type(1)
    for i in range(n):
        for j in range(m):
            dz[i, j] *= (zero if y[i, j] > zero else y[i, j]) + one


@loop(writes="dz", rows="y dz")
def selu_gradient(y: Any, dz: Any) -> None:
    n, m = y.shape
    zero, floor = y.dtype.type(0), y.dtype.type(SELU_FLOOR)
    scale = y.dtype.type(SELU_SCALE - SELU_FLOOR) + floor  # rounded as the reference rounds it
    for i in range(n):
        for j in range(m):
            dz[i, j] *= scale if y[i, j] > zero else floor + y[i, j]


@loop(writes="dz", rows="y dz")
def tanh_gradient(y: Any, dz: Any) -> None:
    n, m = y.shape
    one = y.dtype.type(1)
    for i in range(n):
        for j in range(m):
            dz[i, j] *= one - y[i, j] * y[i, j]


@loop(writes="dz", rows="y dz")
def sigmoid_gradient(y: Any, dz: Any) -> None:
    n, m = y.shape
    one = y.dtype.type(1)
    for i in range(n):
        for j in range(m):
            dz[i, j] *= (one - y[i, j]) * y[i, j]


@loop(writes="dz", rows="e dz")
def softplus_gradient(e: Any, dz: Any) -> None:
    """e = exp(-y)."""
    n, m = e.shape
    one = e.dtype.type(1)
    for i in range(n):
        for j in range(m):
            dz[i, j] *= one - e[i, j]


GRADIENT: Final[dict[str, Any]] = {
    "relu": relu_gradient,
    "leaky_relu": leaky_relu_gradient,
    "elu": elu_gradient,
    "selu": selu_gradient,
    "tanh": tanh_gradient,
    "sigmoid": sigmoid_gradient,
}
