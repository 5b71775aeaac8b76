"""Functions of the user's own: array operations of CuPy, which no recorded step can hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.backends.contract.backend import BF16, Array
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.cupy.capture.launcher import Launcher, NotRecordableError
from chainrule.backends.reference.backend import ReferenceBackend


def apply(be: Launcher, function: Callable[..., Any], *arrays: Array, out: Array) -> None:
    if be.is_recording:
        raise NotRecordableError("a function of the user's own allocates memory and cannot be recorded as launches")
    wide = [_widened(be, array) for array in arrays]
    if out.dtype != BF16:
        ReferenceBackend.apply(be, function, *wide, out=out)
        return
    result = be.empty(out.shape, np.float32)
    ReferenceBackend.apply(be, function, *wide, out=result)
    be.copy(result, out=out)


def custom_loss(
    be: Launcher,
    batch: LossBatch,
    value: Callable[..., Array],
    gradient: Callable[..., Array],
    *,
    scale: float,
    mean: bool,
) -> None:
    dlogits = batch.dlogits
    wide = dlogits if dlogits.dtype != BF16 else be.empty(dlogits.shape, np.float32)
    ReferenceBackend.custom_loss(be, batch._replace(dlogits=wide), value, gradient, scale=scale, mean=mean)
    if wide is not dlogits:
        be.copy(wide, out=dlogits)


def _widened(be: Launcher, array: Array) -> Array:
    if array.dtype != BF16:
        return array
    wide = be.empty(array.shape, np.float32)
    be.copy(array, out=wide)
    return wide
