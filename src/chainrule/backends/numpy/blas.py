"""The BLAS that NumPy itself brought: its functions by address, its kernels, and how many threads it uses.

NumPy's extension module is the way to it: whatever that is linked with is found there under the name that NumPy calls,
be it OpenBLAS in a wheel, MKL, BLIS, Accelerate or a library of the distribution. Nothing is loaded that was not loaded
before, so there is never a second BLAS, with threads of its own. What was found has to multiply as np.matmul does.
"""

from __future__ import annotations

import ctypes
import functools
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from chainrule.backends.contract.arrays import Array
from chainrule.backends.numpy import blas_routines

WIDE_KERNELS = frozenset({"SkylakeX", "Cooperlake", "SapphireRapids"})  # OpenBLAS's names, of AVX-512
VARIABLE = "OPENBLAS_CORETYPE"  # overrides OpenBLAS's own choice when it is loaded
EXTENSION = "numpy._core._multiarray_umath"
# Before and after the names of functions: wheels of NumPy, OpenBLAS with integers of 64 bits, Accelerate, the plain
# names, and those of MKL with integers of 64 bits. The plain names come late: Accelerate has them for its old BLAS.
AFFIXES = (
    ("scipy_", "64_"),
    ("scipy_", ""),
    ("", "64_"),
    ("", "$NEWLAPACK$ILP64"),
    ("", "$NEWLAPACK"),
    ("", ""),
    ("", "_64"),
)
# Names under which Windows knows a BLAS that is not in NumPy's own folder (conda), if it is loaded.
WINDOWS_NAMES = ("mkl_rt.3.dll", "mkl_rt.2.dll", "mkl_rt.1.dll", "openblas.dll", "libopenblas.dll", "libcblas.dll")
# Of libraries whose functions have the same names everywhere: how to ask for the number of threads, and how to set it.
THREAD_FUNCTIONS = {
    "mkl": ("MKL_Get_Max_Threads", "MKL_Set_Num_Threads"),
    "flexiblas": ("flexiblas_get_num_threads", "flexiblas_set_num_threads"),
    "blis": ("bli_thread_get_num_threads", "bli_thread_set_num_threads"),
}
OPENMP = 2  # what openblas_get_parallel returns for a build whose threads are OpenMP's


class ThreadFunctions(NamedTuple):
    """How to ask a BLAS for its number of threads, and how to set it; ``per_thread`` if only for the calling thread."""

    get: Callable[[], int]
    set: Callable[[int], object]
    per_thread: bool


class Blas(NamedTuple):
    """A BLAS that is loaded, with the names of its functions as NumPy calls them."""

    name: str  # openblas, mkl, blis, flexiblas, accelerate, or what NumPy calls the one that it was built with
    path: str  # the file; empty if the system does not tell
    integer_bits: int  # 32 or 64: sizes and strides
    library: Any  # a ctypes.CDLL
    prefix: str
    suffix: str

    def function(self, name: str) -> int | None:
        """The address of ``cblas_`` + name (sgemm, dgemm, sgemv, dgemv, sdot, ddot, ...), or None."""
        return _address(self.library, f"{self.prefix}cblas_{name}{self.suffix}")

    def own(self, name: str) -> Any:
        """A function that is not of BLAS, such as ``openblas_get_corename``, for ctypes; or None."""
        for symbol in (f"{self.prefix}{name}{self.suffix}", name):
            if _address(self.library, symbol) is not None:
                return self.library[symbol]  # a new object, whose types are the caller's to set
        return None

    def thread_functions(self) -> ThreadFunctions | None:
        """None if the number of threads cannot be set: Accelerate, a BLAS without threads, an unknown one."""
        per_thread = False
        if self.name == "openblas":
            parallel = self.own("openblas_get_parallel")
            per_thread = parallel is not None and parallel() == OPENMP
            # OpenBLAS on OpenMP uses what OpenMP says of the calling thread; what its own functions set does not last.
            names = ("omp_get_max_threads", "omp_set_num_threads")
            names = names if per_thread else ("openblas_get_num_threads", "openblas_set_num_threads")
        elif self.name in THREAD_FUNCTIONS:
            names = THREAD_FUNCTIONS[self.name]
        else:
            return None
        get, set_count = (self.own(name) for name in names)
        if get is None or set_count is None:
            return None
        set_count.argtypes = [ctypes.c_ssize_t]  # BLIS takes 64 bits, the others read the half that they need
        return ThreadFunctions(lambda: max(1, int(get())), set_count, per_thread)  # BLIS says -1 for 1


@functools.lru_cache(maxsize=4)
def thread_functions_of(blas: Blas) -> ThreadFunctions | None:
    """The same functions every time: one of ctypes is a cycle, which only the collector frees."""
    return blas.thread_functions()


def find() -> Blas | None:
    """The BLAS of NumPy, searched and checked once in a process; None if there is none to be called by address."""
    return _found()[0]


def problem() -> str:
    """Why :func:`find` has none, for a person; empty if it has one."""
    return _found()[1]


def core_name() -> str:
    """The kernels in use, "Haswell" or "SkylakeX" say; empty if NumPy has another BLAS than OpenBLAS."""
    blas = find()
    return "" if blas is None else _core_name_of(blas)


@functools.lru_cache(maxsize=4)
def _core_name_of(blas: Blas) -> str:
    name = blas.own("openblas_get_corename")
    if name is None:
        return ""
    name.restype = ctypes.c_char_p
    return str(name().decode())


def rows_at_a_time() -> int:
    """A product of so many rows, or of a multiple of them, has the bits that they have in a product of more rows.

    Measured with OpenBLAS 0.3.31, for products that are not very small: its kernels compute what is left over in
    another order. Of another BLAS it is not known.
    """
    return 8 if core_name() in WIDE_KERNELS else 24


def threads() -> int:
    """How many threads a product may use, which decides how its sums are parted; 0 if that is not known."""
    blas = find()
    functions = None if blas is None else thread_functions_of(blas)
    return 0 if functions is None else functions.get()


@functools.cache
def _found() -> tuple[Blas | None, str]:
    if sys.maxsize < 2**32:
        return None, "this Python has addresses of 32 bits; only those of 64 bits are supported"
    built_with = _built_with()
    searched = []
    for library in _libraries():
        searched.append(str(library._name or "this program"))
        for prefix, suffix in AFFIXES:
            address = _address(library, f"{prefix}cblas_sgemm{suffix}")
            if address is not None:
                path = _path_of(address, library)
                blas = Blas("", path, 0, library, prefix, suffix)
                blas = blas._replace(name=_name(blas) or built_with, integer_bits=_integer_bits(blas))
                wrong = _why_wrong(blas)
                if wrong:
                    return None, f"{blas.name} ({path or 'file unknown'}), the BLAS that NumPy has loaded, {wrong}"
                return blas, ""
    where = ", ".join(searched) or "no library of NumPy's could be opened"
    return None, f"no cblas_sgemm was found; NumPy was built with {built_with}; searched: {where}"


def _libraries() -> Iterator[Any]:
    """Libraries that may have NumPy's BLAS in them or below them. Only such as are already loaded."""
    package = Path(np.__file__).parent
    wheel = [*package.with_name("numpy.libs").glob("*blas*"), *(package / ".dylibs").glob("*blas*")]
    if sys.platform == "win32":  # where a library does not lead to those below it
        ask = ctypes.windll.kernel32.GetModuleHandleW
        ask.restype, ask.argtypes = ctypes.c_void_p, [ctypes.c_wchar_p]
        for name in (*map(str, wheel), *WINDOWS_NAMES):
            if (handle := ask(name)) is not None:
                yield ctypes.CDLL(name, handle=handle)
        return
    # Symbols are searched in a library and in those that it is linked with: so the extension module comes first. It
    # has no file where it is part of the program.
    extension = getattr(sys.modules.get(EXTENSION), "__file__", None)
    for file in (extension, *sorted(wheel)):
        try:
            yield ctypes.CDLL(None if file is None else str(file), mode=os.RTLD_NOLOAD if file else ctypes.DEFAULT_MODE)
        except OSError:
            continue


@functools.lru_cache(maxsize=64)  # a function of ctypes is a cycle, which only the collector frees
def _address(library: Any, symbol: str) -> int | None:
    try:
        return ctypes.cast(library[symbol], ctypes.c_void_p).value
    except AttributeError:
        return None


class _SymbolInfo(ctypes.Structure):
    """``Dl_info`` of dlfcn.h."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("symbol", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def _path_of(address: int, library: Any) -> str:
    """The file that an address of a library belongs to, or of one below it; empty if that cannot be asked."""
    if sys.platform == "win32":  # never of one below it
        return str(library._name)
    info, ask = _SymbolInfo(), ctypes.CDLL(None)
    try:
        known = ask.dladdr(ctypes.c_void_p(address), ctypes.byref(info))
    except AttributeError:  # a C library that has it elsewhere
        return ""
    return str(Path(os.fsdecode(info.file)).resolve()) if known and info.file else ""


def _name(blas: Blas) -> str:
    """What a BLAS is by the functions that it has beside those of BLAS, or by its file; empty if that says nothing."""
    if blas.own("openblas_get_num_threads") is not None:
        return "openblas"
    for name, (get, _) in THREAD_FUNCTIONS.items():
        if blas.own(get) is not None:
            return name
    return "accelerate" if "/Accelerate.framework/" in blas.path else ""


def _built_with() -> str:
    config: Any = np.show_config(mode="dicts")
    return str(config.get("Build Dependencies", {}).get("blas", {}).get("name", "") or "an unknown BLAS")


def _integer_bits(blas: Blas) -> int:
    """Whether sizes have 32 bits or 64, by a call that is harmless for both.

    The dot product of 2 - 2**32 elements: of two if only the lower half is read, of none if all of it is, as of every
    negative number. Names do not tell: MKL has sizes of 64 bits under plain names if it is asked to. All arguments are
    in registers, where 64 bits do no harm to a function that reads 32.
    """
    address, ones = blas.function("ddot"), np.ones(2)
    if address is None:
        return 64  # the check will say that it is missing
    dot = ctypes.CFUNCTYPE(ctypes.c_double, ctypes.c_int64, *[ctypes.c_void_p, ctypes.c_int64] * 2)(address)
    return 32 if dot(2 - 2**32, ones.ctypes.data, 1, ones.ctypes.data, 1) == 2 else 64


def _why_wrong(blas: Blas) -> str:
    """What a BLAS computes otherwise than np.matmul; empty if nothing. Whole numbers, so that any order is exact."""
    for dtype in blas_routines.LETTERS:
        for a, b in _products(dtype):
            out = np.full((a.shape[0], b.shape[1]), np.nan, dtype)
            found = blas_routines.routine(a, b, out)
            name = "" if found is None else found.name
            if not blas_routines.call(blas.function, blas.integer_bits, a, b, out):
                return f"has no cblas_{name}"
            if not np.array_equal(out, np.matmul(a, b)):
                return f"computes something else by its cblas_{name} than np.matmul"
    return ""


def _products(dtype: Any) -> Iterator[tuple[Array, Array]]:
    """Matrices in all ways of lying in memory, cut out of larger ones, for gemm, gemv and dot."""
    numbers = np.arange(9 * 8, dtype=dtype) * 5 % 11 - 5  # not symmetric as a matrix (9, 8)
    m, k, n = 5, 6, 4
    for shape in ((m, k, n), (m, k, 1), (1, k, n), (1, k, 1)):
        for a_is_transposed in (False, True):
            for b_is_transposed in (False, True):
                yield (
                    _cut_out(numbers, shape[0], shape[1], a_is_transposed),
                    _cut_out(numbers[::-1].copy(), shape[1], shape[2], b_is_transposed),
                )


def _cut_out(numbers: Array, rows: int, columns: int, transposed: bool) -> Array:
    whole = numbers.reshape(9, 8)
    return whole[1 : 1 + columns, 2 : 2 + rows].T if transposed else whole[1 : 1 + rows, 2 : 2 + columns]
