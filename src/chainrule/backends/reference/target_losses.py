"""Losses whose targets are numbers: value and gradient side by side.

A loss of elements is one function of the table :data:`ELEMENTWISE`. All carry complex arrays, for the gradient check by
complex step: if a formula asks which of two numbers is larger, the real parts answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.contract.members import losses_over_members
from chainrule.backends.contract.target_losses import ElementwiseLossName
from chainrule.backends.reference.array_operations import ArrayOperations


@losses_over_members
def elementwise_loss(
    self: ArrayOperations,
    batch: LossBatch,
    kind: ElementwiseLossName,
    *,
    parameter: float = 0.0,
    scale: float,
    mean: bool,
) -> None:
    logits = batch.logits
    losses = self._scratch(logits.shape, logits.dtype, use="derivative")
    value_and_gradient, factor, wants_spare = ELEMENTWISE[kind]
    spare = self._scratch(logits.shape, logits.dtype, use="elements") if wants_spare else losses
    value_and_gradient(self.xp, logits, batch.targets, parameter, losses, batch.dlogits, spare)
    self._finish(batch, losses.sum(axis=-1), scale=scale, mean=mean, factor=factor)


@losses_over_members
def quantile_loss(
    self: ArrayOperations, batch: LossBatch, *, levels: tuple[float, ...], scale: float, mean: bool
) -> None:
    xp, targets = self.xp, batch.targets
    shape = (*targets.shape, len(levels))
    z, gradient = batch.logits.reshape(shape), batch.dlogits.reshape(shape)
    error = increasing(xp, z) - targets[..., None]
    slope = (error.real > 0).astype(error.real.dtype)
    for j, level in enumerate(levels):
        slope[..., j] = slope[..., j] - level
    losses = (error * slope).sum(axis=-1).sum(axis=-1)
    from_here_on = xp.cumsum(slope[..., ::-1], axis=-1)[..., ::-1]  # z_j moves q_j and all above it
    steepness = 1 / (1 + xp.exp(-z))
    steepness[..., 0] = 1
    gradient[...] = steepness * from_here_on
    self._finish(batch, losses, scale=scale, mean=mean)


@losses_over_members
def gaussian_nll(self: ArrayOperations, batch: LossBatch, *, scale: float, mean: bool) -> None:
    logits, targets, dlogits = batch.logits, batch.targets, batch.dlogits
    k = targets.shape[-1]
    error, log_variance = logits[..., :k] - targets, logits[..., k:]
    pull = error * self.xp.exp(-log_variance)
    square = error * pull
    losses = (log_variance + square).sum(axis=-1) / 2
    dlogits[..., :k] = pull
    dlogits[..., k:] = (1 - square) / 2
    self._finish(batch, losses, scale=scale, mean=mean)


def increasing(xp: Any, z: Array) -> Array:
    """q_1 = z_1, q_j = q_(j-1) + log(1 + exp(z_j)) along the last axis."""
    positive = xp.where(z.real > 0, z, 0)
    below = z - 2 * positive if z.dtype.kind == "c" else -xp.abs(z)  # the same; inf less inf would be nan
    steps = positive + xp.log1p(xp.exp(below))
    steps[..., 0] = z[..., 0]
    return xp.cumsum(steps, axis=-1)


# ---- l and dl/dz of each element, side by side --------------------------------------------------------------------
# Each writes `loss`, then `gradient`, which may be the memory of z; `spare` is theirs to use.


def _sigmoid_cross_entropy(xp: Any, z: Array, t: Array, _: float, loss: Array, gradient: Array, spare: Array) -> None:
    """l = m - z t + log(1 + exp(z - 2 m)), m = max(z, 0): never large, and analytic in z on either side of 0.

    dl/dz = 1 / (1 + exp(-z)) - t
    """
    if z.dtype.kind == "c":
        xp.multiply(z, z.real > 0, out=spare)
    else:
        xp.maximum(z, 0, out=spare)
    xp.multiply(spare, -2, out=loss)
    xp.add(loss, z, out=loss)
    xp.exp(loss, out=loss)
    xp.log1p(loss, out=loss)
    xp.add(loss, spare, out=loss)
    xp.multiply(z, t, out=spare)
    xp.subtract(loss, spare, out=loss)
    xp.negative(z, out=gradient)
    xp.exp(gradient, out=gradient)  # inf for very negative z, and 1 / inf is the right 0
    xp.add(gradient, 1, out=gradient)
    xp.divide(1, gradient, out=gradient)
    xp.subtract(gradient, t, out=gradient)


def _squared_error(xp: Any, z: Array, t: Array, _: float, loss: Array, gradient: Array, spare: Array) -> None:
    """l = (z - t)^2,   dl/dz / 2 = z - t"""
    xp.subtract(z, t, out=gradient)
    xp.multiply(gradient, gradient, out=loss)


def _absolute_error(xp: Any, z: Array, t: Array, _: float, loss: Array, gradient: Array, spare: Array) -> None:
    """l = |z - t|,   dl/dz = sign(z - t)"""
    xp.subtract(z, t, out=loss)
    xp.sign(loss.real, out=gradient)
    xp.multiply(loss, gradient, out=loss)


def _huber(xp: Any, z: Array, t: Array, delta: float, loss: Array, gradient: Array, spare: Array) -> None:
    """l = c (z - t - c / 2),   dl/dz = c = clip(z - t, -delta, delta)"""
    xp.subtract(z, t, out=loss)
    if z.dtype.kind == "c":
        gradient[...] = xp.where(xp.abs(loss.real) > delta, delta * xp.sign(loss.real), loss)
    else:
        xp.maximum(loss, -delta, out=gradient)
        xp.minimum(gradient, delta, out=gradient)
    xp.multiply(gradient, -0.5, out=spare)
    xp.add(loss, spare, out=loss)
    xp.multiply(loss, gradient, out=loss)


def _poisson(xp: Any, z: Array, t: Array, _: float, loss: Array, gradient: Array, spare: Array) -> None:
    """l = exp(z) - t z,   dl/dz = exp(z) - t"""
    xp.multiply(z, t, out=spare)
    xp.exp(z, out=gradient)
    xp.subtract(gradient, spare, out=loss)
    xp.subtract(gradient, t, out=gradient)


def _gamma(xp: Any, z: Array, t: Array, _: float, loss: Array, gradient: Array, spare: Array) -> None:
    """l = z + t exp(-z),   dl/dz = 1 - t exp(-z)"""
    xp.negative(z, out=spare)
    xp.exp(spare, out=spare)
    xp.multiply(spare, t, out=spare)
    xp.add(z, spare, out=loss)
    xp.subtract(1, spare, out=gradient)


class _Elementwise(NamedTuple):
    value_and_gradient: Callable[[Any, Array, Array, float, Array, Array, Array], None]
    factor: float = 1.0  # what its gradient is still to be multiplied by
    wants_spare: bool = True


ELEMENTWISE: dict[str, _Elementwise] = {
    "sigmoid_cross_entropy": _Elementwise(_sigmoid_cross_entropy),
    "squared_error": _Elementwise(_squared_error, factor=2.0, wants_spare=False),
    "absolute_error": _Elementwise(_absolute_error, wants_spare=False),
    "huber": _Elementwise(_huber),
    "poisson": _Elementwise(_poisson),
    "gamma": _Elementwise(_gamma),
}
