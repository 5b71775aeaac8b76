"""From an operation of the contract to launches: started at once or, while a step is being recorded, written down."""

from __future__ import annotations

import abc
import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.backends.capture.captured_step import ScratchError
from chainrule.backends.capture.dependencies import as_early_as_possible
from chainrule.backends.contract.backend import BF16, Array
from chainrule.backends.cupy import kernels
from chainrule.backends.cupy.capture.launches import Launch, StreamHandle
from chainrule.backends.cupy.gemm.matrix_product import Epilogue, ProductArrays
from chainrule.backends.cupy.gemm.relu_border import ReluBorder
from chainrule.backends.reference.backend import ReferenceBackend
from chainrule.errors import DeviceError

DEFAULT_STREAM = StreamHandle(0, 0, 0)


UNROLLED = 16  # steps per graph: a launch costs the host some 10 us, a step of a small net takes the device as long


class Launcher(ReferenceBackend):
    """What the fused operations of every topic call; how a launch starts is left to the device and to its emulation."""

    narrow_kinds = "biuf"
    runs_side_by_side = True
    runs_first = True  # kernels are compiled, products tuned, scratch memory is allocated
    multiprocessors = 132  # of an H100 or H200; an implementation that has a device asks it

    def __init__(self) -> None:
        # Of two threads that ask for a kernel for the first time both may load it: either is right, one is kept.
        self._kernels: dict[tuple[str, str], Callable[..., None]] = {}
        # Threads share a backend: each records its own steps and has its own scratch memory.
        self._local = threading.local()

    def storage(self, dtype: Any) -> np.dtype:
        dtype = np.dtype(dtype)
        return BF16 if self.precision == "bf16" and dtype == np.float32 else dtype

    # ---- what a device provides -----------------------------------------------------------------

    @abc.abstractmethod
    def load_kernel(self, signature: kernels.Signature, variant: str) -> Callable[..., None]:
        """``start(grid, block, values, stream)`` of a kernel."""

    @abc.abstractmethod
    def multiply(self, arrays: ProductArrays, epilogue: Epilogue = "none") -> None:
        """Launch out = epilogue(a @ b) of these arrays; epilogues as of :class:`MatrixProduct`."""

    def keeps_nan(self, arrays: ProductArrays, epilogue: Epilogue) -> bool:
        """Whether a nan is one behind the ReLU of this product; may write into its results."""
        return True

    def fuses_relu(self, border: ReluBorder) -> bool:
        """Whether the ReLU of a border of two dense layers is to be part of their products."""
        return False

    def sums_in_product(self, border: ReluBorder) -> bool:
        """Whether the bias gradient is then, too: db = sum_rows(out) in the epilogue of the product."""
        return False

    @abc.abstractmethod
    def instantiate(self, launches: Sequence[Launch]) -> Callable[[], None]:
        """A function that starts all of these launches, in an order that their memory allows."""

    def start(self, launch: Launch) -> None:
        """Start a launch that is not part of a recorded step."""
        launch.start(DEFAULT_STREAM)

    # ---- launches -------------------------------------------------------------------------------

    def launch(
        self, kernel: str, variant: str, grid: tuple[int, ...], block: tuple[int, ...], **arguments: Any
    ) -> None:
        """Launch a kernel with the arguments that its source names."""
        signature = kernels.signatures()[kernel]
        loaded = self._kernels.get((kernel, variant))
        if loaded is None:
            loaded = self._kernels[kernel, variant] = self.load_kernel(signature, variant)
        values, reads, writes, arrays = signature.bind(variant, arguments)
        start = functools.partial(loaded, grid, block, values)
        self.submit(Launch((kernel, variant, grid, block, *values), start, reads, writes, arrays))

    def submit(self, launch: Launch) -> None:
        """Start a launch or, while a step is being recorded, write it down."""
        record = getattr(self._local, "record", None)
        if record is None:
            self.start(launch)
        else:
            record.append(launch)

    # ---- recording ------------------------------------------------------------------------------

    def record(self, step: Callable[[], None], known: Sequence[Launch] = ()) -> list[Launch]:
        """What ``step`` launches, in order, without starting any of it."""
        launches: list[Launch] = []
        self._local.record = launches
        try:
            step()
        finally:
            self._local.record = None
        return launches

    def program(self, launches: Sequence[Launch], *twins: Sequence[Launch]) -> Callable[[int], None]:
        """``run(times)`` of these launches: as graphs of 16 steps, the twins in turn, and of one."""
        in_turn = [launches, *twins]
        graphs: dict[int, Callable[[], None]] = {}

        def run(times: int) -> None:
            for steps in (UNROLLED, 1):
                while times >= steps:
                    if steps not in graphs:
                        unrolled = [launch for i in range(steps) for launch in in_turn[i % len(in_turn)]]
                        # A batch that is fetched early is not to queue behind what is asked for before it.
                        graphs[steps] = self.instantiate(as_early_as_possible(unrolled) if twins else unrolled)
                    graphs[steps]()
                    times -= steps

        return run

    @property
    def is_recording(self) -> bool:
        """Whether this thread is recording a step."""
        return getattr(self._local, "record", None) is not None

    def refuse_in_record(self, what: str) -> None:
        """DeviceError if a step is being recorded: for operations that are not made of launches alone."""
        if self.is_recording:
            raise DeviceError(f"{what} has no fused kernel and cannot be part of a recorded step")

    # ---- scratch memory -------------------------------------------------------------------------

    def scratch(self, shape: tuple[int, ...], dtype: Any, *, use: str) -> Array:
        """Memory of this thread that no one reads after the operation, the same for every call of the same size."""
        held: dict[Any, Array] = self._local.__dict__.setdefault("scratch", {})
        key = (use, shape, np.dtype(dtype))
        if key not in held:
            if self.is_recording:
                raise ScratchError(f"scratch memory {key} is first asked for while a step is being recorded")
            held[key] = self.empty(shape, dtype)
        return held[key]

    def _scratch(self, shape: tuple[int, ...], dtype: Any, *, use: Any) -> Array:
        return self.scratch(shape, dtype, use=use)  # for the operations of the reference

    def zeroed_scratch(self, shape: tuple[int, ...], dtype: Any, *, use: str) -> Array:
        """Scratch memory that holds zeros before its first use; a kernel leaves it as it wants to find it again."""
        return self.constant(np.zeros(shape, dtype), use=use)

    def constant(self, values: np.ndarray, *, use: str) -> Array:
        """Scratch memory that holds ``values``, written when it is first asked for: the same for the same ``use``."""
        written: set[Any] = self._local.__dict__.setdefault("written", set())
        array = self.scratch(values.shape, values.dtype, use=use)
        key = (use, values.shape, values.dtype)
        if key not in written:
            self.assign(values, out=array)
            written.add(key)
        return array
