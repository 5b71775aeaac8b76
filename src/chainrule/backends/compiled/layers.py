"""Dense layers: bias and activation in one loop, gradients of activations, sums of rows."""

from __future__ import annotations

import numpy as np

from chainrule.backends.compiled.calls import call, call_product, call_ufunc, each_member, known_dtype
from chainrule.backends.compiled.fallback import with_fallback
from chainrule.backends.compiled.state import LOOPS, NotCompiledError
from chainrule.backends.contract.arrays import ActivationName, Array
from chainrule.backends.numpy.backend import NumPyBackend


@with_fallback
def matmul(self: NumPyBackend, a: Array, b: Array, *, out: Array) -> None:
    known_dtype(a, b, out)
    call_product(a, b, out)


@with_fallback
def dense(
    self: NumPyBackend,
    x: Array,
    W: Array,
    b: Array,
    activation: ActivationName,
    *,
    z: Array,
    y: Array,
    signs: Array | None = None,
) -> None:
    loops = LOOPS.layers
    known_dtype(z, y)
    self.matmul(x, W, out=z)
    is_relu = activation == "relu" and z is y
    for of_z, of_b in each_member((z, 2), (b, 1)):
        call(loops.add_bias_relu if is_relu else loops.add_bias, of_z, of_b)
    if not is_relu and (activation != "identity" or z is not y):
        self.activate(activation, z, out=y)


@with_fallback
def scaled_dense(
    self: NumPyBackend, x: Array, scale: Array, W: Array, b: Array, activation: ActivationName, *, z: Array, y: Array
) -> None:
    known_dtype(x, scale, W, z, y)
    if x.shape[-2] > W.shape[-1]:  # the factors go into the smaller matrix
        self.dense(x, scaled_rows(self, W, scale), b, activation, z=z, y=y)
        return
    scaled = self._scratch((*z.shape[:-1], x.shape[-1]), x.dtype, use="scaled")  # members may share the rows
    self.scale_columns(x, scale, out=scaled)
    self.dense(scaled, W, b, activation, z=z, y=y)


@with_fallback
def scaled_dense_backward(
    self: NumPyBackend, x: Array, scale: Array, W: Array, dz: Array, *, dW: Array, dscale: Array, dx: Array | None
) -> None:
    known_dtype(x, scale, W, dz, dW)
    self.matmul(x.swapaxes(-1, -2), dz, out=dW)  # the gradient by V = scale W
    for of_scale, of_W, of_dW, of_dscale in each_member((scale, 1), (W, 2), (dW, 2), (dscale, 1)):
        product = self._scratch(of_W.shape, W.dtype, use="product")
        call(LOOPS.layers.scale_gradient, of_W, of_scale, product, of_dW, of_dscale)
    if dx is not None:
        self.matmul(dz, scaled_rows(self, W, scale).swapaxes(-1, -2), out=dx)


def scaled_rows(self: NumPyBackend, W: Array, scale: Array) -> Array:
    """V_ij = scale_i W_ij, in scratch memory."""
    V = self._scratch(W.shape, W.dtype, use="scaled")
    for of_W, of_scale, of_V in each_member((W, 2), (scale, 1), (V, 2)):
        call(LOOPS.layers.scale_rows, of_W, of_scale, of_V)
    return V


@with_fallback
def activate(self: NumPyBackend, activation: ActivationName, z: Array, *, out: Array) -> None:
    loops, gates = LOOPS.layers, LOOPS.gates
    known_dtype(z, out)
    for of_z, of_out in each_member((z, 2), (out, 2)):
        if gated := gates.GATED.get((activation, z.dtype.char)):
            e = self._scratch(of_z.shape, z.dtype, use="gate")
            call(gated.argument, of_z, e)
            call_ufunc(np.exp, e, out=e)
            call(gated.function, of_z, e, of_out)
        elif activation in loops.EXPONENTIAL_BELOW:
            e = self._scratch(of_z.shape, z.dtype, use="below")
            call(loops.negative_part, of_z, e)
            call_ufunc(np.expm1, e, out=e)
            call(loops.EXPONENTIAL_BELOW[activation], of_z, e, of_out)
        elif activation == "softplus":
            e = self._scratch(of_z.shape, z.dtype, use="below")
            call(loops.minus_magnitude, of_z, e)
            call_ufunc(np.exp, e, out=e)
            call_ufunc(np.log1p, e, out=e)
            call(loops.add_positive_part, of_z, e, of_out)
        elif activation == "sigmoid":
            call_ufunc(np.negative, of_z, out=of_out)
            call_ufunc(np.exp, of_out, out=of_out)
            call(loops.inverse_of_one_more, of_out)
        elif activation == "tanh":
            call_ufunc(np.tanh, of_z, out=of_out)
        elif activation in loops.ACTIVATE:
            call(loops.ACTIVATE[activation], of_z, of_out)
        else:
            raise NotCompiledError(activation)


@with_fallback
def activation_backward(
    self: NumPyBackend, activation: ActivationName, saved: Array, dy: Array, *, dz: Array, db: Array
) -> None:
    loops, gates = LOOPS.layers, LOOPS.gates
    known_dtype(saved, dy, dz)
    for of_saved, of_dy, of_dz, of_db in each_member((saved, 2), (dy, 2), (dz, 2), (db, 1)):
        if dz is not dy:
            call(LOOPS.batches.copy_rows, of_dy, of_dz)
        if gated := gates.GATED.get((activation, saved.dtype.char)):
            e = self._scratch(of_saved.shape, saved.dtype, use="gate")
            call(gated.argument, of_saved, e)
            call_ufunc(np.exp, e, out=e)
            call(gated.gradient, of_saved, e, of_dz)
        elif activation == "softplus":
            e = self._scratch(of_saved.shape, saved.dtype, use="below")
            call_ufunc(np.negative, of_saved, out=e)
            call_ufunc(np.exp, e, out=e)
            call(loops.softplus_gradient, e, of_dz)
        elif activation != "identity":
            call(loops.GRADIENT[activation], of_saved, of_dz)
        call(loops.column_sums, of_dz, 0, of_db)


@with_fallback
def add(self: NumPyBackend, a: Array, b: Array, *, out: Array) -> None:
    known_dtype(a, b, out)
    call_ufunc(np.add, a, b, out=out)
