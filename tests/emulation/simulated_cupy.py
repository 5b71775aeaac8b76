"""As much of CuPy as the CUDA implementation uses, on a simulated device: its arrays are in host memory, its kernels
run as compiled for the CPU, its streams as in :mod:`emulation.streams`.

So the tests run the CUDA implementation itself: what it launches on which stream, what waits for what, what it
captures. It uses no name that is not here; names and signatures are those of CuPy 14.2.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import math
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from chainrule.backends.contract.backend import BF16
from chainrule.backends.cupy import kernels
from chainrule.backends.cupy.gemm.cublaslt import Algorithm
from chainrule.backends.cupy.gemm.matrix_product import MatrixProduct
from emulation import compiled
from emulation.device_memory import Memory, MemoryHook, OutOfMemoryError, Pool
from emulation.streams import DEVICE, GLOBAL, RELAXED, THREAD_LOCAL, CudaError, Event, Stream

POOL = [Pool()]  # of the device that is simulated now


def settle() -> None:
    """What the host does with an array of the current stream comes after what is queued there."""
    DEVICE.current[-1].synchronize()


def later(work: Any) -> None:
    """Work of the array library in the current stream; there is none during a capture."""
    if DEVICE.current[-1].capture is not None:
        settle()
    DEVICE.current[-1].push(np.errstate(all="ignore")(work))


class Pointer(int):
    """An address, as ``array.data`` has it."""

    @property
    def ptr(self) -> int:
        return int(self)


class ndarray(np.ndarray):  # noqa: N801 - CuPy's name
    """An array on the device."""

    @property
    def data(self) -> Pointer:  # type: ignore[override]
        return Pointer(self.ctypes.data)

    @property
    def device(self) -> Any:  # type: ignore[override]
        return types.SimpleNamespace(id=0)

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.ctypes.data, False), "version": 3}

    def set(self, values: np.ndarray, stream: Stream | None = None) -> None:
        assert type(values) is np.ndarray
        assert (values.dtype, values.shape) == (self.dtype, self.shape)
        assert self.flags.c_contiguous
        target = self.view(np.ndarray)
        # From pageable memory: the values may be read at any time until the copy is done.
        (stream or DEVICE.current[-1]).push(lambda: np.copyto(target, values))

    def get(
        self, stream: Stream | None = None, order: str = "C", out: np.ndarray | None = None, blocking: bool = True
    ) -> np.ndarray:
        queue = stream or DEVICE.current[-1]
        if out is None:
            out = np.empty(self.shape, self.dtype)
        assert type(out) is np.ndarray
        assert (out.dtype, out.shape, out.flags.c_contiguous) == (self.dtype, self.shape, True)
        source, host = self.view(np.ndarray), out
        queue.push(lambda: np.copyto(host, source))
        if blocking:
            queue.synchronize()
        return out

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = (), **options: Any) -> Any:
        plain = [x.view(np.ndarray) if isinstance(x, ndarray) else x for x in inputs]
        if out:
            options["out"] = tuple(o.view(np.ndarray) for o in out)
            later(lambda: getattr(ufunc, method)(*plain, **options))
            return out[0]
        settle()
        return np.asarray(getattr(ufunc, method)(*plain, **options)).view(ndarray)

    def __setitem__(self, key: Any, value: Any) -> None:
        target, plain = self.view(np.ndarray), value.view(np.ndarray) if isinstance(value, ndarray) else value
        later(lambda: target.__setitem__(key, plain))

    def sort(self, *args: Any, **options: Any) -> None:
        target = self.view(np.ndarray)
        later(lambda: target.sort(*args, **options))

    def __float__(self) -> float:
        raise CudaError("the host reads a value of the device: an implicit synchronisation")

    __int__ = __bool__ = __index__ = __float__  # type: ignore[assignment]


def _settled(name: str) -> Any:
    def method(self: ndarray, *args: Any, **options: Any) -> Any:
        settle()
        return getattr(np.ndarray, name)(self, *args, **options)

    return method


for _name in ("argmax", "astype", "fill", "copy", "all", "any", "sum", "max"):
    setattr(ndarray, _name, _settled(_name))


def alloc(size: int) -> Any:
    """Memory of the pool."""
    return POOL[0].malloc(size)


def empty(shape: Any, dtype: Any = np.float32) -> ndarray:
    """Memory of the pool, full of what is nan, or an index far out of range, as soon as the stream gets there."""
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    block = alloc(size)
    if DEVICE.current[-1].capture is None:
        DEVICE.current[-1].push(functools.partial(ctypes.memset, block.ptr, 0xFF, size))
    return np.frombuffer(block.mem, np.uint8).view(dtype).reshape(shape).view(ndarray)


def asarray(values: Any, dtype: Any = None, order: str | None = None) -> ndarray:
    if isinstance(values, ndarray):
        if values.flags.c_contiguous and (dtype is None or values.dtype == np.dtype(dtype)):
            return values
        out = empty(values.shape, dtype or values.dtype)
        settle()
        out.view(np.ndarray)[...] = values.view(np.ndarray)
        return out
    host = np.array(values, dtype=dtype, order="C")
    out = empty(host.shape, host.dtype)
    target = out.view(np.ndarray)
    DEVICE.current[-1].push(lambda: np.copyto(target, host))
    return out


def asnumpy(array: Any) -> np.ndarray:
    return array.get() if isinstance(array, ndarray) else np.asarray(array)  # a full reduction: 0-d in CuPy


class RawModule:
    """The kernels of a source: found by its text, compiled for this CPU."""

    def __init__(self, code: str, options: tuple[str, ...] = ()) -> None:
        self._source = next(s for s in kernels.sources() if kernels.source_text(s) == code)
        self._variant = next(v for v in kernels.VARIANTS if kernels.options(v) == options)

    def get_function(self, name: str) -> Any:
        start = compiled.kernel(self._source, name, self._variant)

        def launch(grid: tuple[int, ...], block: tuple[int, ...], values: tuple[Any, ...]) -> None:
            assert 0 < np.prod(block) <= 1024, block
            assert all(0 < g < (2**31 if i == 0 else 65536) for i, g in enumerate(grid)), grid
            DEVICE.current[-1].push(lambda: start(grid, block, values), name)

        return launch


class _Device:
    def __init__(self, index: int) -> None:
        self.id = index

    def __enter__(self) -> _Device:
        return self

    def __exit__(self, *_: Any) -> None:
        pass


def _elapsed(begin: Event, end: Event) -> float:
    assert min(begin.done, end.done) > 0, "an event that has not been reached has no time"
    return 1.0


class DriverError(RuntimeError):
    """What the CUDA driver would answer."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class _OnDevice:
    """A function of NumPy's, on arrays of the device: after what is queued, and never during a capture."""

    def __init__(self, function: Any) -> None:
        self._function = function

    def __call__(self, *args: Any, **options: Any) -> Any:
        plain = [x.view(np.ndarray) if isinstance(x, ndarray) else x for x in args]
        out = options.get("out")
        options = {k: v.view(np.ndarray) if isinstance(v, ndarray) else v for k, v in options.items()}
        if isinstance(out, ndarray):
            later(lambda: self._function(*plain, **options))
            return out
        settle()
        result = self._function(*plain, **options)
        return result.view(ndarray) if isinstance(result, np.ndarray) else result


class SimulatedCuPy(types.ModuleType):
    """The module."""

    def __init__(self) -> None:
        super().__init__("cupy")
        runtime = types.SimpleNamespace(
            getDeviceProperties=lambda _: {"name": b"a simulated device", "multiProcessorCount": 4},
            memGetInfo=lambda: (DEVICE.session.capacity - DEVICE.session.used, DEVICE.session.capacity),
            streamCaptureModeGlobal=GLOBAL,
            streamCaptureModeThreadLocal=THREAD_LOCAL,
            streamCaptureModeRelaxed=RELAXED,
            CUDARuntimeError=CudaError,
        )
        self.cuda = types.SimpleNamespace(
            Device=_Device,
            Stream=Stream,
            Event=Event,
            Memory=Memory,
            MemoryHook=MemoryHook,
            alloc=alloc,
            runtime=runtime,
            driver=types.SimpleNamespace(CUDADriverError=DriverError),
            alloc_pinned_memory=bytearray,
            get_current_stream=lambda: DEVICE.current[-1],
            get_elapsed_time=_elapsed,
            memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        )
        self.__version__ = "14.2.0"
        self.ndarray, self.empty, self.asarray, self.asnumpy = ndarray, empty, asarray, asnumpy
        self.RawModule = RawModule
        self.get_default_memory_pool = functools.partial(POOL.__getitem__, 0)

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        return found if isinstance(found, type) else _OnDevice(found)


# ---- cublasLt -------------------------------------------------------------------------------------


def array_at(address: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The memory at an address."""
    size = math.prod(shape) * dtype.itemsize
    return np.frombuffer((ctypes.c_char * size).from_address(address), dtype).reshape(shape)


class SimulatedProduct:
    """A planned product, computed by NumPy from what its description says of the memory."""

    def __init__(self, product: MatrixProduct) -> None:
        product.check()
        self.product = product
        self.algorithm: Algorithm | None = None

    def heuristics(self, workspace_size: int, want: int = 8) -> list[Algorithm]:
        return [Algorithm(bytes([i] * 64), 0) for i in range(3)]

    def check(self, opaque: bytes) -> Algorithm | None:
        return Algorithm(opaque, 0) if len(opaque) == 64 else None

    def use(self, algorithm: Algorithm) -> None:
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
        assert self.algorithm is not None
        assert min(workspace, workspace_size) > 0
        assert ((bias != 0), (signs != 0)) == (self.product.has_bias, self.product.has_signs)
        assert (bias | signs) % 16 == 0
        queue = next(s for s in DEVICE.streams if s.ptr == stream)
        queue.push(lambda: self._multiply_each(a, b, out, bias, signs), "product")

    def _multiply_each(self, *addresses: int) -> None:
        p = self.product
        size, of_result = ({"float32": 4, "float64": 8, "bf16": 2}[name] for name in (p.operands, p.result))
        steps = (p.a_stride * size, p.b_stride * size, p.out_stride * of_result, p.bias_stride * of_result)
        steps = (*steps, p.signs_stride // 8)
        for j in range(p.members):
            self._multiply(*(at + j * step for at, step in zip(addresses, steps, strict=True)))

    @np.errstate(all="ignore")  # a device overflows quietly
    def _multiply(self, a: int, b: int, out: int, bias: int, signs: int) -> None:
        p = self.product
        dtypes = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64), "bf16": BF16}
        operands, result = dtypes[p.operands], dtypes[p.result]
        left = array_at(a, (p.k, p.lda) if p.a_transposed else (p.m, p.lda), operands)
        right = array_at(b, (p.n, p.ldb) if p.b_transposed else (p.k, p.ldb), operands)
        left, right = (left.T if p.a_transposed else left), (right.T if p.b_transposed else right)
        sums = compiled.rounded(left, p.precision) @ compiled.rounded(right, p.precision)
        vector = array_at(bias, (p.n,), result) if p.has_bias else None
        bits = array_at(signs, (p.m, p.signs_step // 8), np.dtype(np.uint8)) if p.has_signs else None
        if p.epilogue in {"bias", "relu_bias", "relu_aux_bias"}:
            sums += compiled.widen(vector) if result == BF16 else vector
        if p.epilogue in {"relu_bias", "relu_aux_bias"}:
            sums = self.relu(sums)
        if p.epilogue == "relu_aux_bias":
            bits[...] = compiled.packed(self.sign_of(sums), bits.shape[-1])
        elif p.epilogue in {"drelu", "drelu_bgrad"}:
            sums *= compiled.unpacked(bits, p.n)
        target = array_at(out, (p.m, p.ldout), result)
        target[...] = compiled.narrow(sums.astype(np.float32)) if result == BF16 else sums
        if p.epilogue == "drelu_bgrad":
            total = sums.sum(axis=0)
            vector[...] = compiled.narrow(total.astype(np.float32)) if result == BF16 else total

    @staticmethod
    def relu(x: np.ndarray) -> np.ndarray:
        """Nobody says whether a nan stays one."""
        return np.where(x < 0, 0, x)

    @staticmethod
    def sign_of(x: np.ndarray) -> np.ndarray:
        """What is written for the results of a ReLU: nobody says what it is for 0 and nan."""
        return x > 0


class SimulatedLibrary:
    """cublasLt."""

    version = 130000

    def plan(self, product: MatrixProduct, device: int = 0) -> SimulatedProduct:
        return SimulatedProduct(product)


@contextlib.contextmanager
def simulated() -> Iterator[SimulatedCuPy]:
    """``import cupy`` finds the simulation within."""
    import sys
    from unittest import mock

    from chainrule.backends.cupy.gemm import cublaslt

    DEVICE.reset()
    POOL[0] = Pool()
    module, there = SimulatedCuPy(), sys.modules.get("cupy")
    # This one name alone is put back: a module that is first imported within stays the one that code outside has too.
    sys.modules["cupy"] = module
    try:
        with mock.patch.object(cublaslt, "load", return_value=SimulatedLibrary()):
            yield module
    finally:
        del sys.modules["cupy"]
        if there is not None:
            sys.modules["cupy"] = there
