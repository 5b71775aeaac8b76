"""Our numbers, structures and signatures of cublasLt against NVIDIA's own headers, if CuPy's wheels brought them."""

from __future__ import annotations

import ctypes
import functools
import re
from pathlib import Path
from typing import Any

import pytest

from chainrule.backends.cupy.gemm import cublaslt_header
from chainrule.backends.cupy.gemm.cublaslt_header import SIGNATURES, MatmulAlgo, MatmulHeuristicResult
from emulation.cublaslt import C, installed

PREFIXES = {
    cublaslt_header.DataType: "CUDA_",
    cublaslt_header.ComputeType: "CUBLAS_",
    cublaslt_header.Operation: "CUBLAS_OP_",
    cublaslt_header.Status: "CUBLAS_STATUS_",
    cublaslt_header.EpilogueMode: "CUBLASLT_EPILOGUE_",
    cublaslt_header.MatmulAttribute: "CUBLASLT_MATMUL_DESC_",
    cublaslt_header.LayoutAttribute: "CUBLASLT_MATRIX_LAYOUT_",
    cublaslt_header.PreferenceAttribute: "CUBLASLT_MATMUL_PREF_",
    cublaslt_header.ReductionScheme: "CUBLASLT_REDUCTION_SCHEME_",
}
C_TYPES = {
    "int": ctypes.c_int, "float": ctypes.c_float, "size_t": ctypes.c_size_t, "uint64_t": ctypes.c_uint64,
    "int64_t": ctypes.c_int64, "cublasStatus_t": ctypes.c_int, "cublasLtMatmulAlgo_t": MatmulAlgo,
}  # fmt: skip


@functools.cache
def headers() -> str:
    """The text of the three headers without comments. Skips if they are not installed."""
    pathfinder = pytest.importorskip("cuda.pathfinder", reason="CuPy's cuda.pathfinder is not installed")
    folder = pathfinder.find_nvidia_header_directory("cublas")
    if folder is None or not (Path(folder) / "library_types.h").exists():
        pytest.skip("the headers of cuBLAS are not installed")
    names = ("library_types.h", "cublas_api.h", "cublasLt.h")
    text = "".join((Path(folder) / name).read_text(encoding="utf-8", errors="replace") for name in names)
    return re.sub(r"/\*.*?\*/|//[^\n]*", "", text, flags=re.DOTALL)


def c_type(declaration: str, *, arrays: bool = False) -> Any:
    """The ctypes type of ``const void* alpha`` and the like: handles and arrays are pointers, enumerations ints."""
    words = re.findall(r"\w+|\*|\[\d*\]", declaration.replace("const ", ""))
    of = C_TYPES.get(words[0], ctypes.c_int)
    if "*" in words or re.fullmatch(r"cublasLt(Handle|MatmulDesc|MatrixLayout|MatmulPreference)_t", words[0]):
        return ctypes.c_char_p if words[0] == "char" else ctypes.c_void_p
    if words[0] == "cudaStream_t":
        return ctypes.c_void_p
    if words[-1].startswith("["):
        return of * int(words[-1][1:-1]) if arrays else ctypes.c_void_p
    return of


def test_every_number_is_that_of_the_headers():
    known: dict[str, int] = {}
    for name, expression in re.findall(r"\b(CU\w+)\s*=\s*([^,}]+)", headers()):
        terms = [term.strip("() \n") for term in expression.split("|")]
        if all(re.fullmatch(r"0x[0-9a-fA-F]+|-?\d+", term) or term in known for term in terms):
            value = 0
            for term in terms:
                value |= known[term] if term in known else int(term, 0)
            known[name] = value
    ours = {f"{prefix}{one.name}": int(one) for kind, prefix in PREFIXES.items() for one in kind}
    assert {name: known.get(name) for name in ours} == ours
    assert {name: known.get(name) for name in C} == C
    deterministic = ours["CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE"] | ours["CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE"]
    assert deterministic == known["CUBLASLT_REDUCTION_SCHEME_MASK"] & ~known["CUBLASLT_REDUCTION_SCHEME_INPLACE"]


@pytest.mark.parametrize("ours", [MatmulAlgo, MatmulHeuristicResult])
def test_every_structure_is_laid_out_as_in_the_headers(ours):
    name = f"cublasLt{ours.__name__}_t"
    (body,) = re.findall(r"typedef struct \{([^}]*)\} " + name + ";", headers())
    members = [member.strip() for member in body.split(";") if member.strip()]
    fields = [(re.findall(r"\w+", member)[1], c_type(member, arrays=True)) for member in members]
    theirs = type(name, (ctypes.Structure,), {"_fields_": fields})
    assert [one[0] for one in ours._fields_] == [one[0] for one in fields]
    for field, _ in fields:
        assert getattr(ours, field).offset == getattr(theirs, field).offset
        assert getattr(ours, field).size == getattr(theirs, field).size
    assert ctypes.sizeof(ours) == ctypes.sizeof(theirs)
    assert (ctypes.sizeof(MatmulAlgo), ctypes.sizeof(MatmulHeuristicResult)) == (64, 96)


@pytest.mark.parametrize("name", SIGNATURES)
def test_every_signature_is_that_of_the_header(name):
    result, arguments = re.findall(r"([\w ]+\*?) CUBLASWINAPI " + name + r"\(([^)]*)\)", headers())[0]
    theirs = [] if arguments == "void" else [c_type(argument) for argument in arguments.split(",")]
    assert (c_type(result), theirs) == SIGNATURES[name]


def test_the_installed_library_has_every_function_and_names_every_status():
    library = installed()
    assert library.version >= 120000
    for name, number in C.items():
        if name.startswith("CUBLAS_STATUS_"):
            assert library.functions["cublasLtGetStatusName"](number).decode() == name
