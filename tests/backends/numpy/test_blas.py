"""The BLAS that NumPy brought: found by address and checked, or refused with a reason; the name of its kernels."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from chainrule.backends.numpy import blas, blas_routines
from chainrule.cli.commands import doctor

SEARCH = blas._found.__wrapped__  # without its cache
KERNELS = "from chainrule.backends.numpy import blas; print(blas.core_name())"


class Library(dict):
    """A library of Python functions, as `ctypes` has those of C."""

    __hash__ = object.__hash__  # type: ignore[assignment]
    __eq__ = object.__eq__

    _name = "libtest.so"

    def __missing__(self, symbol):
        raise AttributeError(symbol)


def test_the_blas_of_this_numpy_is_found():
    found = blas.find()
    if found is None:
        assert blas.problem()
        pytest.skip(blas.problem())
    assert blas.problem() == ""
    assert found.integer_bits in {32, 64}
    assert all(found.function(name) for name in ("sgemm", "dgemm", "sgemv", "dgemv", "sdot", "ddot"))
    assert found.function("snothing") is None
    assert blas.find() is found, "searched once"


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_no_second_copy_is_loaded():
    code = """
from pathlib import Path
import numpy as np
def libraries():
    return {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if ".so" in line}
from chainrule.backends.numpy import blas
import ctypes
before = libraries()
found = blas.find()
assert libraries() == before, libraries() - before
assert found is None or found.path in before, (found.path, before)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_integers_of_a_wheel_have_64_bits():
    found = blas.find()
    if found is None or found.prefix != "scipy_":
        pytest.skip("NumPy is not from a wheel with OpenBLAS")
    assert found.name == "openblas"
    assert found.integer_bits == (64 if found.suffix == "64_" else 32)


@pytest.mark.parametrize("bits", [32, 64])
def test_the_size_of_integers_is_measured_and_not_read_off_a_name(bits):
    integer = {32: ctypes.c_int32, 64: ctypes.c_int64}[bits]

    def ddot(n, x, x_step, y, y_step):
        return float(max(0, n))

    signature = ctypes.CFUNCTYPE(ctypes.c_double, integer, ctypes.c_void_p, integer, ctypes.c_void_p, integer)
    library = Library(cblas_ddot=signature(ddot))
    assert blas._integer_bits(blas.Blas("mkl", "", 0, library, "", "")) == bits


def test_a_numpy_without_a_blas_is_a_reason_and_no_traceback(monkeypatch):
    monkeypatch.setattr(blas, "_libraries", lambda: iter([Library()]))
    found, why = SEARCH()
    assert found is None
    assert why.startswith("no cblas_sgemm was found; NumPy was built with ")
    assert why.endswith("searched: libtest.so")


def test_a_numpy_without_libraries_is_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, blas.EXTENSION, types.SimpleNamespace(__file__="/nowhere/extension.so"))
    monkeypatch.setattr(np, "__file__", "/nowhere/numpy/__init__.py")
    found, why = SEARCH()
    assert found is None
    assert "no library of NumPy's could be opened" in why


def test_a_library_that_is_not_loaded_is_not_loaded(tmp_path, monkeypatch):
    (tmp_path / "numpy").mkdir()
    (tmp_path / "numpy.libs").mkdir()
    shutil.copy(np.random._mt19937.__file__, tmp_path / "numpy.libs" / "libblas.so")
    monkeypatch.setattr(np, "__file__", str(tmp_path / "numpy" / "__init__.py"))
    monkeypatch.setitem(sys.modules, blas.EXTENSION, types.SimpleNamespace(__file__="/nowhere/extension.so"))
    assert not list(blas._libraries())


@pytest.mark.skipif(sys.platform == "win32", reason="simulates Windows")
def test_windows_is_asked_for_what_is_loaded(monkeypatch):
    """There a library does not lead to those that it is linked with, so that names are asked for one by one."""
    found = blas.find()
    if found is None:
        pytest.skip(blas.problem())

    def handle_of(name):
        return found.library._handle if name == "mkl_rt.2.dll" else None

    kernel32 = types.SimpleNamespace(GetModuleHandleW=handle_of)
    monkeypatch.setattr(ctypes, "windll", types.SimpleNamespace(kernel32=kernel32), raising=False)
    monkeypatch.setattr(sys, "platform", "win32")
    simulated, why = SEARCH()
    assert why == ""
    assert simulated.path == "mkl_rt.2.dll"
    assert simulated.function("sgemm") == found.function("sgemm")


def test_what_uses_an_unknown_blas_says_nothing_of_it(monkeypatch):
    monkeypatch.setattr(blas, "_found", lambda: (None, "a reason"))
    assert (blas.find(), blas.problem(), blas.core_name(), blas.threads()) == (None, "a reason", "", 0)
    assert "kernels" not in doctor._blas()


def test_a_process_of_32_bits_is_a_reason(monkeypatch):
    monkeypatch.setattr(sys, "maxsize", 2**31 - 1)
    assert SEARCH()[0] is None
    assert "32 bits" in SEARCH()[1]


@pytest.mark.parametrize("name", ["sgemm", "dgemm", "sgemv", "dgemv", "sdot", "ddot"])
def test_a_function_that_computes_something_else_is_refused(name, monkeypatch):
    if blas.find() is None:
        pytest.skip(blas.problem())
    right = blas.Blas.function
    integer, real = ctypes.c_int64, {"s": ctypes.c_float, "d": ctypes.c_double}[name[0]]
    if name.endswith("dot"):
        arguments = (integer, ctypes.c_void_p, integer, ctypes.c_void_p, integer)
        wrong = ctypes.CFUNCTYPE(real, *arguments)(lambda *arguments: 4.0)
    else:
        wrong = ctypes.CFUNCTYPE(None)(lambda: None)  # writes nothing
    address = ctypes.cast(wrong, ctypes.c_void_p).value
    monkeypatch.setattr(blas.Blas, "function", lambda self, asked: address if asked == name else right(self, asked))
    found, why = SEARCH()
    assert found is None
    assert f"computes something else by its cblas_{name} than np.matmul" in why


def test_a_function_that_ignores_a_transpose_is_refused(monkeypatch):
    if blas.find() is None:
        pytest.skip(blas.problem())
    right = blas_routines.routine

    def not_transposed(a, b, out):
        found = right(a, b, out)
        return found._replace(transposes=(111, 111)) if found.kind == "gemm" and 112 in found.transposes else found

    monkeypatch.setattr(blas_routines, "routine", not_transposed)
    assert "computes something else by its cblas_sgemm" in SEARCH()[1]


@pytest.mark.parametrize("name", ["sgemm", "dgemv", "ddot"])
def test_a_missing_function_is_a_reason(name, monkeypatch):
    if blas.find() is None:
        pytest.skip(blas.problem())
    right = blas.Blas.function
    monkeypatch.setattr(blas.Blas, "function", lambda self, asked: None if asked == name else right(self, asked))
    found, why = SEARCH()
    assert found is None
    assert why.endswith(f"has no cblas_{name}")


@pytest.mark.parametrize(
    ("symbols", "path", "name"),
    [
        (["scipy_openblas_get_num_threads64_"], "", "openblas"),
        (["openblas_get_num_threads"], "", "openblas"),
        (["MKL_Get_Max_Threads"], "", "mkl"),
        (["bli_thread_get_num_threads"], "", "blis"),
        (["flexiblas_get_num_threads"], "", "flexiblas"),
        ([], "/System/Library/Frameworks/Accelerate.framework/Versions/A/libBLAS.dylib", "accelerate"),
        ([], "/usr/lib/libblas.so.3", ""),
    ],
)
def test_a_blas_is_named_by_its_functions(symbols, path, name):
    function = ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 1)
    library = Library(dict.fromkeys(symbols, function))
    assert blas._name(blas.Blas("", path, 64, library, "scipy_", "64_")) == name


def test_openmp_decides_for_an_openblas_on_openmp():
    number = ctypes.CFUNCTYPE(ctypes.c_int)
    library = Library(
        openblas_get_parallel=number(lambda: 2),
        openblas_get_num_threads=number(lambda: 7),
        openblas_set_num_threads=number(lambda: 0),
        omp_get_max_threads=number(lambda: 3),
        omp_set_num_threads=number(lambda: 0),
    )
    openmp = blas.Blas("openblas", "", 32, library, "", "").thread_functions()
    assert openmp.per_thread
    assert openmp.get() == 3
    library["openblas_get_parallel"] = number(lambda: 1)
    own = blas.Blas("openblas", "", 32, library, "", "").thread_functions()
    assert not own.per_thread
    assert own.get() == 7


def test_a_blas_that_does_not_tell_its_threads_has_none_to_set():
    assert blas.Blas("openblas", "", 32, Library(), "", "").thread_functions() is None
    assert blas.Blas("accelerate", "", 64, Library(), "", "$NEWLAPACK$ILP64").thread_functions() is None


def test_the_kernels_have_the_name_that_was_asked_for():
    if not blas.core_name():
        pytest.skip("NumPy has another BLAS here")
    environment = os.environ | {blas.VARIABLE: "Haswell"}
    found = subprocess.run([sys.executable, "-c", KERNELS], env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "Haswell"


def test_importing_the_library_changes_no_environment():
    code = (
        "import os; old = dict(os.environ); import chainrule; chainrule.backend('cpu'); assert dict(os.environ) == old"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
