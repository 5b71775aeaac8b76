"""Columns: side by side, cut out, and each times a factor."""

from __future__ import annotations

from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.members import over_members
from chainrule.backends.reference.array_operations import ArrayOperations


def join_columns(self: ArrayOperations, left: Array, right: Array, *, out: Array) -> None:
    width = left.shape[-1]
    out[..., :width] = left
    out[..., width:] = right


def take_columns(self: ArrayOperations, source: Array, first: int, *, out: Array) -> None:
    out[...] = source[..., first : first + out.shape[-1]]


def add_columns(self: ArrayOperations, source: Array, first: int, *, out: Array) -> None:
    self.xp.add(out, source[..., first : first + out.shape[-1]], out=out)


def scale_columns(self: ArrayOperations, x: Array, scale: Array, *, out: Array) -> None:
    self.xp.multiply(x, scale[..., None, :], out=out)


@over_members
def scale_columns_backward(
    self: ArrayOperations, dy: Array, x: Array, scale: Array, *, dx: Array | None, dscale: Array
) -> None:
    product = self._scratch(dy.shape, dy.dtype, use="product")
    self.xp.multiply(dy, x, out=product)
    self.xp.sum(product, axis=0, out=dscale)
    if dx is not None:
        self.xp.multiply(dy, scale, out=dx)
