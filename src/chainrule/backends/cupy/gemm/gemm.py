"""Matrix products (GEMM) of one device: from arrays to launches."""

from __future__ import annotations

import functools
import logging

import numpy as np

from chainrule.backends.capture.captured_step import ScratchError
from chainrule.backends.capture.memory import address
from chainrule.backends.contract.backend import Array
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.capture.launches import Launch, StreamHandle
from chainrule.backends.cupy.gemm import cublaslt
from chainrule.backends.cupy.gemm.autotune import GemmAutotuner
from chainrule.backends.cupy.gemm.border_autotune import BorderTuner
from chainrule.backends.cupy.gemm.launching import Plan, multiply
from chainrule.backends.cupy.gemm.matrix_product import Epilogue, MatrixProduct, ProductArrays, alignment
from chainrule.backends.cupy.gemm.timing import GemmTimer, widened
from chainrule.backends.cupy.kernels import VARIANT_OF
from chainrule.backends.cupy.members import entry, stride
from chainrule.errors import DeviceError, ShapeError

_log = logging.getLogger(__name__)


def describe_product(
    a: Array,
    b: Array,
    out: Array,
    precision: str,
    epilogue: Epilogue,
    bias: Array | None = None,
    signs: Array | None = None,
) -> MatrixProduct:
    """The product out = a @ b of these arrays: shapes, transposes, memory layout. ShapeError if there is none.

    If they have the model axis, it is the product of each member. One without that axis is shared.
    """
    (m, k), (k_of_b, n) = a.shape[-2:], b.shape[-2:]
    members = {len(array) for array in (a, b, out) if array.ndim == 3}
    if k != k_of_b or out.shape[-2:] != (m, n) or len(members) > 1 or (members and out.ndim == 2):
        raise ShapeError(f"expected out (m, n) = a (m, k) @ b (k, n), got {out.shape} = {a.shape} @ {b.shape}")
    if a.dtype != b.dtype:
        raise ShapeError(f"expected a and b of one dtype, got {a.dtype} and {b.dtype}")
    if not (out if out.ndim == 2 else out[0]).flags.c_contiguous:
        raise ShapeError(f"expected a C-contiguous out, got strides {out.strides} of shape {out.shape}")
    a_transposed, b_transposed = _is_transposed(a), _is_transposed(b)
    lda, ldb = m if a_transposed else k, k if b_transposed else n
    operands = VARIANT_OF[a.dtype]
    return MatrixProduct(
        m=m,
        n=n,
        k=k,
        a_transposed=a_transposed,
        b_transposed=b_transposed,
        lda=lda,
        ldb=ldb,
        ldout=n,
        operands=operands,
        result=VARIANT_OF[out.dtype],
        # Float32 arrays are multiplied in fp32 even if nets store bf16: whoever passes them wants their digits.
        precision="bf16" if operands == "bf16" else "tf32" if precision == "tf32" else "fp32",
        epilogue=epilogue,
        a_alignment=_alignment_of_rows(a, lda),
        b_alignment=_alignment_of_rows(b, ldb),
        out_alignment=_alignment_of_rows(out, n),
        members=max(members, default=1),
        a_stride=stride(a, 2),
        b_stride=stride(b, 2),
        out_stride=stride(out, 2),
        bias_stride=0 if bias is None else stride(bias, 1),
        signs_step=0 if signs is None else 8 * signs.shape[-1],
        signs_stride=0 if signs is None else 8 * stride(signs, 2),
    )


def _alignment_of_rows(array: Array, step: int) -> int:
    """What divides the address of every row, the rows ``step`` elements apart, and of those of every member.

    The first row alone may be better aligned than those behind it. A member that lies behind others is not: if that
    counted, its product would have another description, and perhaps another algorithm, than the same net's alone.
    """
    return alignment(address(array) | step * array.itemsize | stride(array, 2) * array.itemsize)


def _is_transposed(array: Array) -> bool:
    """Whether memory holds the transposed matrix; of members, that of each."""
    matrix = array if array.ndim == 2 else array[0]
    if matrix.flags.c_contiguous:
        return False
    if matrix.flags.f_contiguous:
        return True
    raise ShapeError(
        f"expected a contiguous or transposed array, got shape {array.shape} with strides {array.strides}",
    )


class Gemm:
    """Products by cublasLt, or by CuPy if that cannot be loaded: slower, fp32 only, and no step can be captured.

    Parameters
    ----------
    backend : whose arrays are multiplied
    device : number of the CUDA device
    card : its name
    workspace_size : bytes of workspace per stream

    ``borders`` says of which two layers a ReLU is part of the products; None without cublasLt.
    """

    def __init__(self, backend: Launcher, *, device: int, card: str, workspace_size: int) -> None:
        self._backend = backend
        self._autotuner: GemmAutotuner | None = None
        self._timer = GemmTimer(backend)
        self.borders: BorderTuner | None = None
        self._keeps_nan: dict[MatrixProduct, bool] = {}
        try:
            library = cublaslt.load()
        except DeviceError as error:
            if backend.precision != "fp32":
                raise
            _log.warning("products go through CuPy and steps are not captured: %s", error.message)
        else:
            self._autotuner = GemmAutotuner(
                library,
                device=device,
                card=card,
                multiprocessors=backend.multiprocessors,
                workspace_size=workspace_size,
                timer=self._timer,
            )
            self.borders = BorderTuner(backend, self._autotuner, self._timer)

    @property
    def can_be_captured(self) -> bool:
        """Whether a product may be part of a CUDA graph."""
        return self._autotuner is not None

    def multiply(self, arrays: ProductArrays, epilogue: Epilogue) -> None:
        """Launch the product of these arrays, with an epilogue as of :class:`MatrixProduct`.

        With a model axis, the product of each member: one call of cublasLt, or one after the other.
        """
        if self._autotuner is None:
            start = functools.partial(self._through_cupy, arrays, epilogue)
            self._backend.submit(Launch(("CuPy",), start, *arrays.spans(epilogue), arrays.present))
            return
        a, b, out, bias, signs = arrays
        product = describe_product(a, b, out, self._backend.precision, epilogue, bias, signs)
        multiply(self._backend, product, self._plan(self._autotuner, product), arrays)

    def keeps_nan(self, arrays: ProductArrays, epilogue: Epilogue) -> bool:
        """Whether a nan stays one in the ReLU of this product: asked of the device once, by a bias of nan into ``out``.

        NVIDIA's documentation does not say so, and in a report in its forum a nan became 0
        (forums.developer.nvidia.com/t/329783).
        """
        if self._autotuner is None:
            return True
        first = ProductArrays(*(entry(array, rank, 0) for array, rank in zip(arrays, (2, 2, 2, 1, 2), strict=True)))
        product = describe_product(*first[:3], self._backend.precision, epilogue, *first[3:])
        if product not in self._keeps_nan:
            backend, bias = self._backend, arrays.bias
            assert bias is not None
            if backend.is_recording:
                raise ScratchError(f"a nan is first sent through {product} while a step is being recorded")
            nan = backend.scratch(bias.shape[-1:], bias.dtype, use="biases of nan")
            backend.fill(np.nan, out=nan)
            self.multiply(first._replace(bias=nan), epilogue)
            row = widened(backend.download(first.out[:1]))
            self._keeps_nan[product] = bool(np.isnan(row).all())
        return self._keeps_nan[product]

    def _plan(self, autotuner: GemmAutotuner, product: MatrixProduct) -> Plan:
        """The plan of a product, or if its members cannot be one call that of one of them."""
        plan = autotuner.plan if product.members == 1 else autotuner.plan_of_members
        if product in autotuner:
            return plan(product)
        if self._backend.is_recording:  # to plan is to time, and a step that is being recorded starts nothing
            raise ScratchError(f"{product} is first asked for while a step is being recorded")
        try:
            return plan(product)
        finally:
            self._timer.release()

    def _through_cupy(self, arrays: ProductArrays, epilogue: Epilogue, stream: StreamHandle) -> None:
        assert arrays.signs is None  # this device wants none
        xp, out = self._backend.xp, arrays.out
        xp.matmul(arrays.a, arrays.b, out=out)
        if arrays.bias is not None:
            xp.add(out, arrays.bias[..., None, :], out=out)
        if epilogue == "relu_bias":
            xp.maximum(out, 0, out=out)
