"""How long a planned product takes on the device."""

from __future__ import annotations

import functools
import threading
from typing import Any, Final

import numpy as np

from chainrule.backends.capture.memory import address
from chainrule.backends.contract.backend import BF16, Array
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.capture.launches import Launch, StreamHandle
from chainrule.backends.cupy.gemm.cublaslt import PlannedProduct
from chainrule.backends.cupy.gemm.matrix_product import MatrixProduct
from chainrule.backends.cupy.kernels import VARIANT_OF

RUNS: Final = 10  # per graph that is timed


def run(plan: PlannedProduct, addresses: tuple[int, ...], stream: StreamHandle) -> None:
    """Queue a planned product, with the stream's workspace."""
    plan.run(*addresses, stream=stream.stream, workspace=stream.workspace, workspace_size=stream.workspace_size)


class _Held(threading.local):
    """What a thread multiplies: another, which has done with its product, must not free it."""

    product: MatrixProduct | None = None
    arrays: tuple[Array, ...] = ()


class GemmTimer:
    """Seconds that a plan takes on the device, on random numbers: on zeros a GPU draws less power and runs faster.

    Several runs are captured in one graph, or the time of a small product would be that of its launch by the host.
    What other threads do on the device meanwhile counts too.
    """

    def __init__(self, backend: Launcher) -> None:
        self._backend = backend
        self._held = _Held()

    def __call__(self, plan: PlannedProduct) -> float:
        backend, cuda = self._backend, self._backend.xp.cuda
        held = self._held
        if plan.product != held.product:
            held.arrays = self._make(plan.product)
            held.product = plan.product
        arrays = held.arrays
        addresses = [address(array) for array in arrays]
        addresses += [0] * (4 - len(addresses))

        start = functools.partial(run, plan, tuple(addresses))
        one = Launch(("product",), start, (), ((0, 1),), arrays)  # all write one place, so they run in turn
        with backend.running():
            backend.start(one)  # the first run of an algorithm loads its kernel, which a capture refuses
            replay = backend.instantiate([one] * RUNS)
            stream = cuda.get_current_stream()
            begin, end = cuda.Event(), cuda.Event()
            replay()
            begin.record(stream)
            replay()
            end.record(stream)
            end.synchronize()
        return float(cuda.get_elapsed_time(begin, end)) / 1e3 / RUNS

    def release(self) -> None:
        """Free the arrays of the last product that this thread timed: they may be as large as a batch's."""
        self._held.product, self._held.arrays = None, ()

    def _make(self, product: MatrixProduct) -> tuple[Array, ...]:
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
