"""The CUDA implementation on the CPU: the very sources of its kernels, compiled by g++ and run thread by thread.

Everything but the launch is the CUDA implementation's own: arguments, grids, scratch memory, the order of the work.
NumPy arrays stand in for CuPy's, and NumPy multiplies matrices, rounding the factors as the device would.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.backends.capture.captured_step import CapturedStep
from chainrule.backends.capture.dependencies import dependencies
from chainrule.backends.capture.memory import span, spans
from chainrule.backends.contract.backend import BF16, Array, ReplayStep
from chainrule.backends.cupy import kernels
from chainrule.backends.cupy.capture.launcher import DEFAULT_STREAM
from chainrule.backends.cupy.capture.launches import Launch, StreamHandle
from chainrule.backends.cupy.fused import FusedBackend
from chainrule.backends.numpy.backend import NumPyBackend
from emulation.compiled import compiler_problem, each_product, kernel, narrow, rounded, widen

__all__ = ["EmulatedBackend", "compiler_problem", "narrow", "widen"]


class EmulatedBackend(FusedBackend):
    """The CUDA implementation without a device."""

    name = "emulated"
    device = "cpu"
    alternates = True
    xp = np

    def __init__(self, precision: str = "fp32", sanitizer: str = "none") -> None:
        super().__init__()
        self.precision = precision
        self.sanitizer = sanitizer
        self._host = NumPyBackend()
        self._dice = random.Random(20261123)

    def __repr__(self) -> str:
        return f"<chainrule backend emulated, {self.precision}>"

    def empty(self, shape: tuple[int, ...], dtype: Any) -> Array:
        return self._host.empty(shape, dtype)

    def upload(self, values: Any, dtype: Any = None) -> Array:
        return self._host.upload(values, dtype)

    def assign(self, values: Any, *, out: Array) -> None:
        out[...] = values

    def download(self, array: Array) -> np.ndarray:
        return np.array(array)

    def running(self) -> contextlib.AbstractContextManager[None]:
        return self._host.running()

    def synchronize(self) -> None:
        pass

    def load_kernel(self, signature: kernels.Signature, variant: str) -> Any:
        run = kernel(signature.source, signature.kernel, variant, self.sanitizer)

        def start(grid: tuple[int, ...], block: tuple[int, ...], values: tuple[Any, ...], stream: StreamHandle) -> None:
            run(grid, block, values)

        return start

    def gemm(self, a: Array, b: Array, out: Array, bias: Array | None, relu: bool) -> Launch:
        def start(stream: StreamHandle) -> None:
            result = each_product(rounded(a, self.precision), rounded(b, self.precision))
            if bias is not None:
                result += (widen(bias) if bias.dtype == BF16 else bias)[..., None, :]
            if relu:
                result = np.where(result < 0, 0, result)
            out[...] = narrow(result.astype(np.float32)) if out.dtype == BF16 else result

        reads = spans(a) + spans(b) + (() if bias is None else spans(bias))
        key = ("product", *(span(x) for x in (a, b, out)), a.strides, b.strides, relu, bias is not None)
        return Launch(key, start, reads, spans(out), (a, b, out))

    def capture(self, step: Callable[[], None], *twins: Callable[[], None]) -> ReplayStep:
        return CapturedStep(step, self, twins).replay

    def instantiate(self, launches: Sequence[Launch]) -> Callable[[], None]:
        """All launches in an order that their memory allows, a different one each time: a device may choose any."""
        waits = dependencies(launches)

        def start() -> None:
            left = dict(enumerate(waits))
            done: set[int] = set()
            while left:
                ready = [number for number, needed in left.items() if done.issuperset(needed)]
                number = self._dice.choice(ready)
                launches[number].start(DEFAULT_STREAM)
                done.add(number)
                del left[number]

        return start
