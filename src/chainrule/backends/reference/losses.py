"""The losses of the specification: value and gradient side by side, in plain array operations.

A loss of elements is one function of the table :data:`ELEMENTWISE`. All carry complex arrays, for the gradient check by
complex step: where a formula asks which of two numbers is larger, the real parts answer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from chainrule.backends.contract.backend import CORRECT, HALTED, LOSS, RUNNING, STEP, WEIGHT, Array
from chainrule.backends.contract.losses import ElementwiseLossName, LossBatch
from chainrule.backends.reference.array_operations import ArrayOperations, slot_of


class ReferenceLosses(ArrayOperations):
    """The part of the contract from logits to losses and gradients."""

    # ---- one of k classes -----------------------------------------------------------------------

    def softmax_cross_entropy(
        self, batch: LossBatch, *, label_smoothing: float = 0.0, scale: float, mean: bool
    ) -> None:
        xp, logits, labels, dlogits = self.xp, batch.logits, batch.targets, batch.dlogits
        rows = self._rows(len(labels))
        xp.subtract(logits, logits.real.max(axis=-1, keepdims=True), out=dlogits)
        chosen = dlogits[rows, labels]
        if label_smoothing:
            chosen = (1 - label_smoothing) * chosen + label_smoothing / logits.shape[-1] * dlogits.sum(axis=-1)
        xp.exp(dlogits, out=dlogits)
        normalizer = dlogits.sum(axis=-1, keepdims=True)
        losses = xp.log(normalizer[:, 0]) - chosen
        xp.divide(dlogits, normalizer, out=dlogits)
        if label_smoothing:
            xp.subtract(dlogits, label_smoothing / logits.shape[-1], out=dlogits)
        dlogits[rows, labels] -= 1 - label_smoothing
        self._finish(batch, losses, scale=scale, mean=mean)

    def focal_loss(self, batch: LossBatch, *, gamma: float, scale: float, mean: bool) -> None:
        xp, logits, labels, dlogits = self.xp, batch.logits, batch.targets, batch.dlogits
        rows = self._rows(len(labels))
        xp.subtract(logits, logits.real.max(axis=-1, keepdims=True), out=dlogits)
        chosen = dlogits[rows, labels]
        xp.exp(dlogits, out=dlogits)
        normalizer = dlogits.sum(axis=-1, keepdims=True)
        nll = xp.log(normalizer[:, 0]) - chosen  # -log p
        xp.divide(dlogits, normalizer, out=dlogits)
        dlogits[rows, labels] -= 1
        rest = -xp.expm1(-nll)  # 1 - p, without cancellation
        power = rest**gamma
        # f = (1 - p)^gamma (1 + gamma p (-log p) / (1 - p)), where the quotient goes to 1 as p does
        quotient = xp.where(rest == 0, 1, nll / xp.where(rest == 0, 1, rest))
        factor = power * (1 + gamma * (1 - rest) * quotient)
        xp.multiply(dlogits, factor[:, None], out=dlogits)
        self._finish(batch, power * nll, scale=scale, mean=mean)

    # ---- targets that are numbers ---------------------------------------------------------------

    def elementwise_loss(
        self, batch: LossBatch, kind: ElementwiseLossName, *, parameter: float = 0.0, scale: float, mean: bool
    ) -> None:
        logits = batch.logits
        losses = self._scratch(logits.shape, logits.dtype, use="derivative")
        value_and_gradient, factor, wants_spare = ELEMENTWISE[kind]
        spare = self._scratch(logits.shape, logits.dtype, use="elements") if wants_spare else losses
        value_and_gradient(self.xp, logits, batch.targets, parameter, losses, batch.dlogits, spare)
        self._finish(batch, losses.sum(axis=-1), scale=scale, mean=mean, factor=factor)

    def custom_loss(
        self, batch: LossBatch, value: Callable[..., Array], gradient: Callable[..., Array], *, scale: float, mean: bool
    ) -> None:
        logits, targets = batch.logits, batch.targets
        losses = self._scratch((len(logits),), logits.dtype, use="losses")
        self.apply(value, logits, targets, out=losses)
        self.apply(gradient, logits, targets, out=batch.dlogits)
        self._finish(batch, losses, scale=scale, mean=mean)

    def quantile_loss(self, batch: LossBatch, *, levels: tuple[float, ...], scale: float, mean: bool) -> None:
        xp, targets = self.xp, batch.targets
        shape = (*targets.shape, len(levels))
        z, gradient = batch.logits.reshape(shape), batch.dlogits.reshape(shape)
        error = _increasing(xp, z) - targets[..., None]
        slope = (error.real > 0).astype(error.real.dtype)
        for j, level in enumerate(levels):
            slope[..., j] = slope[..., j] - level
        losses = (error * slope).sum(axis=-1).sum(axis=-1)
        from_here_on = xp.cumsum(slope[..., ::-1], axis=-1)[..., ::-1]  # z_j moves q_j and all above it
        steepness = 1 / (1 + xp.exp(-z))
        steepness[..., 0] = 1
        gradient[...] = steepness * from_here_on
        self._finish(batch, losses, scale=scale, mean=mean)

    def gaussian_nll(self, batch: LossBatch, *, scale: float, mean: bool) -> None:
        logits, targets, dlogits = batch.logits, batch.targets, batch.dlogits
        k = targets.shape[-1]
        error, log_variance = logits[..., :k] - targets, logits[..., k:]
        pull = error * self.xp.exp(-log_variance)
        square = error * pull
        losses = (log_variance + square).sum(axis=-1) / 2
        dlogits[..., :k] = pull
        dlogits[..., k:] = (1 - square) / 2
        self._finish(batch, losses, scale=scale, mean=mean)

    def quantiles(self, logits: Array, *, count: int, out: Array) -> None:
        n, outputs = logits.shape
        out[...] = _increasing(self.xp, logits.reshape(n, outputs // count, count)).reshape(n, outputs)

    def mean_and_variance(self, logits: Array, *, out: Array) -> None:
        k = logits.shape[-1] // 2
        out[..., :k] = logits[..., :k]
        out[..., k:] = self.xp.exp(logits[..., k:])

    # ---- from rows to a batch -------------------------------------------------------------------

    def _finish(self, batch: LossBatch, losses: Array, *, scale: float, mean: bool, factor: float = 1.0) -> None:
        """From l_i and w_i to the totals, and from dl_i to ``factor * scale * w_i dl_i / divisor``."""
        xp, weights, totals, dlogits = self.xp, batch.weights, batch.totals, batch.dlogits
        if weights is None:
            loss, weight = losses.sum(dtype=totals.dtype), len(losses)
            row_factor = factor * scale / (weight if mean else 1)
            if row_factor != 1:
                xp.multiply(dlogits, row_factor, out=dlogits)
        else:
            loss, weight = (losses * weights).sum(dtype=totals.dtype), weights.sum(dtype=totals.dtype)
            row_factor = factor * scale
            if mean:  # all weights 0: every row of the gradient is 0 whatever it is divided by, so divide by 1
                row_factor = (row_factor / xp.where(weight == 0, 1, weight)).astype(weights.dtype)
            xp.multiply(dlogits, (weights * row_factor)[:, None], out=dlogits)
        self._record(loss * scale, weight, batch.state, totals)

    def _record(self, loss: Array, weight: Array | int, state: Array, totals: Array) -> None:
        slot = slot_of(state)
        totals[slot, LOSS] = loss
        totals[slot, WEIGHT] = weight
        halts = ~self.xp.isfinite(loss) & (state[HALTED] == RUNNING)
        state[HALTED : HALTED + 1] = self.xp.where(halts, state[STEP], state[HALTED])

    def count_correct(
        self, logits: Array, targets: Array, weights: Array | None, state: Array, *, totals: Array
    ) -> None:
        if targets.ndim == 1:
            right = logits.argmax(axis=-1) == targets
        else:
            right = ((logits > 0) == (targets > 0.5)).all(axis=-1)
        count = right.sum() if weights is None else (right * weights).sum(dtype=totals.dtype)
        totals[slot_of(state), CORRECT] = count


def _increasing(xp: Any, z: Array) -> Array:
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
