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
from chainrule.backends.capture.memory import span
from chainrule.backends.contract.backend import BF16, Array, ReplayStep
from chainrule.backends.cupy import kernels
from chainrule.backends.cupy.capture.launcher import DEFAULT_STREAM
from chainrule.backends.cupy.capture.launches import Launch, StreamHandle
from chainrule.backends.cupy.fused import FusedBackend
from chainrule.backends.cupy.gemm.matrix_product import Epilogue, ProductArrays
from chainrule.backends.cupy.gemm.relu_border import ReluBorder
from chainrule.backends.numpy.backend import NumPyBackend
from emulation.compiled import compiler_problem, each_product, kernel, narrow, packed, rounded, unpacked, widen

__all__ = ["EmulatedBackend", "compiler_problem", "narrow", "widen"]


class EmulatedBackend(FusedBackend):
    """The CUDA implementation without a device."""

    name = "emulated"
    device = "cpu"
    xp = np
    fuses_borders = False  # a device times it

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

    def multiply(self, arrays: ProductArrays, epilogue: Epilogue = "none") -> None:
        a, b, out, bias, signs = arrays

        def start(stream: StreamHandle) -> None:
            result = each_product(rounded(a, self.precision), rounded(b, self.precision))
            if epilogue in {"bias", "relu_bias", "relu_aux_bias"}:
                result += (widen(bias) if bias.dtype == BF16 else bias)[..., None, :]
            if epilogue in {"relu_bias", "relu_aux_bias"}:
                result = np.where(result < 0, 0, result)
            elif epilogue in {"drelu", "drelu_bgrad"}:
                result = result * unpacked(signs, out.shape[-1])
            out[...] = narrow(result.astype(np.float32)) if out.dtype == BF16 else result
            if epilogue == "relu_aux_bias":
                signs[...] = packed(result > 0, signs.shape[-1])
            elif epilogue == "drelu_bgrad":
                bias[...] = result.sum(axis=-2)

        key = ("product", *(span(x) for x in arrays.present), a.strides, b.strides, epilogue)
        self.submit(Launch(key, start, *arrays.spans(epilogue), arrays.present))

    def fuses_relu(self, border: ReluBorder) -> bool:
        return self.fuses_borders

    def sums_in_product(self, border: ReluBorder) -> bool:
        return self.fuses_borders and border.real == border.stored

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
