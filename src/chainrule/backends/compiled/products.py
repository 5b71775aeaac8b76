"""Products of a recorded step: the routine of BLAS that np.matmul calls, by its address, and so with its bits."""

from __future__ import annotations

import functools
from typing import Any, Final

import numba

from chainrule.backends.capture.memory import address
from chainrule.backends.compiled.jit import Form
from chainrule.backends.compiled.launches import FLOPS, RESULT_AND_ERROR, WORD, Launch, LoopLaunch, Words, address_of
from chainrule.backends.compiled.loops import products
from chainrule.backends.compiled.state import NotCompiledError
from chainrule.backends.contract.arrays import Array
from chainrule.backends.numpy import blas
from chainrule.backends.numpy.blas_routines import routine

PRODUCT: Final = "matmul"  # what a launch of a product is of


class ProductLaunch(Launch):
    """out = a @ b by NumPy's BLAS."""

    form = Form(writes=(2,), rows=(0, 2), first=-1)

    def __init__(self, function: str, arguments: tuple[Array, Array, Array]) -> None:
        super().__init__(function, arguments)
        self._routine, self._loop, self._arguments = _called(*arguments)
        # A column of a transposed matrix: OpenBLAS keeps the bits of parts that are twice as long.
        self.grain = 2 if arguments[1].shape[1] == 1 and not arguments[0].flags.c_contiguous else 1

    def address(self) -> int:
        return address_of(self._loop, (numba.types.int64, numba.types.int64))

    @functools.cached_property
    def words(self) -> Words:
        return Words([*RESULT_AND_ERROR, self._routine, 4 * WORD, *self._arguments], (3,))

    @functools.cached_property
    def cost(self) -> float:
        a, _, out = self.arguments
        return float(2 * out.size * a.shape[1]) / FLOPS


def product_of(a: Array, b: Array, out: Array) -> tuple[Any, Any, tuple[Array, Array, Array]]:
    """Kind, function and arguments of the launch of a @ b; NotCompiledError if BLAS is not to be had."""
    if (a.shape[0], b.shape[1]) != out.shape or a.shape[1] != b.shape[0]:
        raise NotCompiledError(f"matrices of shapes {a.shape} and {b.shape}, into {out.shape}")
    if a.shape[1] == 1:
        return LoopLaunch, products.outer, (a, b, out)
    if blas.find() is None:
        raise NotCompiledError(f"matrices without BLAS ({blas.problem()})")
    return ProductLaunch, PRODUCT, (a, b, out)


def _called(a: Array, b: Array, out: Array) -> tuple[int, Any, list[int]]:
    """The address of the routine, the loop of :data:`products.ROUTINES` that calls it, and its arguments."""
    found, how = blas.find(), routine(a, b, out)
    if found is None or how is None:
        raise NotCompiledError(f"matrices of shapes {a.shape} and {b.shape} with gaps")
    one, other, into = (address(array) for array in ((b, a, out) if how.switched else (a, b, out)))
    called = found.function(how.name)
    assert called is not None
    loop = products.ROUTINES[how.name, found.integer_bits]
    if how.kind == "dot":
        return called, loop, [*how.sizes, one, how.strides[0], other, how.strides[1], into]
    first, second, third = how.strides
    return called, loop, [how.order, *how.transposes, *how.sizes, one, first, other, second, into, third]
