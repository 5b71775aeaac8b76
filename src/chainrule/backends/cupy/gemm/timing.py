"""How long a planned product takes on the device."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from chainrule.backends.contract.backend import BF16
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.gemm.launching import Plan, multiply
from chainrule.backends.cupy.gemm.matrix_product import Dtype, MatrixProduct, ProductArrays
from chainrule.backends.cupy.kernels import VARIANT_OF

RUNS: Final = 10  # per graph that is timed
DTYPE_OF: Final = {name: dtype for dtype, name in VARIANT_OF.items()}


def widened(values: np.ndarray) -> np.ndarray:
    """What was downloaded, BF16 as float32."""
    return (values.view(np.uint16).astype(np.uint32) << 16).view(np.float32) if values.dtype == BF16 else values


class _Held(threading.local):
    """What a thread multiplies: another, which has done with its product, must not free it."""

    product: MatrixProduct | None = None
    arrays: ProductArrays | None = None


class GemmTimer:
    """Seconds that a plan takes on the device, on random numbers: on zeros a GPU draws less power and runs faster.

    Several runs are captured in one graph, or the time of a small product would be that of its launch by the host.
    What other threads do on the device meanwhile counts too.
    """

    def __init__(self, backend: Launcher) -> None:
        self._backend = backend
        self._held = _Held()

    def __call__(self, plan: Plan) -> float:
        held = self._held
        arrays = held.arrays
        if arrays is None or plan.product != held.product:
            arrays = held.arrays = self._make(plan.product)
            held.product = plan.product
        return self.seconds(functools.partial(multiply, self._backend, plan.product, plan, arrays))

    def seconds(self, step: Callable[[], None]) -> float:
        """How long the launches of ``step`` take; what one run of it writes the next one writes too, so in turn."""
        backend, cuda = self._backend, self._backend.xp.cuda
        with backend.running():
            step()  # the first run loads kernels and makes scratch memory, which a capture refuses
            replay = backend.instantiate(backend.record(step) * RUNS)
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
        self._held.product, self._held.arrays = None, None

    def _make(self, product: MatrixProduct) -> ProductArrays:
        m, n, k = product.m, product.n, product.k
        signs = self._backend.empty((m * product.signs_step // 8,), np.uint8) if product.has_signs else None
        return ProductArrays(
            self.random((m * k,), product.operands),
            self.random((k * n,), product.operands),
            self.random((m * n,), product.result),
            self.random((n,), product.result) if product.has_bias else None,
            signs,
        )

    def random(self, shape: tuple[int, ...], name: Dtype) -> Any:
        """Numbers between -1 and 1."""
        backend, dtype = self._backend, DTYPE_OF[name]
        out = backend.empty(shape, dtype)
        with backend.running():
            drawn = out if dtype != BF16 else backend.empty(shape, np.float32)
            backend.uniform((1, 2), (3, 4, 5), low=-1.0, high=1.0, out=drawn)
            if drawn is not out:
                backend.copy(drawn, out=out)
        return out
