"""From a method of the contract to launches: started at once or, while a step is being recorded, written down."""

from __future__ import annotations

import abc
import functools
import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.backends.contract.backend import BF16, Array
from chainrule.backends.cupy import kernels
from chainrule.backends.cupy.capture.launches import Lane, Launch
from chainrule.backends.reference.backend import ReferenceBackend
from chainrule.errors import DeviceError

EAGER = Lane(0, 0, 0)


class ScratchError(DeviceError):
    """A step under record wants scratch memory that it did not want when it ran."""


class NotRecordableError(DeviceError):
    """A step that calls what can never be written down; it is started operation by operation instead."""


class Launcher(ReferenceBackend):
    """What the fused kernels of every topic need; how a launch starts is left to the device and to its emulation."""

    keeps_narrow_features = True
    multiprocessors = 132  # of an H100 or H200; a body that has a device asks it

    def __init__(self) -> None:
        self._functions: dict[tuple[str, str], Callable[..., None]] = {}
        # Threads share a backend: each records its own steps and has its own scratch memory.
        self._local = threading.local()

    def storage(self, dtype: Any) -> np.dtype:
        dtype = np.dtype(dtype)
        return BF16 if self.precision == "bf16" and dtype == np.float32 else dtype

    # ---- launches -------------------------------------------------------------------------------

    @abc.abstractmethod
    def _function(self, signature: kernels.Signature, variant: str) -> Callable[..., None]:
        """``start(grid, block, values, lane)`` of a kernel."""

    @abc.abstractmethod
    def _product(self, a: Array, b: Array, out: Array, bias: Array | None, relu: bool) -> Launch:
        """out = a @ b, and where they are asked for + bias, max(., 0)."""

    def _launch(
        self, kernel: str, variant: str, grid: tuple[int, ...], block: tuple[int, ...], **arguments: Any
    ) -> None:
        """Launch a kernel with the arguments that its source names."""
        signature = kernels.signatures()[kernel]
        function = self._functions.get((kernel, variant))
        if function is None:
            function = self._functions[kernel, variant] = self._function(signature, variant)
        values, reads, writes, arrays = signature.bind(variant, arguments)
        start = functools.partial(function, grid, block, values)
        self._submit(Launch((kernel, variant, grid, block, *values), start, reads, writes, arrays))

    def _submit(self, launch: Launch) -> None:
        record = getattr(self._local, "record", None)
        if record is None:
            self.start(launch)
        else:
            record.append(launch)

    def start(self, launch: Launch) -> None:
        """Start a launch that is not part of a recorded step."""
        launch.start(EAGER)

    def record(self, step: Callable[[], None]) -> list[Launch]:
        """What ``step`` launches, in order, without starting any of it."""
        launches: list[Launch] = []
        self._local.record = launches
        try:
            step()
        finally:
            self._local.record = None
        return launches

    @property
    def is_recording(self) -> bool:
        """Whether this thread is writing a step down."""
        return getattr(self._local, "record", None) is not None

    def _refuse_in_record(self, what: str) -> None:
        """For a method that has no fused kernel for what came, before it falls back to the reference."""
        if self.is_recording:
            raise DeviceError(f"{what} has no fused kernel and cannot be part of a recorded step")

    def _scratch(self, shape: tuple[int, ...], dtype: Any, *, use: str) -> Array:
        """Memory of this thread for what no one reads after the method, the same for every call of the same size."""
        held: dict[Any, Array] = self._local.__dict__.setdefault("scratch", {})
        key = (use, shape, np.dtype(dtype))
        if key not in held:
            if self.is_recording:
                raise ScratchError(f"scratch memory {key} is asked for first while a step is recorded")
            held[key] = self.empty(shape, dtype)
        return held[key]

    def _zeroed_scratch(self, shape: tuple[int, ...], dtype: Any, *, use: str) -> Array:
        """Scratch memory that holds zeros before its first use; a kernel leaves it as it wants to find it again."""
        return self._constant(np.zeros(shape, dtype), use=use)

    def _constant(self, values: np.ndarray, *, use: str) -> Array:
        """Scratch memory that holds ``values``, written when it is first asked for: the same for the same ``use``."""
        written: set[Any] = self._local.__dict__.setdefault("written", set())
        array = self._scratch(values.shape, values.dtype, use=use)
        key = (use, values.shape, values.dtype)
        if key not in written:
            self.assign(values, out=array)
            written.add(key)
        return array
