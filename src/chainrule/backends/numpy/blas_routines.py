"""Which BLAS routine np.matmul calls for a product of two matrices, and with which arguments.

NumPy's ``umath/matmul.c.src`` decides it, for ``np.matmul(a, b, out=out)`` with a (m, k), b (k, n) and out (m, n) that
does not overlap them:

==========================  =====================================================================================
shapes                      call
==========================  =====================================================================================
m == 1 and n == 1           dot(k, a, step of a, b, step of b)
k == 1, else                none: a loop of NumPy's own
m == 1, else                gemv(order, Trans, k, n, 1, b.T, ld, a, step of a, 0, out, step of out): as n == 1, switched
n == 1, else                gemv(order, Trans, k, m, 1, a, ld, b, step of b, 0, out, step of out)
out is C-like               gemm(RowMajor, Trans if a is transposed, same for b, m, n, k, 1, a, ld, b, ld, 0, out, ld)
out is transposed           gemm of out.T = b.T @ a.T
==========================  =====================================================================================

The order of a gemv is ColMajor for a C-like matrix and RowMajor for a transposed one: with Trans, both are matrix times
vector. A matrix is C-like if its rows are contiguous, transposed if its columns are; ``ld`` is the other stride, in
elements.

With the same routine and arguments a compiled loop computes the same bits as np.matmul, on the same number of threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import numpy as np

from chainrule.backends.contract.arrays import Array

ROW_MAJOR, COLUMN_MAJOR = 101, 102  # CBLAS_ORDER
AS_IT_IS, TRANSPOSED = 111, 112  # CBLAS_TRANSPOSE
LETTERS: Final[dict[Any, str]] = {np.dtype(np.float32): "s", np.dtype(np.float64): "d"}


class Routine(NamedTuple):
    """One call: ``cblas_`` + ``name``, and its arguments but for the pointers, alpha = 1 and beta = 0.

    ====  =======================  ========================  ====================================
    kind  transposes               sizes                     strides of first, second and out
    ====  =======================  ========================  ====================================
    gemm  (of first, of second)    (rows, columns, inner)    (ld, ld, ld)
    gemv  (TRANSPOSED,)            (inner, length of out)    (ld, step, step)
    dot   ()                       (inner,)                  (step, step); the result is returned
    ====  =======================  ========================  ====================================
    """

    name: str  # sgemm, dgemm, sgemv, dgemv, sdot, ddot
    switched: bool  # the first pointer is b's and the second a's
    order: int  # ROW_MAJOR or COLUMN_MAJOR; 0 for dot
    transposes: tuple[int, ...]
    sizes: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def kind(self) -> str:
        """The name without the letter of its dtype."""
        return self.name[1:]


def routine(a: Array, b: Array, out: Array) -> Routine | None:
    """The call that np.matmul(a, b, out=out) makes, from the memory layout alone; None if it is not one call.

    That is so for other dtypes, vectors and stacks of matrices, without elements, for an outer product (k == 1), for a
    matrix with neither rows nor columns contiguous, and for a matrix times itself transposed (syrk, and a copy).
    """
    arrays = (a, b, out)
    if any(x.ndim != 2 or x.dtype != out.dtype or not x.flags.aligned for x in arrays) or out.dtype not in LETTERS:
        return None
    letter, (m, k), n = LETTERS[out.dtype], a.shape, b.shape[1]
    steps = [_steps(x) for x in arrays]
    if any(step is None for step in steps) or 0 in {m, k, n}:
        return None
    first, second, into = ((step[0], step[1]) for step in steps if step is not None)
    if m == 1 and n == 1:
        step, other = first[1], second[0]
        return Routine(f"{letter}dot", False, 0, (), (k,), (step, other)) if step > 0 and other > 0 else None
    if k == 1:
        return None
    if m == 1:
        return _gemv(f"{letter}gemv", True, second[::-1], (n, k), first[1], into[1])
    if n == 1:
        return _gemv(f"{letter}gemv", False, first, (m, k), second[0], into[0])
    if _is_syrk(a, b, m == n):
        return None
    if abs(into[0]) < abs(into[1]):
        return _gemm(f"{letter}gemm", True, (second[::-1], first[::-1], into[::-1]), (n, m, k))
    return _gemm(f"{letter}gemm", False, (first, second, into), (m, n, k))


def call(address_of: Callable[[str], int | None], integer_bits: int, a: Array, b: Array, out: Array) -> bool:
    """``out = a @ b`` by the routine's address, through ctypes; False if there is no such routine.

    Slow, and meant for checks: it shows how a compiled loop has to call. ``address_of`` is :meth:`Blas.function`.
    """
    found = routine(a, b, out)
    address = None if found is None else address_of(found.name)
    if found is None or address is None:
        return False
    integer = ctypes.c_int64 if integer_bits == 64 else ctypes.c_int32
    real: Any = ctypes.c_float if out.dtype == np.float32 else ctypes.c_double
    enum, pointer = ctypes.c_int, ctypes.c_void_p
    first, second = (x.ctypes.data for x in ((b, a) if found.switched else (a, b)))
    ld, step, *last = found.strides
    if found.kind == "dot":
        dot = ctypes.CFUNCTYPE(real, integer, pointer, integer, pointer, integer)(address)
        out[0, 0] = dot(*found.sizes, first, ld, second, step)
        return True
    enums, integers = [enum] * (1 + len(found.transposes)), [integer] * len(found.sizes)
    signature = (*enums, *integers, real, pointer, integer, pointer, integer, real, pointer, integer)
    function = ctypes.CFUNCTYPE(None, *signature)(address)
    leading = (found.order, *found.transposes, *found.sizes)
    function(*leading, 1.0, first, ld, second, step, 0.0, out.ctypes.data, *last)
    return True


def _steps(array: Array) -> tuple[int, int] | None:
    """The strides in elements; None if one of them is none of these."""
    rows, columns = array.strides
    size = array.itemsize
    return None if rows % size or columns % size else (rows // size, columns // size)


def _leading(steps: tuple[int, int], columns: int) -> int | None:
    """The leading dimension of a matrix whose rows are contiguous, or None."""
    return steps[0] if steps[1] == 1 and steps[0] >= columns else None


def _gemv(name: str, switched: bool, steps: tuple[int, int], sizes: tuple[int, int], x: int, y: int) -> Routine | None:
    """Of a matrix (rows, inner) with these steps and a vector with step x into one with step y."""
    rows, inner = sizes
    order, ld = COLUMN_MAJOR, _leading(steps, inner)
    if ld is None:
        order, ld = ROW_MAJOR, _leading(steps[::-1], rows)
    if ld is None or x < 1 or y < 1:
        return None
    return Routine(name, switched, order, (TRANSPOSED,), (inner, rows), (ld, x, y))


def _gemm(name: str, switched: bool, steps: tuple[tuple[int, int], ...], sizes: tuple[int, int, int]) -> Routine | None:
    rows, columns, inner = sizes
    transposes, strides = [], []
    for (down, right), (height, width) in zip(steps, ((rows, inner), (inner, columns), (rows, columns)), strict=True):
        ld, transposed = _leading((down, right), width), AS_IT_IS
        if ld is None:
            ld, transposed = _leading((right, down), height), TRANSPOSED
        if ld is None:
            return None  # NumPy copies the matrix first
        transposes.append(transposed)
        strides.append(ld)
    if transposes.pop() == TRANSPOSED:
        return None
    return Routine(name, switched, ROW_MAJOR, tuple(transposes), sizes, tuple(strides))


def _is_syrk(a: Array, b: Array, square: bool) -> bool:
    return square and a.ctypes.data == b.ctypes.data and a.strides == b.strides[::-1]
