"""How much memory of a device is free, and errors that say how much was missing."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Final

from chainrule.errors import OutOfMemoryError

# cudaErrorMemoryAllocation of the runtime (graphs, streams, events), CUDA_ERROR_OUT_OF_MEMORY of the driver (kernels,
# and the modules that they are loaded from). CuPy's pool makes an error of its own from it, for arrays alone.
OUT_OF_MEMORY: Final = 2


def free_memory(cupy: Any) -> int:
    """Bytes that CuPy could still hand out on the current device.

    What the driver has free and what lies unused in CuPy's pool, as far as CUPY_GPU_MEMORY_LIMIT allows.
    """
    pool = cupy.get_default_memory_pool()
    free = int(cupy.cuda.runtime.memGetInfo()[0]) + int(pool.free_bytes())
    limit = int(pool.get_limit())
    return min(free, max(0, limit - int(pool.used_bytes()))) if limit else free


def is_out_of_memory(cupy: Any, error: BaseException) -> bool:
    """Whether an error of CuPy's says that memory of the device ran out, whatever it was wanted for."""
    cuda = cupy.cuda
    if isinstance(error, cuda.runtime.CUDARuntimeError | cuda.driver.CUDADriverError):
        return bool(error.status == OUT_OF_MEMORY)
    return isinstance(error, cuda.memory.OutOfMemoryError)


class OutOfMemoryReported:
    """``with`` it, an OutOfMemoryError of the project stands in for CuPy's and CUDA's, and says what is free."""

    def __init__(self, cupy: Any, device: str) -> None:
        self._cupy, self._device = cupy, device

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, traceback: TracebackType | None) -> None:
        if error is not None and is_out_of_memory(self._cupy, error):
            needed = getattr(error, "_size", None)
            raise OutOfMemoryError(self._device, needed=needed, free=free_memory(self._cupy)) from error
