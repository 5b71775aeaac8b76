"""Whether a ReLU between two dense layers is part of their products: timed once, then remembered, like algorithms.

Forward the product of the lower layer then also writes a bit for each y > 0 (RELU_AUX_BIAS), and backward the product
of the upper one multiplies by it (DRELU): what is saved is a kernel that reads and writes the gradient and reads y. The
bias gradient, which that kernel computes too, is then a sum over rows of its own, or part of the product as well
(DRELU_BGRAD), which writes it in the dtype of the gradient.

NVIDIA's documentation says neither which bit there is for y = 0 and for a nan, nor how fast any of this is. So the
device is asked both. What does not give the gradient of the contract at y = 0 is not taken, however fast.
"""

from __future__ import annotations

import functools
import statistics
import threading
from collections.abc import Callable
from typing import Any, Final

import numpy as np

from chainrule.backends.capture.captured_step import ScratchError
from chainrule.backends.contract.backend import Array
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.gemm.autotune import GAIN, ROUNDS, GemmAutotuner
from chainrule.backends.cupy.gemm.matrix_product import Dtype, ProductArrays
from chainrule.backends.cupy.gemm.relu_border import ReluBorder, signs_bytes
from chainrule.backends.cupy.gemm.timing import DTYPE_OF, GemmTimer, widened
from chainrule.environment import switch
from chainrule.errors import DeviceError, OutOfMemoryError

EDGES: Final = (-1.0, 0.0, 1.0, np.nan)  # of z in the first row: what a ReLU and its derivative have to get right
ANSWERS: Final = {"fused": True, "apart": False}  # as they are on file


class _Trial:
    """Arrays of a border, filled with random numbers, and the ways to compute it."""

    def __init__(
        self, backend: Launcher, random: Callable[[tuple[int, ...], Dtype], Array], border: ReluBorder
    ) -> None:
        self._backend, self._border = backend, border
        rows, n_in, width, n_out, stored, real, _ = border
        self.signs = backend.empty((rows, signs_bytes(width)), np.uint8)
        self._dz, self._V = random((rows, n_out), stored), random((width, n_out), stored)
        self._y, self.out = (backend.empty((rows, width), DTYPE_OF[stored]) for _ in range(2))
        self._db = backend.empty((width,), DTYPE_OF[real])
        if n_in:
            self._x, self._W, self._b = (random(shape, stored) for shape in ((rows, n_in), (n_in, width), (width,)))
            with backend.running():
                backend.fill(0.0, out=self._x[:1])
                for place, value in enumerate(EDGES[:width]):
                    backend.fill(value, out=self._b[place : place + 1])

    def across(self, signs: Array | None) -> None:
        """Forward and back, with these signs or without any."""
        be = self._backend
        be.dense(self._x, self._W, self._b, "relu", z=self._y, y=self._y, signs=signs)
        be.matmul_activation_backward(self._dz, self._V, "relu", self._y, out=self.out, db=self._db, signs=signs)

    def sums_apart(self) -> None:
        """Back, the sum over rows after the product."""
        self._backend.multiply(ProductArrays(self._dz, self._V.T, self.out, None, self.signs), "drelu")
        self._backend.activation_backward("identity", self.out, self.out, dz=self.out, db=self._db)

    def sums_within(self) -> None:
        """Back, the sum over rows in the product's epilogue."""
        self._backend.multiply(ProductArrays(self._dz, self._V.T, self.out, self._db, self.signs), "drelu_bgrad")

    def zeros_of_first_row(self) -> np.ndarray:
        """Where the gradient of the first row is 0."""
        return np.asarray(widened(self._backend.download(self.out[:1])) == 0)


class BorderTuner:
    """What was chosen for each border of one device.

    Parameters
    ----------
    backend : whose operations are timed
    autotuner : whose file and key are used
    timer : how long the launches of a step take
    """

    def __init__(self, backend: Launcher, autotuner: GemmAutotuner, timer: GemmTimer) -> None:
        self._backend, self._autotuner, self._timer = backend, autotuner, timer
        self._chosen: dict[ReluBorder, bool] = {}
        self._lock = threading.RLock()  # to time a border is to ask for its way back

    def fuses(self, border: ReluBorder) -> bool:
        """Whether the ReLU is part of the products."""
        return self._choose(border, self._is_better_with_signs)

    def sums_in_product(self, border: ReluBorder) -> bool:
        """Whether the bias gradient is, too."""
        return border.real == border.stored and self._choose(border.backward, self._is_better_within)

    def _choose(self, border: ReluBorder, ask: Callable[[_Trial], bool]) -> bool:
        if switch("CHAINRULE_TUNE") == "0":
            return False
        with self._lock:
            if border not in self._chosen:
                if self._backend.is_recording:
                    raise ScratchError(f"{border} is first asked for while a step is being recorded")
                self._chosen[border] = self._on_file(border, ask)
            return self._chosen[border]

    def _on_file(self, border: ReluBorder, ask: Callable[[_Trial], bool]) -> bool:
        file, key = self._autotuner.file, self._autotuner.key(str(border))
        known = ANSWERS.get(file.get(key) or "")
        if known is not None:
            return known
        try:
            answer = ask(_Trial(self._backend, self._timer.random, border))
        except OutOfMemoryError:
            return False  # there may be room another time
        except DeviceError:  # cublasLt has no algorithm for it
            answer = False
        meanwhile = ANSWERS.get(file.get(key) or "")  # another process may have been first
        if meanwhile is not None:
            return meanwhile
        file.put(key, next(text for text, value in ANSWERS.items() if value == answer))
        return answer

    def _is_better_with_signs(self, trial: _Trial) -> bool:
        apart, fused = functools.partial(trial.across, None), functools.partial(trial.across, trial.signs)
        zeros: list[Any] = []
        with self._backend.running():
            for step in (apart, fused):
                step()
                zeros.append(trial.zeros_of_first_row())
        return bool((zeros[0] == zeros[1]).all()) and self._is_faster(apart, fused)

    def _is_better_within(self, trial: _Trial) -> bool:
        return self._is_faster(trial.sums_apart, trial.sums_within)

    def _is_faster(self, apart: Callable[[], None], fused: Callable[[], None]) -> bool:
        """Whether the second is, by more than times differ by themselves."""
        times: list[list[float]] = [[], []]
        for _ in range(1 + ROUNDS):
            for step, seconds in zip((apart, fused), times, strict=True):
                seconds.append(self._timer.seconds(step))
        slow, quick = (statistics.median(seconds[1:]) for seconds in times)
        return quick <= (1 - GAIN) * slow
