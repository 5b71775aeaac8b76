"""Loops of dense layers: bias, ReLU, and the gradients of activations with their row sums."""

from __future__ import annotations

from typing import Any, Final

from chainrule.backends.compiled.jit import loop
from chainrule.backends.reference.activations import SLOPE


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
