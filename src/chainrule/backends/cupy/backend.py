"""The CUDA implementation: fused kernels, planned products and captured steps on one device, through CuPy.

All work goes to a stream of this backend's own, in order. Within :meth:`CuPyBackend.running` that stream waits for what
the caller's current stream held before, and the caller's stream for what was asked for within.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from chainrule.backends.capture.captured_step import CapturedStep
from chainrule.backends.contract.backend import Array, ReplayStep
from chainrule.backends.contract.transfers import Transfer
from chainrule.backends.cupy import kernels
from chainrule.backends.cupy.capture.launches import Launch, StreamHandle
from chainrule.backends.cupy.capture.streams import WORKSPACE_SIZE, Streams
from chainrule.backends.cupy.fused import FusedBackend
from chainrule.backends.cupy.gemm.gemm import Gemm
from chainrule.backends.cupy.gemm.matrix_product import Epilogue, ProductArrays
from chainrule.backends.cupy.gemm.relu_border import ReluBorder
from chainrule.backends.cupy.memory import OutOfMemoryReported, free_memory
from chainrule.backends.cupy.transfers import Transfers
from chainrule.backends.numpy.memory import as_host_array
from chainrule.environment import switch
from chainrule.errors import DataError, DeviceError

LARGEST_ITEM = 16  # bytes, of complex128; long double does not exist on a GPU
CUDA_DEVICES = (2, 13)  # kDLCUDA and kDLCUDAManaged of DLPack


class CuPyBackend(FusedBackend):
    """CuPy on one CUDA device.

    Parameters
    ----------
    index : of the device
    precision : "fp32", "tf32" or "bf16": how float32 products are computed

    ``CHAINRULE_GRAPHS=0`` starts every launch by itself instead of capturing steps.
    """

    name = "cupy"

    def __init__(self, index: int = 0, *, precision: str = "fp32") -> None:
        import cupy

        super().__init__()
        if os.environ.get("CUPY_TF32", "0") not in {"", "0"}:
            raise DeviceError("CUPY_TF32 is set, so float32 products would silently be TF32", hint="unset CUPY_TF32")
        self.xp = cupy
        self.index = index
        self.device = f"cuda:{index}"
        self.precision = precision
        self._modules: dict[tuple[str, str], Any] = {}
        self._compiling = threading.RLock()  # one compiles, the others wait: NVRTC takes them one by one anyway
        self._out_of_memory = OutOfMemoryReported(cupy, self.device)
        with cupy.cuda.Device(index), self._out_of_memory:
            facts = cupy.cuda.runtime.getDeviceProperties(index)
            self.multiprocessors = int(facts["multiProcessorCount"])
            self._streams = Streams(cupy)
            self._transfers = Transfers(cupy, self._streams.main)
            self.card = facts["name"].decode()
            # A cycle would leave streams, graphs and arrays to the collector, which destroys them when it likes.
            self._gemm = Gemm(weakref.proxy(self), device=index, card=self.card, workspace_size=WORKSPACE_SIZE)

    def __repr__(self) -> str:
        return f"<chainrule backend {self.name} on {self.device}, {self.precision}>"

    def fingerprint(self) -> dict[str, str | int]:
        return {**super().fingerprint(), "card": self.card, "cupy": self.xp.__version__}

    def __reduce__(self) -> tuple[Any, ...]:
        return _restored, (self.index, self.precision)  # streams and modules cannot be pickled

    def __deepcopy__(self, memo: Any) -> CuPyBackend:
        return self  # a device, not a value

    # ---- execution --------------------------------------------------------------------------------

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        cuda, own = self.xp.cuda, self._streams.main
        with cuda.Device(self.index), self._out_of_memory:
            outer = cuda.get_current_stream()
            if outer == own:
                yield
                return
            own.wait_event(outer.record(cuda.Event(disable_timing=True)))
            try:
                with own:
                    yield
            finally:
                outer.wait_event(own.record(cuda.Event(disable_timing=True)))

    def synchronize(self) -> None:
        with self.running():
            self._streams.main.synchronize()

    @property
    def runs_side_by_side(self) -> bool:  # type: ignore[override]
        return switch("CHAINRULE_GRAPHS") != "0" and self._gemm.can_be_captured  # else all is in one stream

    def capture(self, step: Callable[[], None], *twins: Callable[[], None]) -> ReplayStep:
        if not self.runs_side_by_side:
            return super().capture(step)
        captured = CapturedStep(step, self, twins)

        def replay(times: int, *, unchanged: bool = False) -> None:
            with self.running():
                captured.replay(times, unchanged=unchanged)

        return replay

    def instantiate(self, launches: Sequence[Launch]) -> Callable[[], None]:
        """A CUDA graph of these launches: a function that puts it in this backend's stream."""
        with self.running():
            return self._streams.instantiate(launches)

    def start(self, launch: Launch) -> None:
        with self.running():
            launch.start(self._streams.main_handle)

    def load_kernel(self, signature: kernels.Signature, variant: str) -> Callable[..., None]:
        with self._compiling:
            module = self._modules.get((signature.source, variant))
            if module is None:
                text = kernels.source_text(signature.source)
                module = self.xp.RawModule(code=text, options=kernels.options(variant))
                self._modules[signature.source, variant] = module
            kernel = module.get_function(signature.kernel)

        def start(grid: tuple[int, ...], block: tuple[int, ...], values: tuple[Any, ...], stream: StreamHandle) -> None:
            kernel(grid, block, values)

        return start

    def multiply(self, arrays: ProductArrays, epilogue: Epilogue = "none") -> None:
        self._gemm.multiply(arrays, epilogue)

    def keeps_nan(self, arrays: ProductArrays, epilogue: Epilogue) -> bool:
        return self._gemm.keeps_nan(arrays, epilogue)

    def fuses_relu(self, border: ReluBorder) -> bool:
        return self._gemm.borders is not None and self._gemm.borders.fuses(border)

    def sums_in_product(self, border: ReluBorder) -> bool:
        return self._gemm.borders is not None and self._gemm.borders.sums_in_product(border)

    # ---- memory -----------------------------------------------------------------------------------

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        with self.running():
            return self.xp.empty(shape, dtype)  # CuPy's pool aligns to 512 bytes

    def upload(self, values: Any, dtype: Any = None) -> Array:
        xp = self.xp
        with self.running():
            array = self._from_device(values)
            if array is None:
                host = as_host_array(values)
                if host.dtype.kind not in "biufc" or host.dtype.itemsize > LARGEST_ITEM:
                    raise DataError(f"an array of dtype {host.dtype} cannot live on a GPU")
                array = xp.asarray(host)
            if array.device.id != self.index:
                raise DeviceError(
                    f"the array lives on cuda:{array.device.id} and the net on {self.device}",
                    hint="copy it across first",
                )
            return xp.asarray(array, dtype=dtype, order="C")

    def _from_device(self, values: Any) -> Array | None:
        """An array that lies on a GPU already, of whichever library, without a copy; None for all else."""
        if isinstance(values, self.xp.ndarray) or hasattr(values, "__cuda_array_interface__"):
            return self.xp.asarray(values)
        return self.xp.from_dlpack(values) if _speaks_dlpack_from_cuda(values) else None

    def returned(self, array: Array, *, like: Any) -> Any:
        if isinstance(like, self.xp.ndarray):
            return array
        module = _dlpack_module(like)
        if _speaks_dlpack_from_cuda(like) and module is not None:
            with self.running():
                self._streams.main.synchronize()  # the other library's streams do not wait for ours
                return module.from_dlpack(array)
        return self.download(array)

    def assign(self, values: Any, *, out: Array) -> None:
        host = np.ascontiguousarray(values, dtype=out.dtype).reshape(out.shape)
        # Parameters of members lie apart; `set` knows no memory with gaps.
        parts = [(host, out)] if out.flags.c_contiguous else zip(host, out, strict=True)
        with self.running():
            for of_host, of_device in parts:
                of_device.set(of_host, stream=self._streams.main)
            self._streams.main.synchronize()  # the copy reads the host's array, which the caller may free after this

    def download(self, array: Array) -> np.ndarray:
        with self.running():
            host: np.ndarray = self.xp.asnumpy(array)
            return host

    def download_all(self, arrays: Sequence[Array]) -> list[np.ndarray]:
        with self.running():
            return self._transfers.download(arrays)

    def free_memory(self) -> int:
        with self.running():
            return free_memory(self.xp)

    def host_buffer(self, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
        return self._transfers.host_buffer(shape, dtype)

    def send(self, host: np.ndarray, *, out: Array) -> Transfer:
        with self.running():
            return self._transfers.send(host, out)


def _restored(index: int, precision: str) -> CuPyBackend:
    return CuPyBackend(index, precision=precision)


def _speaks_dlpack_from_cuda(values: Any) -> bool:
    device = getattr(values, "__dlpack_device__", None)
    return device is not None and device()[0] in CUDA_DEVICES


def _dlpack_module(array: Any) -> Any:
    """The module whose ``from_dlpack`` makes arrays of this type, or None."""
    namespace = getattr(array, "__array_namespace__", None)
    module = namespace() if namespace is not None else sys.modules.get(type(array).__module__.partition(".")[0])
    return module if hasattr(module, "from_dlpack") else None
