"""Functions of the user's own: array operations of CuPy, which no recorded step can hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.backends.capture.captured_step import NotRecordableError
from chainrule.backends.contract.backend import BF16, Array
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.reference.backend import ReferenceBackend


def apply(self: Launcher, function: Callable[..., Any], *arrays: Array, out: Array) -> None:
    if self.is_recording:
        raise NotRecordableError("a function of the user's own allocates memory and cannot be recorded as launches")
    wide = [_widened(self, array) for array in arrays]
    if out.dtype != BF16:
        ReferenceBackend.apply(self, function, *wide, out=out)
        return
    result = self.empty(out.shape, np.float32)
    ReferenceBackend.apply(self, function, *wide, out=result)
    self.copy(result, out=out)


def custom_loss(
    self: Launcher,
    batch: LossBatch,
    value: Callable[..., Array],
    gradient: Callable[..., Array],
    *,
    scale: float,
    mean: bool,
) -> None:
    dlogits = batch.dlogits
    wide = dlogits if dlogits.dtype != BF16 else self.empty(dlogits.shape, np.float32)
    ReferenceBackend.custom_loss(self, batch._replace(dlogits=wide), value, gradient, scale=scale, mean=mean)
    if wide is not dlogits:
        self.copy(wide, out=dlogits)


def _widened(self: Launcher, array: Array) -> Array:
    if array.dtype != BF16:
        return array
    wide = self.empty(array.shape, np.float32)
    self.copy(array, out=wide)
    return wide
