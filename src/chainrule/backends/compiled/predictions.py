"""From logits to predictions: loops, with NumPy's own exp between them."""

from __future__ import annotations

import numpy as np

from chainrule.backends.compiled import target_losses
from chainrule.backends.compiled.calls import call, call_ufunc, each_member, known_dtype
from chainrule.backends.compiled.fallback import with_fallback
from chainrule.backends.compiled.state import LOOPS, NotCompiledError
from chainrule.backends.contract.arrays import Array
from chainrule.backends.numpy.backend import NumPyBackend


@with_fallback
def softmax(self: NumPyBackend, logits: Array, *, out: Array) -> None:
    loops = LOOPS.predictions
    known_dtype(logits, out)
    for z, p in each_member((logits, 2), (out, 2)):
        call(LOOPS.losses.subtract_row_max, z, p)
        call_ufunc(np.exp, p, out=p)
        call(loops.divide_by_sum, p)


@with_fallback
def argmax(self: NumPyBackend, x: Array, *, out: Array) -> None:
    known_dtype(x)
    for of_x, of_out in each_member((x, 2), (out, 1)):
        call(LOOPS.predictions.argmax, of_x, of_out)


@with_fallback
def positive(self: NumPyBackend, x: Array, *, out: Array) -> None:
    known_dtype(x)
    if x.ndim < 2:
        raise NotCompiledError(f"arrays of {x.ndim} dimensions")
    for of_x, of_out in each_member((x, 2), (out, 2)):
        call(LOOPS.predictions.positive, of_x, of_out)


@with_fallback
def exp(self: NumPyBackend, x: Array, *, out: Array) -> None:
    known_dtype(x, out)
    call_ufunc(np.exp, x, out=out)


@with_fallback
def quantiles(self: NumPyBackend, logits: Array, *, count: int, out: Array) -> None:
    known_dtype(logits, out)
    for z, of_out in each_member((logits, 2), (out, 2)):
        log1p = self._scratch(z.shape, z.dtype, use="quantiles")
        target_losses.log1p_of_gaps(z, log1p)
        call(LOOPS.target_losses.increasing, z, log1p, count, of_out)


@with_fallback
def mean_and_variance(self: NumPyBackend, logits: Array, *, out: Array) -> None:
    loops = LOOPS.predictions
    known_dtype(logits, out)
    for z, of_out in each_member((logits, 2), (out, 2)):
        variance = self._scratch((len(z), z.shape[1] // 2), z.dtype, use="variance")
        call(loops.columns_from, z, variance.shape[1], variance)
        call_ufunc(np.exp, variance, out=variance)
        call(loops.mean_and, z, variance, of_out)
