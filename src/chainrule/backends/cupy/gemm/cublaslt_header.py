"""What chainrule uses of ``cublasLt.h``, ``cublas_api.h`` and ``library_types.h``: numbers, structures, signatures.

All of it is binary interface, the same from CUDA 12.0 on. A test reads NVIDIA's headers and compares.
"""

from __future__ import annotations

import ctypes
from enum import IntEnum, IntFlag
from typing import Any, Final


class DataType(IntEnum):
    """``cudaDataType``, without its prefix CUDA_."""

    R_32F = 0
    R_64F = 1
    R_16BF = 14


class ComputeType(IntEnum):
    """``cublasComputeType_t``, without its prefix CUBLAS_."""

    COMPUTE_32F = 68
    COMPUTE_64F = 70
    COMPUTE_32F_FAST_TF32 = 77


class Operation(IntEnum):
    """``cublasOperation_t``, without its prefix CUBLAS_OP_."""

    N = 0
    T = 1


class Status(IntEnum):
    """``cublasStatus_t``, without its prefix CUBLAS_STATUS_: those of which something follows."""

    SUCCESS = 0
    NOT_SUPPORTED = 15


class EpilogueMode(IntEnum):
    """``cublasLtEpilogue_t``, without its prefix CUBLASLT_EPILOGUE_."""

    DEFAULT = 1
    BIAS = 4
    RELU_BIAS = 6
    RELU_AUX_BIAS = 134
    DRELU = 136
    DRELU_BGRAD = 152


class MatmulAttribute(IntEnum):
    """``cublasLtMatmulDescAttributes_t``, without its prefix CUBLASLT_MATMUL_DESC_."""

    TRANSA = 3
    TRANSB = 4
    EPILOGUE = 7
    BIAS_POINTER = 8
    BIAS_BATCH_STRIDE = 10
    EPILOGUE_AUX_POINTER = 11
    EPILOGUE_AUX_LD = 12
    EPILOGUE_AUX_BATCH_STRIDE = 13


class LayoutAttribute(IntEnum):
    """``cublasLtMatrixLayoutAttribute_t``, without its prefix CUBLASLT_MATRIX_LAYOUT_."""

    BATCH_COUNT = 5
    STRIDED_BATCH_OFFSET = 6


class PreferenceAttribute(IntEnum):
    """``cublasLtMatmulPreferenceAttributes_t``, without its prefix CUBLASLT_MATMUL_PREF_."""

    MAX_WORKSPACE_BYTES = 1
    REDUCTION_SCHEME_MASK = 3
    MIN_ALIGNMENT_A_BYTES = 5
    MIN_ALIGNMENT_B_BYTES = 6
    MIN_ALIGNMENT_C_BYTES = 7
    MIN_ALIGNMENT_D_BYTES = 8


class ReductionScheme(IntFlag):
    """``cublasLtReductionScheme_t``, without its prefix CUBLASLT_REDUCTION_SCHEME_: how a split k is added up."""

    COMPUTE_TYPE = 2
    OUTPUT_TYPE = 4


class MatmulAlgo(ctypes.Structure):
    """``cublasLtMatmulAlgo_t``: may be stored, and used again with the same version of the library."""

    _fields_ = (("data", ctypes.c_uint64 * 8),)


class MatmulHeuristicResult(ctypes.Structure):
    """``cublasLtMatmulHeuristicResult_t``."""

    _fields_ = (
        ("algo", MatmulAlgo),
        ("workspaceSize", ctypes.c_size_t),
        ("state", ctypes.c_int),
        ("wavesCount", ctypes.c_float),
        ("reserved", ctypes.c_int * 4),
    )


_POINTER, _INT, _SIZE = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
_LAYOUTS = [_POINTER] * 4  # of A, B, C and D

# What each function returns and takes. Handles, descriptors and streams are pointers, enumerations are ints.
SIGNATURES: Final[dict[str, tuple[Any, list[Any]]]] = {
    "cublasLtGetVersion": (_SIZE, []),
    "cublasLtGetStatusName": (ctypes.c_char_p, [_INT]),
    "cublasLtCreate": (_INT, [_POINTER]),
    "cublasLtMatmulDescCreate": (_INT, [_POINTER, _INT, _INT]),
    "cublasLtMatmulDescSetAttribute": (_INT, [_POINTER, _INT, _POINTER, _SIZE]),
    "cublasLtMatmulDescDestroy": (_INT, [_POINTER]),
    "cublasLtMatrixLayoutCreate": (_INT, [_POINTER, _INT, ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64]),
    "cublasLtMatrixLayoutSetAttribute": (_INT, [_POINTER, _INT, _POINTER, _SIZE]),
    "cublasLtMatrixLayoutDestroy": (_INT, [_POINTER]),
    "cublasLtMatmulPreferenceCreate": (_INT, [_POINTER]),
    "cublasLtMatmulPreferenceSetAttribute": (_INT, [_POINTER, _INT, _POINTER, _SIZE]),
    "cublasLtMatmulPreferenceDestroy": (_INT, [_POINTER]),
    "cublasLtMatmulAlgoGetHeuristic": (_INT, [_POINTER, _POINTER, *_LAYOUTS, _POINTER, _INT, _POINTER, _POINTER]),
    "cublasLtMatmulAlgoCheck": (_INT, [_POINTER, _POINTER, *_LAYOUTS, _POINTER, _POINTER]),
    "cublasLtMatmul": (_INT, [*[_POINTER] * 14, _SIZE, _POINTER]),
}
