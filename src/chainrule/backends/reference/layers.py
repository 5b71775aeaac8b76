"""Dense layers: products, activations and their gradients."""

from __future__ import annotations

import functools

from chainrule.backends.contract.arrays import ActivationName, Array
from chainrule.backends.reference.activations import ACTIVATE, DERIVATIVE
from chainrule.backends.reference.array_operations import ArrayOperations


def matmul(self: ArrayOperations, a: Array, b: Array, *, out: Array) -> None:
    self.xp.matmul(a, b, out=out)


def activate(self: ArrayOperations, activation: ActivationName, z: Array, *, out: Array) -> None:
    ACTIVATE[activation](self.xp, z, out, functools.partial(self._scratch, z.shape, z.dtype))


def dense(
    self: ArrayOperations,
    x: Array,
    W: Array,
    b: Array,
    activation: ActivationName,
    *,
    z: Array,
    y: Array,
    signs: Array | None = None,
) -> None:
    self.matmul(x, W, out=z)
    self.xp.add(z, b[..., None, :], out=z)
    if activation != "identity" or z is not y:
        self.activate(activation, z, out=y)


def scaled_dense(
    self: ArrayOperations, x: Array, scale: Array, W: Array, b: Array, activation: ActivationName, *, z: Array, y: Array
) -> None:
    if x.shape[-2] > W.shape[-1]:  # the factors go into the smaller matrix
        self.dense(x, _scaled_rows(self, W, scale), b, activation, z=z, y=y)
        return
    scaled = self._scratch((*z.shape[:-1], x.shape[-1]), x.dtype, use="scaled")  # members may share the rows
    self.scale_columns(x, scale, out=scaled)
    self.dense(scaled, W, b, activation, z=z, y=y)


def scaled_dense_backward(
    self: ArrayOperations, x: Array, scale: Array, W: Array, dz: Array, *, dW: Array, dscale: Array, dx: Array | None
) -> None:
    xp = self.xp
    self.matmul(x.swapaxes(-1, -2), dz, out=dW)  # the gradient by V = scale W
    product = self._scratch(W.shape, W.dtype, use="scaled")
    xp.multiply(dW, W, out=product)
    xp.sum(product, axis=-1, out=dscale)
    xp.multiply(dW, scale[..., None], out=dW)
    if dx is not None:
        self.matmul(dz, _scaled_rows(self, W, scale).swapaxes(-1, -2), out=dx)


def _scaled_rows(self: ArrayOperations, W: Array, scale: Array) -> Array:
    """V_ij = scale_i W_ij, in scratch memory."""
    V = self._scratch(W.shape, W.dtype, use="scaled")
    self.xp.multiply(W, scale[..., None], out=V)
    return V


def activation_backward(
    self: ArrayOperations, activation: ActivationName, saved: Array, dy: Array, *, dz: Array, db: Array
) -> None:
    if activation != "identity":
        derivative = self._scratch(saved.shape, saved.dtype, use="derivative")
        scratch = functools.partial(self._scratch, saved.shape, saved.dtype)
        DERIVATIVE[activation](self.xp, saved, derivative, scratch)
        self.xp.multiply(dy, derivative, out=dz)
    elif dz is not dy:
        dz[...] = dy
    self.xp.sum(dz, axis=-2, out=db)


def matmul_activation_backward(
    self: ArrayOperations,
    dz: Array,
    W: Array,
    activation: ActivationName,
    saved: Array,
    *,
    out: Array,
    db: Array,
    signs: Array | None = None,
) -> None:
    self.matmul(dz, W.swapaxes(-1, -2), out=out)
    self.activation_backward(activation, saved, out, dz=out, db=db)


def add(self: ArrayOperations, a: Array, b: Array, *, out: Array) -> None:
    self.xp.add(a, b, out=out)
