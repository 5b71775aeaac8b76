"""Matrix products: the routines of NumPy's BLAS by address, and outer products, for which BLAS is slow."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from chainrule.backends.compiled.jit import loop

ROW_MAJOR, COLUMN_MAJOR, AS_IT_IS, TRANSPOSED = 101, 102, 111, 112  # numbers of CBLAS


def _gemm(real: Any, width: int) -> Any:
    """``gemm(address, transposes, m, n, k, a, lda, b, ldb, c, ldc)`` for a BLAS whose integers have this width."""

    @intrinsic
    def gemm(typing_context: Any, address: Any, ta: Any, tb: Any, m: Any, n: Any, k: Any, a: Any, lda: Any, b: Any, ldb: Any, c: Any, ldc: Any) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, _: Any, v: Any) -> Any:
            size, word, enum = ir.IntType(width), ir.IntType(64), ir.IntType(32)
            narrow = _narrowed(builder)
            one, zero = ir.Constant(real, 1.0), ir.Constant(real, 0.0)
            kinds = [enum, enum, enum, size, size, size, real, word, size, word, size, real, word, size]
            values = [
                ir.Constant(enum, ROW_MAJOR), narrow(v[1], enum), narrow(v[2], enum),
                *(narrow(value, size) for value in v[3:6]), one, v[6], narrow(v[7], size), v[8], narrow(v[9], size),
                zero, v[10], narrow(v[11], size),
            ]  # fmt: skip
            function = builder.inttoptr(v[0], ir.FunctionType(ir.VoidType(), kinds).as_pointer())
            builder.call(function, values)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 12), generate

    @loop(writes="", variant=f"{real} {width}")
    def product(address: int, ta: int, tb: int, m: int, n: int, k: int, a: int, lda: int, b: int, ldb: int, c: int, ldc: int) -> None:  # fmt: skip
        gemm(address, ta, tb, m, n, k, a, lda, b, ldb, c, ldc)

    return product


def _gemv(real: Any, width: int) -> Any:
    """``gemv(address, order, n, m, a, lda, x, incx, y, incy)``: y = A x, A (m, n)."""

    @intrinsic
    def gemv(typing_context: Any, address: Any, order: Any, n: Any, m: Any, a: Any, lda: Any, x: Any, incx: Any, y: Any, incy: Any) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, _: Any, v: Any) -> Any:
            size, word, enum = ir.IntType(width), ir.IntType(64), ir.IntType(32)
            narrow = _narrowed(builder)
            kinds = [enum, enum, size, size, real, word, size, word, size, real, word, size]
            values = [
                narrow(v[1], enum), ir.Constant(enum, TRANSPOSED), narrow(v[2], size), narrow(v[3], size),
                ir.Constant(real, 1.0), v[4], narrow(v[5], size), v[6], narrow(v[7], size),
                ir.Constant(real, 0.0), v[8], narrow(v[9], size),
            ]  # fmt: skip
            function = builder.inttoptr(v[0], ir.FunctionType(ir.VoidType(), kinds).as_pointer())
            builder.call(function, values)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 10), generate

    @loop(writes="", variant=f"{real} {width}")
    def product(address: int, order: int, n: int, m: int, a: int, lda: int, x: int, incx: int, y: int, incy: int) -> None:  # fmt: skip
        gemv(address, order, n, m, a, lda, x, incx, y, incy)

    return product


def _dot(real: Any, width: int) -> Any:
    """``dot(address, n, x, incx, y, incy, out)``: the product of two vectors, to the address ``out``."""

    @intrinsic
    def dot(typing_context: Any, address: Any, n: Any, x: Any, incx: Any, y: Any, incy: Any, out: Any) -> Any:
        def generate(context: Any, builder: Any, _: Any, v: Any) -> Any:
            size, word = ir.IntType(width), ir.IntType(64)
            narrow = _narrowed(builder)
            kind = ir.FunctionType(real, [size, word, size, word, size])
            values = [narrow(v[1], size), v[2], narrow(v[3], size), v[4], narrow(v[5], size)]
            found = builder.call(builder.inttoptr(v[0], kind.as_pointer()), values)
            builder.store(found, builder.inttoptr(v[6], real.as_pointer()))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), generate

    @loop(writes="", variant=f"{real} {width}")
    def product(address: int, n: int, x: int, incx: int, y: int, incy: int, out: int) -> None:
        dot(address, n, x, incx, y, incy, out)

    return product


def _narrowed(builder: Any) -> Any:
    return lambda value, kind: value if kind.width == 64 else builder.trunc(value, kind)


_REALS = {"f": ir.FloatType(), "d": ir.DoubleType()}
GEMM = {(char, width): _gemm(real, width) for char, real in _REALS.items() for width in (32, 64)}
GEMV = {(char, width): _gemv(real, width) for char, real in _REALS.items() for width in (32, 64)}


DOT = {(char, width): _dot(real, width) for char, real in _REALS.items() for width in (32, 64)}


@loop(writes="out", rows="a out")
def outer(a: Any, b: Any, out: Any) -> None:
    """a (m, 1), b (1, n)."""
    m, n = out.shape
    for i in range(m):
        factor = a[i, 0]
        for j in range(n):
            out[i, j] = factor * b[0, j]
