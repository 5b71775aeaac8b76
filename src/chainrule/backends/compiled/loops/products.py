"""Matrix products: the routines of NumPy's BLAS by address, and outer products, for which BLAS is slow."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from chainrule.backends.compiled.jit import loop

_WORD, _ENUM = ir.IntType(64), ir.IntType(32)


def _gemm(real: Any, width: int) -> Any:
    """out = first @ second, for a BLAS whose integers have this width."""

    @intrinsic
    def gemm(typing_context: Any, address: Any, order: Any, ta: Any, tb: Any, m: Any, n: Any, k: Any, a: Any, lda: Any, b: Any, ldb: Any, c: Any, ldc: Any) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
            address, order, ta, tb, m, n, k, a, lda, b, ldb, c, ldc = values
            enum, size, word = _ENUM, ir.IntType(width), _WORD
            one, zero = ir.Constant(real, 1.0), ir.Constant(real, 0.0)
            kinds = [enum, enum, enum, size, size, size, real, word, size, word, size, real, word, size]
            given = [order, ta, tb, m, n, k, one, a, lda, b, ldb, zero, c, ldc]
            _call(builder, address, ir.VoidType(), kinds, given)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 13), generate

    @loop(writes="", variant=f"{real} {width}")
    def product(address: int, order: int, ta: int, tb: int, m: int, n: int, k: int, a: int, lda: int, b: int, ldb: int, c: int, ldc: int) -> None:  # fmt: skip
        gemm(address, order, ta, tb, m, n, k, a, lda, b, ldb, c, ldc)

    return product


def _gemv(real: Any, width: int) -> Any:
    """y = A x, A (m, n)."""

    @intrinsic
    def gemv(typing_context: Any, address: Any, order: Any, transpose: Any, n: Any, m: Any, a: Any, lda: Any, x: Any, incx: Any, y: Any, incy: Any) -> Any:  # fmt: skip
        def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
            address, order, transpose, n, m, a, lda, x, incx, y, incy = values
            enum, size, word = _ENUM, ir.IntType(width), _WORD
            one, zero = ir.Constant(real, 1.0), ir.Constant(real, 0.0)
            kinds = [enum, enum, size, size, real, word, size, word, size, real, word, size]
            _call(builder, address, ir.VoidType(), kinds, [order, transpose, n, m, one, a, lda, x, incx, zero, y, incy])
            return context.get_dummy_value()

        return types.void(*[types.int64] * 11), generate

    @loop(writes="", variant=f"{real} {width}")
    def product(address: int, order: int, transpose: int, n: int, m: int, a: int, lda: int, x: int, incx: int, y: int, incy: int) -> None:  # fmt: skip
        gemv(address, order, transpose, n, m, a, lda, x, incx, y, incy)

    return product


def _dot(real: Any, width: int) -> Any:
    """The product of two vectors."""

    @intrinsic
    def dot(typing_context: Any, address: Any, n: Any, x: Any, incx: Any, y: Any, incy: Any, out: Any) -> Any:
        def generate(context: Any, builder: Any, _: Any, values: Any) -> Any:
            address, n, x, incx, y, incy, out = values
            size = ir.IntType(width)
            found = _call(builder, address, real, [size, _WORD, size, _WORD, size], [n, x, incx, y, incy])
            builder.store(found, builder.inttoptr(out, real.as_pointer()))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 7), generate

    @loop(writes="", variant=f"{real} {width}")
    def product(address: int, n: int, x: int, incx: int, y: int, incy: int, out: int) -> None:
        dot(address, n, x, incx, y, incy, out)

    return product


def _call(builder: Any, address: Any, result: Any, kinds: Any, values: Any) -> Any:
    """Call a function of C with these kinds of arguments; integers are handed on in the width that it expects."""
    function = builder.inttoptr(address, ir.FunctionType(result, kinds).as_pointer())
    return builder.call(
        function,
        [
            builder.trunc(value, kind) if isinstance(kind, ir.IntType) and value.type.width > kind.width else value
            for value, kind in zip(values, kinds, strict=True)
        ],
    )


_REALS = {"s": ir.FloatType(), "d": ir.DoubleType()}
# {(name of a routine of BLAS, width of its integers): the loop that calls it}
ROUTINES = {
    (f"{letter}{kind}", width): made(real, width)
    for letter, real in _REALS.items()
    for kind, made in (("gemm", _gemm), ("gemv", _gemv), ("dot", _dot))
    for width in (32, 64)
}


@loop(writes="out", rows="a out")
def outer(a: Any, b: Any, out: Any) -> None:
    """a (m, 1), b (1, n)."""
    m, n = out.shape
    for i in range(m):
        factor = a[i, 0]
        for j in range(n):
            out[i, j] = factor * b[0, j]
