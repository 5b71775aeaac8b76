"""Dense layers: bias and activation in one loop, gradients of activations together with their row sums."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.backends.compiled.members import lie_together
from chainrule.backends.compiled.state import COMPILED_DTYPES, LOOPS
from chainrule.backends.contract.arrays import ActivationName, Array
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.backends.reference.activations import DERIVATIVE


def dense(self: NumPyBackend, x: Array, W: Array, b: Array, activation: ActivationName, *, z: Array, y: Array) -> None:
    loops = LOOPS.layers
    if loops is not None and z is y and y.dtype.char in COMPILED_DTYPES:
        try:
            self.matmul(x, W, out=y)
            if y.ndim == 3:
                (loops.add_bias_relu_of_members if activation == "relu" else loops.add_bias_of_members)(y, b)
                if activation not in {"relu", "identity"}:
                    self.activate(activation, y, out=y)
                return
            if activation == "relu":
                loops.add_bias_relu(y, b)
                return
            loops.add_bias(y, b)
            if activation != "identity":
                self.activate(activation, y, out=y)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    NumPyBackend.dense(self, x, W, b, activation, z=z, y=y)


def activate(self: NumPyBackend, activation: ActivationName, z: Array, *, out: Array) -> None:
    loops = LOOPS.gates
    gated = None if loops is None else loops.GATED.get((activation, z.dtype.char))
    if gated is not None and out.dtype == z.dtype:
        try:
            e = self._scratch(z.shape, z.dtype, use="gate") if np.may_share_memory(z, out) else out
            _by_exp(gated.argument, gated.function, z, e)
            if e is not out:
                out[...] = e
            return
        except Exception as error:
            LOOPS.withdraw(error)
    below = LOOPS.layers
    if below is not None and activation in below.EXPONENTIAL_BELOW and _is_flat(z, out):
        try:
            flat, e = z.reshape(-1), self._scratch((z.size,), z.dtype, use="below")
            below.negative_part(flat, e)
            np.expm1(e, out=e)
            below.EXPONENTIAL_BELOW[activation](flat, e, out.reshape(-1))
            return
        except Exception as error:
            LOOPS.withdraw(error)
    NumPyBackend.activate(self, activation, z, out=out)


def _is_flat(z: Array, out: Array) -> bool:
    """Whether loops know these numbers, and ``out`` is one stretch of memory."""
    return z.dtype.char in COMPILED_DTYPES and z.dtype == out.dtype and out.flags.c_contiguous


def activation_backward(
    self: NumPyBackend, activation: ActivationName, saved: Array, dy: Array, *, dz: Array, db: Array
) -> None:
    loops = LOOPS.layers
    # A single column NumPy sums in another order.
    if loops is not None and dz.shape[-1] != 1 and dz.dtype.char in COMPILED_DTYPES:
        try:
            if dz is not dy:
                dz[...] = dy
            if dz.ndim == 3:
                if backward := loops.BACKWARD_OF_MEMBERS.get(activation):
                    backward(saved, dz, db)
                else:
                    derivative = None if activation == "identity" else _derivative(self, activation, saved)
                    _multiply_members(loops, derivative, dz, db)
                return
            if backward := loops.BACKWARD.get(activation):
                backward(saved, dz, db)
            else:
                loops.multiply_backward(_derivative(self, activation, saved), dz, db)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    NumPyBackend.activation_backward(self, activation, saved, dy, dz=dz, db=db)


def _multiply_members(loops: Any, derivative: Array | None, dz: Array, db: Array) -> None:
    """dz *= derivative, if there is one, and its sums over the rows of each member."""
    if derivative is None:
        loops.sums_of_members(dz, db)
    else:
        loops.multiply_backward_of_members(derivative, dz, db)


def _derivative(self: NumPyBackend, activation: ActivationName, saved: Array) -> Array:
    """act'(saved), in scratch memory."""
    derivative = self._scratch(saved.shape, saved.dtype, use="derivative")
    loops = LOOPS.gates
    if loops is not None and (gated := loops.GATED.get((activation, saved.dtype.char))):
        _by_exp(gated.argument, gated.derivative, saved, derivative)
    else:
        scratch = functools.partial(self._scratch, saved.shape, saved.dtype)
        DERIVATIVE[activation](np, saved, derivative, scratch)
    return derivative


def _by_exp(argument: Callable[..., None], function: Callable[..., None], z: Array, e: Array) -> None:
    """The function of z that these two loops and NumPy's exp in between compute; into e."""
    if z.ndim == 3 and not lie_together(z, e):
        for z_part, e_part in zip(z, e, strict=True):
            _by_exp(argument, function, z_part, e_part)
        return
    z, e = z.reshape(-1), e.reshape(-1)
    argument(z, e)
    np.exp(e, out=e)
    function(z, e)
