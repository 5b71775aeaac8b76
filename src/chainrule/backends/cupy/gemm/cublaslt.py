"""cublasLt through ctypes: one matrix product, described, planned and run by a single call that a CUDA graph may hold.

CuPy refuses its own products inside stream capture, and knows neither epilogues nor a float32 result of bf16 operands.
The library is the one that CuPy has already loaded, so nothing more is installed.

cublasLt thinks in columns: memory that holds a row-major (r, c) holds a column-major (c, r). So the transposed product
is asked for, ``out.T = op(b).T @ op(a).T``: its operand A is our ``b``, its B our ``a``, its D our ``out``, and a bias
along the rows of D runs over our ``n`` columns.

**Before a capture**, plan and choose, and run each plan once: handles, heuristics and the loading of a kernel at its
first launch are refused, or spoil the graph, while a stream is captured.
"""

from __future__ import annotations

import ctypes
import functools
import importlib
import threading
import weakref
from typing import Any, Final, NamedTuple

from chainrule.backends.cupy import install_hints
from chainrule.backends.cupy.gemm.cublaslt_header import (
    SIGNATURES,
    ComputeType,
    DataType,
    EpilogueMode,
    LayoutAttribute,
    MatmulAlgo,
    MatmulAttribute,
    MatmulHeuristicResult,
    Operation,
    PreferenceAttribute,
    ReductionScheme,
    Status,
)
from chainrule.backends.cupy.gemm.matrix_product import EPILOGUES, MatrixProduct
from chainrule.errors import DeviceError, first_line

# Bytes. The preference cannot name those of bias and signs, and there are kernels that load 16 at a time.
BIAS_ALIGNMENT: Final = 16
WORKSPACE_ALIGNMENT: Final = 256  # bytes; the documentation of cublasLtMatmul asks for it

_DATA_TYPES: Final = {"float32": DataType.R_32F, "float64": DataType.R_64F, "bf16": DataType.R_16BF}
_EPILOGUES: Final = {"none": EpilogueMode.DEFAULT} | {name: EpilogueMode[name.upper()] for name in EPILOGUES[1:]}


class CublasLtError(DeviceError):
    """A call of cublasLt that failed: ``call`` is the function's name, ``status`` that of what it returned."""

    def __init__(self, call: str, status: str) -> None:
        super().__init__(f"{call} failed: {status}", hint="with CUBLASLT_LOG_LEVEL=5 the library says why")
        self.call = call
        self.status = status


class Algorithm(NamedTuple):
    """One way to compute a product: the bytes of a ``cublasLtMatmulAlgo_t``, and the workspace that it needs."""

    opaque: bytes
    workspace_size: int


class Library:
    """A loaded cublasLt. Descriptors can be made and read without a GPU; what needs a handle needs a driver.

    ``dll`` is what ctypes loaded, or an object with the same functions.
    """

    def __init__(self, dll: Any) -> None:
        self.functions: dict[str, Any] = {}
        for name, (result, arguments) in SIGNATURES.items():
            function = getattr(dll, name)
            function.restype, function.argtypes = result, arguments
            self.functions[name] = function
        self.version: int = self.functions["cublasLtGetVersion"]()  # 131000 is 13.10.0
        self._handles: dict[int, int] = {}
        self._lock = threading.Lock()

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function that returns a status. CublasLtError unless that is CUBLAS_STATUS_SUCCESS."""
        status = self.functions[name](*arguments)
        if status != Status.SUCCESS:
            raise CublasLtError(name, self.functions["cublasLtGetStatusName"](status).decode())

    def handle(self, device: int) -> int:
        """The ``cublasLtHandle_t`` of a CUDA device, which must be the current one; made when first asked for.

        Never destroyed: it is of use until the process ends, and then the driver may be gone first.
        """
        handle = self._handles.get(device)
        if handle is None:
            with self._lock:
                handle = self._handles.get(device)
                if handle is None:
                    made = ctypes.c_void_p()
                    self.call("cublasLtCreate", ctypes.byref(made))
                    handle = self._handles[device] = made.value or 0
        return handle

    def plan(self, product: MatrixProduct, device: int = 0) -> PlannedProduct:
        """``product`` with its descriptors and, as yet, no algorithm. Raises as :meth:`MatrixProduct.check` does."""
        return PlannedProduct(self, product, device)


@functools.cache
def load() -> Library:
    """The cublasLt that CuPy uses. DeviceError, with what to install, if it cannot be loaded."""
    try:
        pathfinder = importlib.import_module("cuda.pathfinder")  # comes with CuPy, and knows the names on Windows too
        path = pathfinder.load_nvidia_dynamic_lib("cublasLt").abs_path
        if path is None:
            raise OSError("it was found without a path")
        return Library(ctypes.CDLL(path))
    except (ImportError, OSError, RuntimeError, AttributeError) as error:
        raise DeviceError(
            f"cublasLt cannot be loaded: {first_line(error)}", hint=install_hints.CUDA_LIBRARIES
        ) from error


class PlannedProduct:
    """A product with its descriptors, which go when it goes. ``run`` is one call, and may be captured.

    Threads may share a plan. The addresses of bias and signs are part of the descriptor, not arguments, so they are
    set, and the product called, under a lock. (One descriptor for each bias would need none, but would gather a
    descriptor for every array ever passed; a lock that nobody holds costs next to nothing beside a launch.) When the
    call returns, it has read the descriptor. The workspace is not guarded: one for each stream and branch of a graph.
    """

    def __init__(self, library: Library, product: MatrixProduct, device: int) -> None:
        product.check()
        self.product = product
        self.device = device
        self.algorithm: Algorithm | None = None
        self._library = library
        self._lock = threading.Lock()
        self._algo = MatmulAlgo()
        p, operands, result = product, _DATA_TYPES[product.operands], _DATA_TYPES[product.result]
        if p.operands == "float64":
            compute, scale = ComputeType.COMPUTE_64F, DataType.R_64F
        else:  # bf16 operands are added up as float32 is
            compute = ComputeType.COMPUTE_32F_FAST_TF32 if p.precision == "tf32" else ComputeType.COMPUTE_32F
            scale = DataType.R_32F
        scalar = ctypes.c_double if scale == DataType.R_64F else ctypes.c_float
        self._alpha, self._beta = scalar(1), scalar(0)
        self._descriptor = self._make("MatmulDesc", compute, scale)
        self._set(MatmulAttribute.TRANSA, ctypes.c_int32(Operation.T if p.b_transposed else Operation.N))
        self._set(MatmulAttribute.TRANSB, ctypes.c_int32(Operation.T if p.a_transposed else Operation.N))
        self._set(MatmulAttribute.EPILOGUE, ctypes.c_uint32(_EPILOGUES[p.epilogue]))
        # The addresses in the descriptor. A bias's type is that of D unless the descriptor says other.
        self._placed = {MatmulAttribute.BIAS_POINTER: 0, MatmulAttribute.EPILOGUE_AUX_POINTER: 0}
        self._layout_a = self._layout(operands, (p.k, p.n) if p.b_transposed else (p.n, p.k), p.ldb, p.b_stride)
        self._layout_b = self._layout(operands, (p.m, p.k) if p.a_transposed else (p.k, p.m), p.lda, p.a_stride)
        self._layout_d = self._layout(result, (p.n, p.m), p.ldout, p.out_stride)
        if p.members > 1 and p.has_bias:
            self._set(MatmulAttribute.BIAS_BATCH_STRIDE, ctypes.c_int64(p.bias_stride))
        if p.has_signs:
            self._set(MatmulAttribute.EPILOGUE_AUX_LD, ctypes.c_int64(p.signs_step))
            if p.members > 1:
                self._set(MatmulAttribute.EPILOGUE_AUX_BATCH_STRIDE, ctypes.c_int64(p.signs_stride))
        self._layouts = (self._layout_a, self._layout_b, self._layout_d, self._layout_d)  # C is D, and is not read

    def _make(self, kind: str, *arguments: int) -> int:
        """A descriptor that lives as long as this plan."""
        made = ctypes.c_void_p()
        self._library.call(f"cublasLt{kind}Create", ctypes.byref(made), *arguments)
        # Not at exit: then the memory goes with the process.
        weakref.finalize(self, self._library.functions[f"cublasLt{kind}Destroy"], made.value).atexit = False
        return made.value or 0

    def _layout(self, kind: DataType, shape: tuple[int, int], step: int, stride: int) -> int:
        """Of a matrix in columns, ``step`` apart; of several if there are members, so many elements apart."""
        layout = self._make("MatrixLayout", kind, *shape, step)
        if self.product.members > 1:
            batch: dict[LayoutAttribute, Any] = {
                LayoutAttribute.BATCH_COUNT: ctypes.c_int32(self.product.members),
                LayoutAttribute.STRIDED_BATCH_OFFSET: ctypes.c_int64(stride),
            }
            for attribute, value in batch.items():
                size = ctypes.sizeof(value)
                self._library.call("cublasLtMatrixLayoutSetAttribute", layout, attribute, ctypes.byref(value), size)
        return layout

    def _set(self, attribute: MatmulAttribute, value: Any) -> None:
        size = ctypes.sizeof(value)
        self._library.call("cublasLtMatmulDescSetAttribute", self._descriptor, attribute, ctypes.byref(value), size)

    def _place(self, bias: int, signs: int) -> None:
        for attribute, address in zip(self._placed, (bias, signs), strict=True):
            if address != self._placed[attribute]:
                self._set(attribute, ctypes.c_void_p(address))
                self._placed[attribute] = address

    def _ask(self, name: str, *arguments: Any) -> None:
        """Call a function that asks about this product and does not run it."""
        handle = self._library.handle(self.device)
        with self._lock:
            # Nothing is read there, but alignments are taken from it; every later bias is aligned as well.
            self._place(BIAS_ALIGNMENT * self.product.has_bias, BIAS_ALIGNMENT * self.product.has_signs)
            self._library.call(name, handle, self._descriptor, *self._layouts, *arguments)

    def heuristics(self, workspace_size: int, want: int = 8) -> list[Algorithm]:
        """Up to ``want`` algorithms within ``workspace_size`` bytes, the quickest first as cublasLt guesses; or none.

        Only such as give the same bits each time: a split k is added up in the workspace in a fixed order, never in
        place as the parts arrive, and never in bf16, which would round each part. Never inside a capture.
        CublasLtError for a failure other than finding none, such as a device without free memory.
        """
        p = self.product
        schemes = ReductionScheme.COMPUTE_TYPE
        if p.result != "bf16":
            schemes |= ReductionScheme.OUTPUT_TYPE
        settings: dict[PreferenceAttribute, Any] = {
            PreferenceAttribute.MAX_WORKSPACE_BYTES: ctypes.c_uint64(workspace_size),
            PreferenceAttribute.REDUCTION_SCHEME_MASK: ctypes.c_uint32(schemes),
            PreferenceAttribute.MIN_ALIGNMENT_A_BYTES: ctypes.c_uint32(p.b_alignment),
            PreferenceAttribute.MIN_ALIGNMENT_B_BYTES: ctypes.c_uint32(p.a_alignment),
            PreferenceAttribute.MIN_ALIGNMENT_C_BYTES: ctypes.c_uint32(p.out_alignment),
            PreferenceAttribute.MIN_ALIGNMENT_D_BYTES: ctypes.c_uint32(p.out_alignment),
        }
        call = self._library.call
        results, count = (MatmulHeuristicResult * want)(), ctypes.c_int()
        preference = ctypes.c_void_p()
        call("cublasLtMatmulPreferenceCreate", ctypes.byref(preference))
        try:
            for attribute, value in settings.items():
                size = ctypes.sizeof(value)
                call("cublasLtMatmulPreferenceSetAttribute", preference, attribute, ctypes.byref(value), size)
            self._ask("cublasLtMatmulAlgoGetHeuristic", preference, want, results, ctypes.byref(count))
        except CublasLtError as error:
            if error.status == f"CUBLAS_STATUS_{Status.NOT_SUPPORTED.name}":
                return []
            raise
        finally:
            call("cublasLtMatmulPreferenceDestroy", preference)
        found = [Algorithm(bytes(r.algo), r.workspaceSize) for r in results[: count.value] if r.state == Status.SUCCESS]
        return [algorithm for algorithm in found if algorithm.workspace_size <= workspace_size]

    def check(self, opaque: bytes) -> Algorithm | None:
        """The algorithm that these bytes, stored earlier, stand for; None if it does not fit product and device."""
        if len(opaque) != ctypes.sizeof(MatmulAlgo):
            return None
        algo, result = MatmulAlgo.from_buffer_copy(opaque), MatmulHeuristicResult()
        try:
            self._ask("cublasLtMatmulAlgoCheck", ctypes.byref(algo), ctypes.byref(result))
        except CublasLtError:
            return None
        return Algorithm(opaque, result.workspaceSize)

    def use(self, algorithm: Algorithm) -> None:
        """Compute with this algorithm from now on."""
        self._algo = MatmulAlgo.from_buffer_copy(algorithm.opaque)
        self.algorithm = algorithm

    def run(
        self,
        a: int,
        b: int,
        out: int,
        bias: int = 0,
        signs: int = 0,
        *,
        stream: int,
        workspace: int = 0,
        workspace_size: int = 0,
    ) -> None:
        """out = epilogue(op(a) @ op(b)), queued on ``stream``: one call that asks nothing, so it may be captured.

        All are addresses in device memory, and ``stream`` is that of a ``cudaStream_t``. DeviceError for one that is
        less aligned than was planned for: after such an access a process cannot use the device again.
        """
        p = self.product
        if self.algorithm is None:
            raise DeviceError(f"no algorithm has been chosen: {p}")
        if a % p.a_alignment or b % p.b_alignment or out % p.out_alignment or (bias | signs) % BIAS_ALIGNMENT:
            raise DeviceError(
                f"an array is less aligned than was planned for: {p}; a {a:#x} ({p.a_alignment}), "
                f"b {b:#x} ({p.b_alignment}), out {out:#x} ({p.out_alignment}), "
                f"bias {bias:#x}, signs {signs:#x} ({BIAS_ALIGNMENT})"
            )
        for what, address, is_wanted in (("bias", bias, p.has_bias), ("signs", signs, p.has_signs)):
            if (address != 0) != is_wanted:
                raise DeviceError(f"expected {'' if is_wanted else 'no '}{what}, got {address:#x}: {p}")
        needed = self.algorithm.workspace_size
        if needed > (workspace_size if workspace else 0) or workspace % WORKSPACE_ALIGNMENT:
            raise DeviceError(
                f"expected a workspace of {needed} bytes at a multiple of {WORKSPACE_ALIGNMENT}, "
                f"got {workspace_size} bytes at {workspace:#x}: {p}"
            )
        handle = self._library.handle(self.device)
        with self._lock:
            self._place(bias, signs)
            self._library.call(
                "cublasLtMatmul",
                *(handle, self._descriptor, ctypes.byref(self._alpha), b, self._layout_a, a, self._layout_b),
                *(ctypes.byref(self._beta), out, self._layout_d, out, self._layout_d, ctypes.byref(self._algo)),
                *(workspace, workspace_size, stream),
            )
