"""As much of CuPy as the CUDA implementation uses, on a simulated device: its arrays are in host memory, its kernels
run as compiled for the CPU, its streams as in :mod:`emulation.streams`.

So the tests run the CUDA implementation itself: what it launches on which stream, what waits for what, what it
captures. It uses no name that is not here; names and signatures are those of CuPy 14.2.
"""

from __future__ import annotations

import contextlib
import ctypes
import types
from collections.abc import Iterator
from typing import Any

import numpy as np

from chainrule.backends.contract.backend import BF16
from chainrule.backends.cupy import kernels
from chainrule.backends.cupy.gemm.cublaslt import Algorithm
from chainrule.backends.cupy.gemm.matrix_product import MatrixProduct
from emulation import compiled
from emulation.streams import DEVICE, CudaError, Event, Stream

ALIGNMENT = 512  # bytes, of CuPy's memory pool
CAPACITY = 8 << 30  # bytes that the device claims to have


def settle() -> None:
    """What the host does with an array of the current stream comes after what is queued there."""
    DEVICE.current[-1].synchronize()


def later(work: Any) -> None:
    """Work of the array library in the current stream; there is none during a capture."""
    if DEVICE.is_capturing:
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


def empty(shape: Any, dtype: Any = np.float32) -> ndarray:
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    memory = alloc(size).memory
    memory[:] = 0xFF  # nan, or an index far out of range
    return memory.view(dtype).reshape(shape).view(ndarray)


def alloc(size: int) -> Any:
    """Memory of the pool; a hook that is active hears of it first."""
    for hook in MemoryHook.active:
        hook.malloc_preprocess(device_id=0, size=size, mem_size=size)
    if DEVICE.is_capturing:
        raise CudaError("cudaErrorStreamCaptureUnsupported: cudaMalloc")
    if size > CAPACITY:
        raise OutOfMemoryError(size, 0)
    raw = np.empty(size + ALIGNMENT, np.uint8)
    DEVICE.keep.append(raw)  # a launch that is queued knows an address, not an array
    start = -raw.ctypes.data % ALIGNMENT
    memory = raw[start : start + size]
    return types.SimpleNamespace(memory=memory, ptr=memory.ctypes.data)


class MemoryHook:
    """Told of every allocation while it is entered."""

    active: list[MemoryHook] = []  # noqa: RUF012 - the hooks of this thread

    def __enter__(self) -> MemoryHook:
        self.active.append(self)
        return self

    def __exit__(self, *_: Any) -> None:
        self.active.remove(self)

    def malloc_preprocess(self, **facts: Any) -> None:
        pass


class OutOfMemoryError(MemoryError):
    def __init__(self, size: int, total: int) -> None:
        super().__init__(f"Out of memory allocating {size:,} bytes")
        self._size = size


def asarray(values: Any, dtype: Any = None, order: str | None = None) -> ndarray:
    if isinstance(values, ndarray):
        if values.flags.c_contiguous and (dtype is None or values.dtype == np.dtype(dtype)):
            return values
        settle()
        out = empty(values.shape, dtype or values.dtype)
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


class _Pool:
    def free_bytes(self) -> int:
        return 0

    get_limit = used_bytes = free_bytes  # a limit of 0 is none


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
            memGetInfo=lambda: (CAPACITY, CAPACITY),
            streamCaptureModeThreadLocal=1,
            CUDARuntimeError=CudaError,
        )
        self.cuda = types.SimpleNamespace(
            Device=_Device,
            Stream=Stream,
            Event=Event,
            MemoryHook=MemoryHook,
            alloc=alloc,
            runtime=runtime,
            alloc_pinned_memory=bytearray,
            get_current_stream=lambda: DEVICE.current[-1],
            get_elapsed_time=_elapsed,
            memory=types.SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
        )
        self.__version__ = "14.2.0"
        self.ndarray, self.empty, self.asarray, self.asnumpy = ndarray, empty, asarray, asnumpy
        self.RawModule = RawModule
        self.get_default_memory_pool = _Pool

    def __getattr__(self, name: str) -> Any:
        found = getattr(np, name)
        return found if isinstance(found, type) else _OnDevice(found)


# ---- cublasLt -------------------------------------------------------------------------------------


def array_at(address: int, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """The memory at an address."""
    size = int(np.prod(shape)) * dtype.itemsize
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
        return Algorithm(opaque, 0)

    def use(self, algorithm: Algorithm) -> None:
        self.algorithm = algorithm

    def run(
        self, a: int, b: int, out: int, bias: int = 0, *, stream: int, workspace: int = 0, workspace_size: int = 0
    ) -> None:
        assert self.algorithm is not None
        assert min(workspace, workspace_size) > 0
        queue = next(s for s in DEVICE.streams if s.ptr == stream)
        queue.push(lambda: self._multiply_each(a, b, out, bias), "product")

    def _multiply_each(self, a: int, b: int, out: int, bias: int) -> None:
        p = self.product
        size, of_result = ({"float32": 4, "float64": 8, "bf16": 2}[name] for name in (p.operands, p.result))
        steps = (p.a_stride * size, p.b_stride * size, p.out_stride * of_result, p.bias_stride * of_result)
        for j in range(p.members):
            self._multiply(*(at + j * step for at, step in zip((a, b, out, bias), steps, strict=True)))

    @np.errstate(all="ignore")  # a device overflows quietly
    def _multiply(self, a: int, b: int, out: int, bias: int) -> None:
        p = self.product
        dtypes = {"float32": np.dtype(np.float32), "float64": np.dtype(np.float64), "bf16": BF16}
        operands, result = dtypes[p.operands], dtypes[p.result]
        left = array_at(a, (p.k, p.lda) if p.a_transposed else (p.m, p.lda), operands)
        right = array_at(b, (p.n, p.ldb) if p.b_transposed else (p.k, p.ldb), operands)
        left, right = (left.T if p.a_transposed else left), (right.T if p.b_transposed else right)
        sums = compiled.rounded(left, p.precision) @ compiled.rounded(right, p.precision)
        if p.epilogue != "none":
            addend = array_at(bias, (p.n,), result)
            sums += compiled.widen(addend) if result == BF16 else addend
        if p.epilogue == "relu_bias":
            sums = np.where(sums < 0, 0, sums)
        target = array_at(out, (p.m, p.ldout), result)
        target[...] = compiled.narrow(sums.astype(np.float32)) if result == BF16 else sums


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
