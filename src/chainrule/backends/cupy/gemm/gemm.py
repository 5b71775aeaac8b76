"""Matrix products of one device: from arrays to launches, and how long an algorithm takes."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.backends.contract.backend import BF16, Array
from chainrule.backends.cupy.capture.launcher import ScratchError
from chainrule.backends.cupy.capture.launches import Lane, Launch, address, span
from chainrule.backends.cupy.gemm import cublaslt
from chainrule.backends.cupy.gemm.autotune import Products
from chainrule.backends.cupy.gemm.cublaslt import PlannedProduct
from chainrule.backends.cupy.gemm.matrix_product import Epilogue, Product, alignment
from chainrule.backends.cupy.kernels import VARIANT_OF
from chainrule.errors import DeviceError, ShapeError

if TYPE_CHECKING:
    from chainrule.backends.cupy.backend import CuPyBackend

_log = logging.getLogger(__name__)


def describe(a: Array, b: Array, out: Array, precision: str, epilogue: Epilogue) -> Product:
    """The product out = a @ b of these arrays: shapes, what is turned, how it lies in memory. ShapeError if none."""
    (m, k), (k_of_b, n) = a.shape, b.shape
    if k != k_of_b or out.shape != (m, n):
        raise ShapeError(f"out {out.shape} = a {a.shape} @ b {b.shape} came")
    if a.dtype != b.dtype or not out.flags.c_contiguous:
        raise ShapeError(f"a {a.dtype} @ b {b.dtype} into {'' if out.flags.c_contiguous else 'strided '}out came")
    a_turned, b_turned = _is_turned(a), _is_turned(b)
    operands = VARIANT_OF[a.dtype]
    return Product(
        m=m,
        n=n,
        k=k,
        a_turned=a_turned,
        b_turned=b_turned,
        lda=m if a_turned else k,
        ldb=k if b_turned else n,
        ldout=n,
        operands=operands,
        result=VARIANT_OF[out.dtype],
        # Float32 arrays are multiplied in fp32 even where nets store bf16: whoever passes them wants their digits.
        precision="bf16" if operands == "bf16" else "tf32" if precision == "tf32" else "fp32",
        epilogue=epilogue,
        a_alignment=alignment(address(a)),
        b_alignment=alignment(address(b)),
        out_alignment=alignment(address(out)),
    )


def _is_turned(array: Array) -> bool:
    if array.flags.c_contiguous:
        return False
    if array.flags.f_contiguous:
        return True
    raise ShapeError(f"an array of shape {array.shape} and strides {array.strides} came, contiguous or turned expected")


class Multiplier:
    """Products by cublasLt, or by CuPy where that cannot be loaded: slower, fp32 only, and no step can be captured."""

    def __init__(self, backend: CuPyBackend, *, card: str, workspace_size: int) -> None:
        self._backend = backend
        self._products: Products | None = None
        self._timer = ProductTimer(backend)
        try:
            library = cublaslt.load()
        except DeviceError as error:
            if backend.precision != "fp32":
                raise
            _log.warning("products go through CuPy and steps are not captured: %s", error.message)
        else:
            self._products = Products(
                library, device=backend.index, card=card, workspace_size=workspace_size, timer=self._timer
            )

    @property
    def can_be_captured(self) -> bool:
        """Whether a product may be part of a CUDA graph."""
        return self._products is not None

    def launch(self, a: Array, b: Array, out: Array, bias: Array | None, relu: bool) -> Launch:
        """out = a @ b, then + bias and max(., 0) where asked for. a (m, k), b (k, n), out (m, n), bias (n,)."""
        reads = (span(a), span(b)) if bias is None else (span(a), span(b), span(bias))
        arrays = (a, b, out) if bias is None else (a, b, out, bias)
        if self._products is None:
            start = functools.partial(self._through_cupy, a, b, out, bias, relu)
            return Launch(("CuPy",), start, reads, (span(out),), arrays)
        epilogue: Epilogue = "none" if bias is None else "relu_bias" if relu else "bias"
        product = describe(a, b, out, self._backend.precision, epilogue)
        plan = self._plan(self._products, product)
        addresses = (address(a), address(b), address(out), 0 if bias is None else address(bias))
        start = functools.partial(_run, plan, addresses)
        return Launch(("product", product, *addresses), start, reads, (span(out),), arrays)

    def _plan(self, products: Products, product: Product) -> PlannedProduct:
        if product in products:
            return products.plan(product)
        if self._backend.is_recording:  # to plan is to time, and a step that is written down starts nothing
            raise ScratchError(f"{product} is asked for first while a step is recorded")
        try:
            return products.plan(product)
        finally:
            self._timer.release()

    def _through_cupy(self, a: Array, b: Array, out: Array, bias: Array | None, relu: bool, lane: Lane) -> None:
        xp = self._backend.xp
        xp.matmul(a, b, out=out)
        if bias is not None:
            xp.add(out, bias, out=out)
        if relu:
            xp.maximum(out, 0, out=out)


def _run(plan: PlannedProduct, addresses: tuple[int, ...], lane: Lane) -> None:
    plan.run(*addresses, stream=lane.stream, workspace=lane.workspace, workspace_size=lane.workspace_size)


class ProductTimer:
    """Seconds that a plan takes on the device, on random numbers: on zeros a GPU draws less power and runs faster.

    Several runs are captured in one graph, or the time of a small product would be that of its launch by the host.
    """

    RUNS = 10

    def __init__(self, backend: CuPyBackend) -> None:
        self._backend = backend
        self._product: Product | None = None
        self._arrays: tuple[Array, ...] = ()

    def __call__(self, plan: PlannedProduct) -> float:
        backend, cuda = self._backend, self._backend.xp.cuda
        if plan.product != self._product:
            self._arrays = self._make(plan.product)
            self._product = plan.product
        addresses = [address(array) for array in self._arrays]
        addresses += [0] * (4 - len(addresses))

        start = functools.partial(_run, plan, tuple(addresses))
        one = Launch(("product",), start, (), ((0, 1),), self._arrays)  # all write one place, so they run in turn
        with backend.running():
            backend.start(one)  # the first run of an algorithm loads its kernel, which a capture refuses
            replay = backend.instantiate([one] * self.RUNS)
            stream = cuda.get_current_stream()
            begin, end = cuda.Event(), cuda.Event()
            replay()
            begin.record(stream)
            replay()
            end.record(stream)
            end.synchronize()
        return float(cuda.get_elapsed_time(begin, end)) / 1e3 / self.RUNS

    def release(self) -> None:
        """Let go of the arrays of the last product: they may be as large as a batch's."""
        self._product, self._arrays = None, ()

    def _make(self, product: Product) -> tuple[Array, ...]:
        dtypes = {name: dtype for dtype, name in VARIANT_OF.items()}
        sizes = [(product.m * product.k, product.operands), (product.k * product.n, product.operands)]
        sizes.append((product.m * product.n, product.result))
        if product.epilogue != "none":
            sizes.append((product.n, product.result))
        return tuple(self._random(size, dtypes[name]) for size, name in sizes)

    def _random(self, size: int, dtype: np.dtype) -> Any:
        backend = self._backend
        out = backend.empty((size,), dtype)
        with backend.running():
            drawn = out if dtype != BF16 else backend.empty((size,), np.float32)
            backend.uniform((1, 2), (3, 4, 5), low=-1.0, high=1.0, out=drawn)
            if drawn is not out:
                backend.copy(drawn, out=out)
        return out
