"""Which routine of BLAS computes a product, and how it is called: NumPy's own choice by the shapes, so with its bits."""

from __future__ import annotations

from typing import Any, Final

import numba

from chainrule.backends.compiled.jit import Form
from chainrule.backends.compiled.launches import RESULT_AND_ERROR, Launch, LoopLaunch, address_of
from chainrule.backends.compiled.loops import products
from chainrule.backends.contract.arrays import Array
from chainrule.backends.numpy import blas

PRODUCT: Final = "matmul"  # what a launch of a product is of


class ProductLaunch(Launch):
    """out = a @ b by NumPy's BLAS; of matrices, transposed ones too, more than one column of ``a``."""

    form = Form(writes=(2,), rows=(0, 2), first=-1)

    def __init__(self, function: str, arguments: tuple[Array, Array, Array]) -> None:
        super().__init__(function, arguments)
        self._loop, self._call = _routine(*arguments)
        self._address = address_of(self._loop, (numba.types.int64,) * len(self._call))

    def address(self) -> int:
        return self._address

    def words(self, at: int) -> list[int]:
        return [*RESULT_AND_ERROR, *self._call]


def product_of(a: Array, b: Array, out: Array) -> tuple[Any, Any, tuple[Array, Array, Array]]:
    """Kind, function and arguments of the launch of a @ b."""
    if a.shape[1] == 1:
        return LoopLaunch, products.outer, (a, b, out)
    return ProductLaunch, PRODUCT, (a, b, out)


def _routine(a: Array, b: Array, out: Array) -> tuple[Any, list[int]]:
    """A loop of :mod:`loops.products`, and its arguments."""
    (m, k), n, size, char = a.shape, b.shape[1], a.itemsize, a.dtype.char
    found = blas.find()
    assert found is not None
    width = found.integer_bits
    if m == 1 and n == 1:
        return products.DOT[char, width], [
            found.function(f"{_letter(char)}dot"), k, a.ctypes.data, a.strides[1] // size,
            b.ctypes.data, b.strides[0] // size, out.ctypes.data,
        ]  # fmt: skip
    if m == 1 or n == 1:
        matrix, vector, apart, to = (
            (b.T, a, a.strides[1], out.strides[1]) if m == 1 else (a, b, b.strides[0], out.strides[0])
        )
        is_c = is_matrix_of_blas(matrix)
        return products.GEMV[char, width], [
            found.function(f"{_letter(char)}gemv"), products.COLUMN_MAJOR if is_c else products.ROW_MAJOR,
            matrix.shape[1], matrix.shape[0], matrix.ctypes.data, matrix.strides[0 if is_c else 1] // size,
            vector.ctypes.data, apart // size, out.ctypes.data, to // size,
        ]  # fmt: skip
    (ta, lda), (tb, ldb) = _transposed(a), _transposed(b)
    return products.GEMM[char, width], [
        found.function(f"{_letter(char)}gemm"), ta, tb, m, n, k,
        a.ctypes.data, lda, b.ctypes.data, ldb, out.ctypes.data, out.strides[0] // size,
    ]  # fmt: skip


def _letter(char: str) -> str:
    return "s" if char == "f" else "d"


def _transposed(matrix: Array) -> tuple[int, int]:
    """How CBLAS calls it, and its leading dimension."""
    if is_matrix_of_blas(matrix):
        return products.AS_IT_IS, matrix.strides[0] // matrix.itemsize
    return products.TRANSPOSED, matrix.strides[1] // matrix.itemsize


def is_matrix_of_blas(matrix: Array) -> bool:
    """Whether its rows are contiguous, one behind the other."""
    apart, step = matrix.strides
    return step == matrix.itemsize and apart % step == 0 and apart // step >= matrix.shape[1]
