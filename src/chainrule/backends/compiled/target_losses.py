"""Losses whose targets are numbers: ufuncs of NumPy and loops, each a pass over all elements."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np

from chainrule.backends.compiled.calls import call, call_ufunc, number, numbers_of
from chainrule.backends.compiled.fallback import with_fallback
from chainrule.backends.compiled.losses import finish, known_arrays, members_of
from chainrule.backends.compiled.state import LOOPS, NotCompiledError
from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.contract.target_losses import ElementwiseLossName
from chainrule.backends.numpy.backend import NumPyBackend


@with_fallback
def elementwise_loss(
    self: NumPyBackend,
    batch: LossBatch,
    kind: ElementwiseLossName,
    *,
    parameter: float = 0.0,
    scale: float,
    mean: bool,
) -> None:
    if kind not in ELEMENTWISE:
        raise NotCompiledError(kind)
    known_arrays(batch)
    value_and_gradient, factor = ELEMENTWISE[kind]
    for of_member in members_of(batch):
        logits = of_member.logits
        loss = self._scratch(logits.shape, logits.dtype, use="loss of elements")
        value_and_gradient(logits, of_member.targets, number(parameter, logits.dtype), loss, of_member.dlogits)
        finish(self, of_member, sums_of_rows(self, loss), scale=scale, mean=mean, factor=factor)


@with_fallback
def quantile_loss(self: NumPyBackend, batch: LossBatch, *, levels: tuple[float, ...], scale: float, mean: bool) -> None:
    loops, count = LOOPS.target_losses, len(levels)
    known_arrays(batch)
    for of_member in members_of(batch):
        z, t, gradient = of_member.logits, of_member.targets, of_member.dlogits
        q, slope, e = (self._scratch(z.shape, z.dtype, use=use) for use in ("quantiles", "slope", "exponential"))
        of_targets = self._scratch(t.shape, z.dtype, use="loss of elements")
        log1p_of_gaps(z, q)
        call(loops.increasing, z, q, count, q)
        call(loops.pinball, q, t, numbers_of(tuple(levels), z.dtype), slope)
        call(loops.sums_of_groups, q, count, of_targets)
        call_ufunc(np.negative, z, out=e)
        call_ufunc(np.exp, e, out=e)
        call(loops.quantile_gradient, e, slope, count, gradient)
        finish(self, of_member, sums_of_rows(self, of_targets), scale=scale, mean=mean)


@with_fallback
def gaussian_nll(self: NumPyBackend, batch: LossBatch, *, scale: float, mean: bool) -> None:
    loops = LOOPS.target_losses
    known_arrays(batch)
    for of_member in members_of(batch):
        z, t, gradient = of_member.logits, of_member.targets, of_member.dlogits
        loss = self._scratch(t.shape, z.dtype, use="loss of elements")
        call(loops.minus_log_variances, z, loss)
        call_ufunc(np.exp, loss, out=loss)
        call(loops.gaussian, z, t, loss, gradient)
        losses = sums_of_rows(self, loss)
        call(LOOPS.losses.times, losses[:, None], number(0.5, z.dtype))
        finish(self, of_member, losses, scale=scale, mean=mean)


def sums_of_rows(self: NumPyBackend, x: Array) -> Array:
    """(n,), scratch memory: the sums of (n, k), which is scratch memory too."""
    if x.shape[1] == 1:
        return x.reshape(-1)
    sums = self._scratch((len(x),), x.dtype, use="losses")
    call(LOOPS.target_losses.sums_of_groups, x, x.shape[1], sums[:, None])
    return sums


def log1p_of_gaps(z: Array, out: Array) -> None:
    """log(1 + exp(-|z|)): with max(z, 0) the gap from one quantile to the next."""
    call(LOOPS.target_losses.minus_absolute, z, out)
    call_ufunc(np.exp, out, out=out)
    call_ufunc(np.log1p, out, out=out)


# ---- l and dl/dz of each element -----------------------------------------------------------------------------------
# Each writes `loss`, then `gradient`, which may be the memory of z. The formulas stand in reference/target_losses.py.


def _sigmoid_cross_entropy(z: Array, t: Array, _: Array, loss: Array, gradient: Array) -> None:
    loops = LOOPS.target_losses
    call(loops.less_twice_positive_part, z, loss)
    call_ufunc(np.exp, loss, out=loss)
    call_ufunc(np.log1p, loss, out=loss)
    call(loops.sigmoid_losses, z, t, loss)
    call_ufunc(np.negative, z, out=gradient)
    call_ufunc(np.exp, gradient, out=gradient)
    call(loops.sigmoid_less_targets, gradient, t)


def _squared_error(z: Array, t: Array, _: Array, loss: Array, gradient: Array) -> None:
    call_ufunc(np.subtract, z, t, out=gradient)
    call_ufunc(np.multiply, gradient, gradient, out=loss)


def _absolute_error(z: Array, t: Array, _: Array, loss: Array, gradient: Array) -> None:
    call_ufunc(np.subtract, z, t, out=loss)
    call_ufunc(np.sign, loss, out=gradient)
    call_ufunc(np.multiply, loss, gradient, out=loss)


def _huber(z: Array, t: Array, delta: Array, loss: Array, gradient: Array) -> None:
    call_ufunc(np.subtract, z, t, out=loss)
    call(LOOPS.target_losses.huber, loss, delta, gradient)


def _poisson(z: Array, t: Array, _: Array, loss: Array, gradient: Array) -> None:
    call_ufunc(np.multiply, z, t, out=loss)
    call_ufunc(np.exp, z, out=gradient)
    call_ufunc(np.subtract, gradient, loss, out=loss)
    call_ufunc(np.subtract, gradient, t, out=gradient)


def _gamma(z: Array, t: Array, _: Array, loss: Array, gradient: Array) -> None:
    call_ufunc(np.negative, z, out=loss)
    call_ufunc(np.exp, loss, out=loss)
    call_ufunc(np.multiply, loss, t, out=loss)
    call(LOOPS.target_losses.gamma, z, loss, gradient)


# What its gradient is still to be multiplied by stands beside it.
ELEMENTWISE: Final[dict[str, tuple[Callable[[Array, Array, Array, Array, Array], None], float]]] = {
    "sigmoid_cross_entropy": (_sigmoid_cross_entropy, 1.0),
    "squared_error": (_squared_error, 2.0),
    "absolute_error": (_absolute_error, 1.0),
    "huber": (_huber, 1.0),
    "poisson": (_poisson, 1.0),
    "gamma": (_gamma, 1.0),
}
