"""Loops of dense layers: bias, ReLU, ELU and SELU, and the gradients of activations with their row sums."""

from __future__ import annotations

from typing import Any, Final

from chainrule.backends.compiled.jit import loop
from chainrule.backends.reference.activations import SELU_FLOOR, SELU_SCALE, SLOPE


@loop
def add_bias(z: Any, b: Any) -> None:
    n, m = z.shape
    for i in range(n):
        for j in range(m):
            z[i, j] += b[j]


@loop
def add_bias_relu(y: Any, b: Any) -> None:
    n, m = y.shape
    zero = y.dtype.type(0)
    for i in range(n):
        for j in range(m):
            value = y[i, j] + b[j]
            y[i, j] = zero if value < zero else value  # a nan stays


# ---- k members at once: y (k, n, m), b (k, m), which may lie apart ------------------------------------------------


@loop
def add_bias_of_members(z: Any, b: Any) -> None:
    k, n, m = z.shape
    for a in range(k):
        for i in range(n):
            for j in range(m):
                z[a, i, j] += b[a, j]


@loop
def add_bias_relu_of_members(y: Any, b: Any) -> None:
    k, n, m = y.shape
    zero = y.dtype.type(0)
    for a in range(k):
        for i in range(n):
            for j in range(m):
                value = y[a, i, j] + b[a, j]
                y[a, i, j] = zero if value < zero else value  # a nan stays


@loop
def relu_backward_of_members(y: Any, dz: Any, db: Any) -> None:
    k, n, m = y.shape
    zero, one = y.dtype.type(0), y.dtype.type(1)
    for a in range(k):
        db[a, :] = zero
        for i in range(n):
            for j in range(m):
                value = dz[a, i, j] * (one if y[a, i, j] > zero else zero)
                dz[a, i, j] = value
                db[a, j] += value


@loop
def elu_backward_of_members(y: Any, dz: Any, db: Any) -> None:
    for a in range(len(y)):
        elu_backward(y[a], dz[a], db[a])


@loop
def selu_backward_of_members(y: Any, dz: Any, db: Any) -> None:
    for a in range(len(y)):
        selu_backward(y[a], dz[a], db[a])


@loop
def multiply_backward_of_members(derivative: Any, dz: Any, db: Any) -> None:
    k, n, m = dz.shape
    for a in range(k):
        db[a, :] = 0
        for i in range(n):
            for j in range(m):
                value = dz[a, i, j] * derivative[a, i, j]
                dz[a, i, j] = value
                db[a, j] += value


@loop
def sums_of_members(dz: Any, db: Any) -> None:
    k, n, m = dz.shape
    for a in range(k):
        db[a, :] = 0
        for i in range(n):
            for j in range(m):
                db[a, j] += dz[a, i, j]


BACKWARD_OF_MEMBERS: Final[dict[str, Any]] = {
    "relu": relu_backward_of_members,
    "elu": elu_backward_of_members,
    "selu": selu_backward_of_members,
}


# ---- straight above 0, exponential below: e is NumPy's expm1 of the negative part, in between ----------------------


@loop
def negative_part(z: Any, e: Any) -> None:
    zero = z.dtype.type(0)
    for i in range(z.size):
        e[i] = zero if z[i] > zero else z[i]  # a nan stays


@loop
def elu(z: Any, e: Any, y: Any) -> None:
    zero = z.dtype.type(0)
    for i in range(z.size):
        y[i] = (zero if z[i] < zero else z[i]) + e[i]


@loop
def selu(z: Any, e: Any, y: Any) -> None:
    zero, scale, floor = z.dtype.type(0), z.dtype.type(SELU_SCALE), z.dtype.type(SELU_FLOOR)
    for i in range(z.size):
        y[i] = (zero if z[i] < zero else z[i]) * scale + e[i] * floor


EXPONENTIAL_BELOW: Final[dict[str, Any]] = {"elu": elu, "selu": selu}


# ---- the backward pass: in place, dz is given as dy. Two arrays that might be one keep a compiler from using vector
# instructions.


@loop
def relu_backward(y: Any, dz: Any, db: Any) -> None:
    n, m = y.shape
    zero, one = y.dtype.type(0), y.dtype.type(1)
    db[:] = zero
    for i in range(n):
        for j in range(m):
            value = dz[i, j] * (one if y[i, j] > zero else zero)
            dz[i, j] = value
            db[j] += value


@loop
def leaky_relu_backward(y: Any, dz: Any, db: Any) -> None:
    n, m = y.shape
    slope, one = y.dtype.type(SLOPE), y.dtype.type(1)
    db[:] = 0
    for i in range(n):
        for j in range(m):
            value = dz[i, j] * (one if y[i, j] > 0 else slope)
            dz[i, j] = value
            db[j] += value


@loop
def elu_backward(y: Any, dz: Any, db: Any) -> None:
    n, m = y.shape
    zero, one = y.dtype.type(0), y.dtype.type(1)
    db[:] = 0
    for i in range(n):
        for j in range(m):
            value = dz[i, j] * ((zero if y[i, j] > zero else y[i, j]) + one)
            dz[i, j] = value
            db[j] += value


@loop
def selu_backward(y: Any, dz: Any, db: Any) -> None:
    n, m = y.shape
    zero, floor = y.dtype.type(0), y.dtype.type(SELU_FLOOR)
    scale = y.dtype.type(SELU_SCALE - SELU_FLOOR) + floor  # rounded as the reference rounds it
    db[:] = 0
    for i in range(n):
        for j in range(m):
            value = dz[i, j] * (scale if y[i, j] > zero else floor + y[i, j])
            dz[i, j] = value
            db[j] += value


@loop
def tanh_backward(y: Any, dz: Any, db: Any) -> None:
    n, m = y.shape
    one = y.dtype.type(1)
    db[:] = 0
    for i in range(n):
        for j in range(m):
            value = dz[i, j] * (one - y[i, j] * y[i, j])
            dz[i, j] = value
            db[j] += value


@loop
def sigmoid_backward(y: Any, dz: Any, db: Any) -> None:
    n, m = y.shape
    one = y.dtype.type(1)
    db[:] = 0
    for i in range(n):
        for j in range(m):
            value = dz[i, j] * ((one - y[i, j]) * y[i, j])
            dz[i, j] = value
            db[j] += value


@loop
def identity_backward(y: Any, dz: Any, db: Any) -> None:
    n, m = dz.shape
    db[:] = 0
    for i in range(n):
        for j in range(m):
            db[j] += dz[i, j]


BACKWARD: Final[dict[str, Any]] = {
    "identity": identity_backward,
    "relu": relu_backward,
    "leaky_relu": leaky_relu_backward,
    "elu": elu_backward,
    "selu": selu_backward,
    "tanh": tanh_backward,
    "sigmoid": sigmoid_backward,
}


@loop
def multiply_backward(derivative: Any, dz: Any, db: Any) -> None:
    n, m = dz.shape
    db[:] = 0
    for i in range(n):
        for j in range(m):
            value = dz[i, j] * derivative[i, j]
            dz[i, j] = value
            db[j] += value
