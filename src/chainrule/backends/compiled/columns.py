"""Columns: side by side, cut out, times factors; the gradients of factors in one pass over the rows."""

from __future__ import annotations

import numpy as np

from chainrule.backends.compiled.calls import call, call_ufunc, each_member, known_dtype
from chainrule.backends.compiled.fallback import with_fallback
from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.contract.arrays import Array
from chainrule.backends.numpy.backend import NumPyBackend


@with_fallback
def join_columns(self: NumPyBackend, left: Array, right: Array, *, out: Array) -> None:
    known_dtype(left, right, out)
    for of_member in each_member((left, 2), (right, 2), (out, 2)):
        call(LOOPS.columns.join, *of_member)


@with_fallback
def take_columns(self: NumPyBackend, source: Array, first: int, *, out: Array) -> None:
    known_dtype(source, out)
    for of_source, of_out in each_member((source, 2), (out, 2)):
        call(LOOPS.columns.take, of_source, first, of_out)


@with_fallback
def add_columns(self: NumPyBackend, source: Array, first: int, *, out: Array) -> None:
    known_dtype(source, out)
    for of_source, of_out in each_member((source, 2), (out, 2)):
        call(LOOPS.columns.add, of_source, first, of_out)


@with_fallback
def scale_columns(self: NumPyBackend, x: Array, scale: Array, *, out: Array) -> None:
    known_dtype(x, scale, out)
    for of_member in each_member((x, 2), (scale, 1), (out, 2)):
        call(LOOPS.columns.scale, *of_member)


@with_fallback
def scale_columns_backward(
    self: NumPyBackend, dy: Array, x: Array, scale: Array, *, dx: Array | None, dscale: Array
) -> None:
    loops = LOOPS.columns
    known_dtype(dy, x, scale, dscale)
    for of_dy, of_x, of_scale, of_dx, of_dscale in each_member((dy, 2), (x, 2), (scale, 1), (dx, 2), (dscale, 1)):
        if of_x.shape[1] == 1:  # which NumPy adds up in another order
            product = self._scratch(of_x.shape, of_x.dtype, use="product")
            call_ufunc(np.multiply, of_dy, of_x, out=product)
            call(LOOPS.layers.column_sums, product, 0, of_dscale)
        else:
            call(loops.scale_gradient, of_dy, of_x, 0, of_dscale)
        if of_dx is not None:
            call(loops.scale, of_dy, of_scale, of_dx)
