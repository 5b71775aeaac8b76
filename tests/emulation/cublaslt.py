"""cublasLt in host memory: what needs no device is the installed library's, or a stand-in's; the rest is here.

In place of the call that needs a device, :class:`HostDll` reads the descriptors that the call is given, and nothing
else, and multiplies accordingly in NumPy.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import itertools
import time
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from chainrule.backends.cupy.gemm import cublaslt
from chainrule.backends.cupy.gemm.cublaslt_header import SIGNATURES, MatmulAlgo, MatmulHeuristicResult
from chainrule.errors import DeviceError

# A second reading of the headers, by which descriptors are interpreted. Checked against them like the module's own.
C = {
    "CUBLASLT_MATMUL_DESC_COMPUTE_TYPE": 0, "CUBLASLT_MATMUL_DESC_SCALE_TYPE": 1,
    "CUBLASLT_MATMUL_DESC_POINTER_MODE": 2, "CUBLASLT_MATMUL_DESC_TRANSA": 3, "CUBLASLT_MATMUL_DESC_TRANSB": 4,
    "CUBLASLT_MATMUL_DESC_TRANSC": 5, "CUBLASLT_MATMUL_DESC_EPILOGUE": 7, "CUBLASLT_MATMUL_DESC_BIAS_POINTER": 8,
    "CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE": 10, "CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER": 11,
    "CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD": 12, "CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE": 13,
    "CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE": 26,
    "CUBLASLT_MATRIX_LAYOUT_TYPE": 0, "CUBLASLT_MATRIX_LAYOUT_ORDER": 1, "CUBLASLT_MATRIX_LAYOUT_ROWS": 2,
    "CUBLASLT_MATRIX_LAYOUT_COLS": 3, "CUBLASLT_MATRIX_LAYOUT_LD": 4, "CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT": 5,
    "CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET": 6,
    "CUBLASLT_MATMUL_PREF_SEARCH_MODE": 0, "CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES": 1,
    "CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK": 3, "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES": 5,
    "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES": 6, "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES": 7,
    "CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES": 8,
    "CUBLASLT_EPILOGUE_DEFAULT": 1, "CUBLASLT_EPILOGUE_RELU": 2, "CUBLASLT_EPILOGUE_BIAS": 4,
    "CUBLASLT_EPILOGUE_RELU_AUX_BIAS": 134, "CUBLASLT_EPILOGUE_DRELU": 136, "CUBLASLT_EPILOGUE_DRELU_BGRAD": 152,
    "CUBLASLT_REDUCTION_SCHEME_INPLACE": 1, "CUBLASLT_ORDER_COL": 0, "CUBLASLT_POINTER_MODE_HOST": 0,
    "CUDA_R_32F": 0, "CUDA_R_64F": 1, "CUDA_R_16BF": 14, "CUBLAS_OP_N": 0, "CUBLAS_OP_T": 1,
    "CUBLAS_COMPUTE_32F": 68, "CUBLAS_COMPUTE_64F": 70, "CUBLAS_COMPUTE_32F_FAST_TF32": 77,
    "CUBLAS_STATUS_SUCCESS": 0, "CUBLAS_STATUS_ALLOC_FAILED": 3, "CUBLAS_STATUS_INVALID_VALUE": 7,
    "CUBLAS_STATUS_INTERNAL_ERROR": 14, "CUBLAS_STATUS_NOT_SUPPORTED": 15,
}  # fmt: skip
INVALID = C["CUBLAS_STATUS_INVALID_VALUE"]


def installed() -> cublaslt.Library:
    """The cublasLt that CuPy would use, or skip."""
    pytest.importorskip("cuda.pathfinder", reason="CuPy's cuda.pathfinder is not installed")
    try:
        return cublaslt.load()
    except DeviceError as error:
        pytest.skip(error.message)


def host_dll(kind: str) -> HostDll:
    """With descriptors of the "installed" library, or skip; or of a "stand-in"."""
    if kind == "stand-in":
        return HostDll()
    installed()
    path = importlib.import_module("cuda.pathfinder").load_nvidia_dynamic_lib("cublasLt").abs_path
    return HostDll(ctypes.CDLL(path))


NUMPY_TYPES = {C["CUDA_R_32F"]: np.float32, C["CUDA_R_64F"]: np.float64, C["CUDA_R_16BF"]: np.uint16}


def from_bf16(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


def to_bf16(x: np.ndarray) -> np.ndarray:
    """The bits of the nearest bf16, ties to even."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


class HostDll:
    """cublasLt as far as it needs no device, and in place of what does: one that multiplies in host memory."""

    def __init__(self, real: Any = None) -> None:
        self.real = real
        self.kept: dict[int, dict[int, bytes]] = {}  # the stand-in's descriptors
        self.fail: dict[str, int] = {}  # functions that are to return this status
        self.found: list[tuple[bytes, int, int]] = []  # what the heuristics answer: algorithm, workspace, state
        self.needs = 0  # the workspace that a check answers
        self.asked: list[dict[str, int]] = []  # the preferences that the heuristics were asked with
        self.calls: list[SimpleNamespace] = []
        self.handles = 0
        self.pause = 0.0
        self._functions: dict[str, Any] = {}
        self._numbers = itertools.count(0x1000)

    def __getattr__(self, name: str) -> Any:
        """The function of this name, with the signature of the header."""
        if name not in SIGNATURES:
            raise AttributeError(name)
        if name not in self._functions:
            own = getattr(self, f"_{name}", None)
            result, arguments = SIGNATURES[name]
            if own is None and self.real is not None:
                own = getattr(self.real, name)
                own.restype, own.argtypes = result, arguments
            elif own is None:
                own = functools.partial(self._keep, name)

            def call(*values: Any) -> Any:
                return self.fail[name] if name in self.fail else own(*values)

            # A function that returns text cannot be a callback of ctypes.
            typed = call if result is ctypes.c_char_p else ctypes.CFUNCTYPE(result, *arguments)(call)
            self._functions[name] = typed
        return self._functions[name]

    # the stand-in for what needs no device

    def _keep(self, name: str, *values: Any) -> Any:
        if name == "cublasLtGetVersion":
            return 139900
        if name == "cublasLtGetStatusName":
            return {number: text for text, number in C.items() if "STATUS" in text}[values[0]].encode()
        if name.endswith("Create"):
            made = next(self._numbers)
            ctypes.c_uint64.from_address(values[0]).value = made
            self.kept[made] = self._defaults(name, *values[1:])
        elif name.endswith("Destroy"):
            del self.kept[values[0]]
        else:
            self.kept[values[0]][values[1]] = ctypes.string_at(values[2], values[3])
        return 0

    def _defaults(self, name: str, *values: int) -> dict[int, bytes]:
        if "MatmulDesc" in name:
            numbers = {0: values[0], 1: values[1], 2: 0, 3: 0, 4: 0, 5: 0, 7: 1}
            pointers = {8: bytes(8), 10: bytes(8), 11: bytes(8), 12: bytes(8), 13: bytes(8), 26: b"\xff" * 4}
            return {n: v.to_bytes(4, "little") for n, v in numbers.items()} | pointers
        if "MatrixLayout" in name:
            sizes = {0: (values[0], 4), 1: (0, 4), 2: (values[1], 8), 3: (values[2], 8), 4: (values[3], 8)}
            sizes |= {5: (1, 4), 6: (0, 8)}
            return {n: v.to_bytes(size, "little") for n, (v, size) in sizes.items()}
        return {n: v.to_bytes(4, "little") for n, v in {0: 0, 3: 7, 5: 256, 6: 256, 7: 256, 8: 256}.items()}

    def read(self, kind: str, descriptor: int, attribute: str, of: Any = ctypes.c_int32) -> int:
        """An attribute of a descriptor, as ``cublasLt...GetAttribute`` gives it."""
        long = {"MatmulDesc": "MATMUL_DESC", "MatrixLayout": "MATRIX_LAYOUT", "MatmulPreference": "MATMUL_PREF"}[kind]
        number, value, written = C[f"CUBLASLT_{long}_{attribute}"], of(), ctypes.c_size_t()
        if self.real is None:
            stored = self.kept[descriptor][number]
            assert len(stored) == ctypes.sizeof(of)
            return of.from_buffer_copy(stored).value or 0
        function = getattr(self.real, f"cublasLt{kind}GetAttribute")
        function.argtypes = [*SIGNATURES["cublasLtMatmulDescSetAttribute"][1], ctypes.c_void_p]
        status = function(descriptor, number, ctypes.byref(value), ctypes.sizeof(value), ctypes.byref(written))
        assert (status, written.value) == (0, ctypes.sizeof(value)), attribute
        return value.value or 0

    # in place of what needs a device

    def _cublasLtCreate(self, made: int) -> int:
        self.handles += 1
        ctypes.c_uint64.from_address(made).value = 0xABC0 + self.handles
        return 0

    def _cublasLtMatmulAlgoGetHeuristic(self, handle, op, a, b, c, d, preference, want, results, count) -> int:
        assert handle > 0xABC0
        names = ("SEARCH_MODE", "REDUCTION_SCHEME_MASK", *(f"MIN_ALIGNMENT_{x}_BYTES" for x in "ABCD"))
        asked = {name: self.read("MatmulPreference", preference, name, ctypes.c_uint32) for name in names}
        workspace = self.read("MatmulPreference", preference, "MAX_WORKSPACE_BYTES", ctypes.c_uint64)
        bias = self.read("MatmulDesc", op, "BIAS_POINTER", ctypes.c_void_p)
        self.asked.append({**asked, "MAX_WORKSPACE_BYTES": workspace, "BIAS_POINTER": bias})
        found = self.found[:want]
        array = (MatmulHeuristicResult * want).from_address(results)
        for place, (opaque, size, state) in zip(array, found, strict=False):
            place.algo, place.workspaceSize, place.state = MatmulAlgo.from_buffer_copy(opaque), size, state
        ctypes.c_int.from_address(count).value = len(found)
        return 0

    def _cublasLtMatmulAlgoCheck(self, handle, op, a, b, c, d, algo, result) -> int:
        assert handle > 0xABC0
        MatmulHeuristicResult.from_address(result).workspaceSize = self.needs
        self.asked.append({"BIAS_POINTER": self.read("MatmulDesc", op, "BIAS_POINTER", ctypes.c_void_p)})
        return 0 if ctypes.string_at(algo, 1) != b"\xee" else INVALID

    def _cublasLtMatmul(
        self, handle, op, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout, algo, workspace, size, stream
    ) -> int:
        """D = epilogue(alpha op(A) op(B) + beta C), as the documentation of cublasLtMatmul has it."""
        attribute = functools.partial(self.read, "MatmulDesc", op)
        time.sleep(self.pause)  # between the setting of the bias and its reading
        compute, scale = attribute("COMPUTE_TYPE"), attribute("SCALE_TYPE")
        expected = C["CUDA_R_64F"] if compute == C["CUBLAS_COMPUTE_64F"] else C["CUDA_R_32F"]
        if (scale, attribute("POINTER_MODE"), attribute("TRANSC")) != (expected, 0, 0):
            return INVALID
        count = self.read("MatrixLayout", d_layout, "BATCH_COUNT")
        if {self.read("MatrixLayout", layout, "BATCH_COUNT") for layout in (a_layout, b_layout, c_layout)} != {count}:
            return INVALID
        for j in range(count):
            status = self._one(j, attribute, alpha, (a, a_layout), (b, b_layout), beta, (c, c_layout), (d, d_layout))
            if status:
                return status
        self.calls.append(
            SimpleNamespace(
                **{"compute": compute, "algo": ctypes.string_at(algo, 64), "in_place": (c, c_layout) == (d, d_layout)},
                **{"handle": handle, "workspace": workspace, "size": size, "stream": stream, "count": count},
            )
        )
        return 0

    def _one(self, j: int, attribute: Any, alpha: int, a: Any, b: Any, beta: int, c: Any, d: Any) -> int:
        """Number ``j`` of a batch of products; a to d are addresses with layouts."""
        scalar = ctypes.c_double if attribute("SCALE_TYPE") == C["CUDA_R_64F"] else ctypes.c_float
        out, _, out_type = self._matrix(*d, j)
        left, right = self._operand(*a, j, attribute("TRANSA")), self._operand(*b, j, attribute("TRANSB"))
        if left.shape[1] != right.shape[0] or out.shape != (left.shape[0], right.shape[1]):
            return INVALID
        x = scalar.from_address(alpha).value * (left @ right)
        factor = scalar.from_address(beta).value
        if factor != 0:
            x = x + factor * self._matrix(*c, j)[1]
        epilogue = attribute("EPILOGUE")
        if epilogue & C["CUBLASLT_EPILOGUE_BIAS"]:
            x = x + self._of_bias(attribute, j, *out.shape[:1], out_type)[1][:, np.newaxis]
        if epilogue & C["CUBLASLT_EPILOGUE_RELU"]:
            x = np.maximum(x, 0)
        if epilogue in {C["CUBLASLT_EPILOGUE_DRELU"], C["CUBLASLT_EPILOGUE_DRELU_BGRAD"]}:
            x = x * np.unpackbits(self._of_signs(attribute, j, *out.shape), axis=1, bitorder="little")[:, : len(x)].T
        elif epilogue == C["CUBLASLT_EPILOGUE_RELU_AUX_BIAS"]:
            bits = np.packbits((x > 0).T, axis=1, bitorder="little")
            self._of_signs(attribute, j, *out.shape)[:, : bits.shape[1]] = bits
        out[...] = to_bf16(x) if out.dtype == np.uint16 else x
        if epilogue == C["CUBLASLT_EPILOGUE_DRELU_BGRAD"]:
            total = x.sum(axis=1)
            vector = self._of_bias(attribute, j, *out.shape[:1], out_type)[0]
            vector[...] = to_bf16(total) if vector.dtype == np.uint16 else total
        return 0

    def _of_bias(self, attribute: Any, j: int, length: int, out_type: int) -> tuple[np.ndarray, np.ndarray]:
        """The memory of the bias of product ``j``, and its values."""
        kind = attribute("BIAS_DATA_TYPE")
        item = np.dtype(NUMPY_TYPES[out_type if kind == -1 else kind])
        address = attribute("BIAS_POINTER", ctypes.c_void_p)
        address += j * attribute("BIAS_BATCH_STRIDE", ctypes.c_int64) * item.itemsize
        vector = np.frombuffer((ctypes.c_char * (length * item.itemsize)).from_address(address), item)
        return vector, (from_bf16(vector) if item == np.uint16 else vector).astype(np.float64)

    def _of_signs(self, attribute: Any, j: int, rows: int, columns: int) -> np.ndarray:
        """The bytes of the bit mask of product ``j``: a row for each column of D, of LD bits."""
        step, stride = (attribute(f"EPILOGUE_AUX_{x}", ctypes.c_int64) for x in ("LD", "BATCH_STRIDE"))
        assert step % 128 == stride % 128 == 0
        assert step >= rows
        address = attribute("EPILOGUE_AUX_POINTER", ctypes.c_void_p) + j * stride // 8
        assert address % 16 == 0
        memory = (ctypes.c_char * (columns * step // 8)).from_address(address)
        return np.frombuffer(memory, np.uint8).reshape(columns, step // 8)

    def _operand(self, address: int, layout: int, j: int, operation: int) -> np.ndarray:
        values = self._matrix(address, layout, j)[1]
        return values.T if operation == C["CUBLAS_OP_T"] else values

    def _matrix(self, address: int, layout: int, j: int) -> tuple[np.ndarray, np.ndarray, int]:
        """The memory that a layout describes for product ``j``, its values in float64, and its type."""
        attribute = functools.partial(self.read, "MatrixLayout", layout)
        rows, columns = attribute("ROWS", ctypes.c_uint64), attribute("COLS", ctypes.c_uint64)
        step, kind = attribute("LD", ctypes.c_int64), attribute("TYPE", ctypes.c_uint32)
        assert attribute("ORDER") == C["CUBLASLT_ORDER_COL"]
        assert step >= rows
        item = np.dtype(NUMPY_TYPES[kind])
        address += j * attribute("STRIDED_BATCH_OFFSET", ctypes.c_int64) * item.itemsize
        memory = (ctypes.c_char * ((step * (columns - 1) + rows) * item.itemsize)).from_address(address)
        strides = (item.itemsize, step * item.itemsize)
        view = np.ndarray((rows, columns), item, memory, strides=strides)
        return view, (from_bf16(view) if item == np.uint16 else view).astype(np.float64), kind
