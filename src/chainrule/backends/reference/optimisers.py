"""Optimisers, and what is done to gradients before and to weights after an update."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.backend import HALTED, LOSS, RUNNING, STEP, WEIGHT
from chainrule.backends.contract.members import over_members
from chainrule.backends.reference.array_operations import ArrayOperations, slot_of


def touched_and_factors(optimiser: Callable[..., None]) -> Callable[..., None]:
    """``optimiser``, which updates everything, with the arguments ``touched`` and ``factors``."""

    @functools.wraps(optimiser)
    def call(
        self: ArrayOperations,
        params: Array,
        grads: Array,
        *others: Array,
        touched: Array | None = None,
        factors: Array | None = None,
        **options: Any,
    ) -> None:
        *moments, lr, state = others

        def update(params: Array, grads: Array, *moments: Array) -> None:
            optimiser(self, params, grads, *moments, lr, state, **options)

        if touched is None:
            update(params, grads, *moments)
        else:
            self._update_touched(update, touched, params, grads, *moments)
        if factors is not None:
            self.copy(params, out=factors)

    return call


def update_touched(
    self: ArrayOperations, update: Callable[..., None], touched: Array, params: Array, grads: Array, *moments: Array
) -> None:
    """All are updated, and those that are not touched get their numbers back: no host reads which these are."""
    written = [array for array in (params, *moments) if array is not None]
    before = [self._scratch(a.shape, a.dtype, use=("before", i)) for i, a in enumerate(written)]
    for array, old in zip(written, before, strict=True):
        old[...] = array
    update(params, grads, *moments)
    of_vectors, is_touched = (len(touched), -1), (touched != 0).reshape((-1, 1))
    for array, old in zip(written, before, strict=True):
        found = self.xp.where(is_touched, array.reshape(of_vectors), old.reshape(of_vectors))
        array[...] = found.reshape(-1)


@over_members
@touched_and_factors
def sgd(
    self: ArrayOperations,
    params: Array,
    grads: Array,
    velocity: Array | None,
    lr: Array,
    state: Array,
    *,
    lr_factor: float,
    momentum: float,
    nesterov: bool,
    weight_decay: float,
    touched: Array | None = None,
    factors: Array | None = None,
) -> None:
    xp = self.xp
    rate = self._learning_rate(lr, state, lr_factor).astype(params.dtype)
    for part in self._parts(params.size):
        p, g = params[part], grads[part]
        update = self._scratch(p.shape, p.dtype, use="update")
        xp.multiply(p, weight_decay, out=update)
        xp.add(update, g, out=update)  # g of the formula
        if velocity is not None:
            v = velocity[part]
            xp.multiply(v, momentum, out=v)
            xp.add(v, update, out=v)
            if nesterov:
                step = self._scratch(p.shape, p.dtype, use="step")
                xp.multiply(v, momentum, out=step)
                xp.add(update, step, out=update)
            else:
                update = v
        step = self._scratch(p.shape, p.dtype, use="step")
        xp.multiply(update, rate, out=step)
        self._subtract(p, step, state)


@over_members
@touched_and_factors
def adam(
    self: ArrayOperations,
    params: Array,
    grads: Array,
    m: Array,
    v: Array,
    lr: Array,
    state: Array,
    *,
    lr_factor: float,
    beta1: float,
    beta2: float,
    eps: float,
    weight_decay: float,
    decoupled: bool,
    eps_hat: bool = False,
    touched: Array | None = None,
    factors: Array | None = None,
) -> None:
    xp, dtype = self.xp, params.dtype
    rate = self._learning_rate(lr, state, lr_factor)
    step_size, step_eps = self._bias_corrected(rate, state, beta1, beta2, eps, dtype, eps_hat)
    keep = (1 - rate * weight_decay).astype(dtype)
    for part in self._parts(params.size):
        p, g, mp, vp = params[part], grads[part], m[part], v[part]
        a = self._scratch(p.shape, dtype, use="update")
        b = self._scratch(p.shape, dtype, use="step")
        if weight_decay and decoupled:
            xp.multiply(p, keep, out=p)
        elif weight_decay:
            xp.multiply(p, weight_decay, out=b)
            xp.add(g, b, out=b)
            g = b
        xp.multiply(g, 1 - beta1, out=a)
        xp.multiply(mp, beta1, out=mp)
        xp.add(mp, a, out=mp)
        xp.multiply(g, g, out=a)
        xp.multiply(a, 1 - beta2, out=a)
        xp.multiply(vp, beta2, out=vp)
        xp.add(vp, a, out=vp)
        xp.sqrt(vp, out=a)
        xp.add(a, step_eps, out=a)
        xp.divide(mp, a, out=a)
        xp.multiply(a, step_size, out=a)
        self._subtract(p, a, state)


@over_members
def clip_by_global_norm(self: ArrayOperations, grads: Array, *, max_norm: float) -> None:
    xp = self.xp
    norm = xp.sqrt(_sum_of_squares(self, grads))
    factor = xp.minimum(norm, max_norm) / xp.where(norm == 0, 1, norm)
    xp.multiply(grads, factor.astype(grads.dtype), out=grads)


@over_members
def penalize(
    self: ArrayOperations, params: Array, grads: Array, totals: Array, state: Array, *, alpha: float, mean: bool
) -> None:
    xp, slot = self.xp, slot_of(state)
    weight = totals[slot, WEIGHT]
    factor = (alpha / xp.where((weight == 0) | (not mean), 1, weight)).astype(grads.dtype)
    for part in self._parts(grads.size):
        slope = self._scratch(grads[part].shape, grads.dtype, use="step")
        xp.multiply(params[part], factor, out=slope)
        xp.add(grads[part], slope, out=grads[part])
    totals[slot, LOSS] += alpha / 2 * _sum_of_squares(self, params)


@over_members
def accumulate(
    self: ArrayOperations, grads: Array, totals: Array, state: Array, *, group: int, mean: bool, out: Array
) -> None:
    xp = self.xp
    place = slot_of(state) % group
    if mean:
        share = _share_of_group(self, totals, state, place, group).astype(out.dtype)
        update = (grads - out) * share
    else:
        update = grads
    out[...] = xp.where(place == 0, grads, out + update)


def average(self: ArrayOperations, params: Array, state: Array, *, decay: float, out: Array) -> None:
    xp = self.xp
    share = _share_of_newest(self, state, decay).astype(out.dtype)
    for part in self._parts(out.size):
        step = self._scratch(out[part].shape, out.dtype, use="step")
        xp.subtract(params[part], out[part], out=step)
        xp.multiply(step, share, out=step)
        xp.add(out[part], xp.where(state[HALTED] == RUNNING, step, 0), out=out[part])


def learning_rate(self: ArrayOperations, lr: Array, state: Array, factor: float) -> Array:
    """(1,) float64: this batch's learning rate, and 0 in a run that has halted."""
    rate = lr[self.xp.minimum(slot_of(state), len(lr) - 1)] * factor
    return self.xp.where(state[HALTED] == RUNNING, rate, 0.0)


def bias_corrected(
    self: ArrayOperations, rate: Array, state: Array, beta1: float, beta2: float, eps: float, dtype: Any, eps_hat: bool
) -> tuple[Array, Array]:
    """(step_size, step_eps) with rate m_hat / (sqrt(v_hat) + eps) = step_size m / (sqrt(v) + step_eps).

    Both bias corrections are the same for all elements, so they move out of the loop over them.
    """
    t = (state[STEP : STEP + 1] + 1).astype(self.xp.float64)
    root = self.xp.sqrt(1 - beta2**t)
    step_eps = eps * (self.xp.ones_like(root) if eps_hat else root)
    return (rate * root / (1 - beta1**t)).astype(dtype), step_eps.astype(dtype)


def subtract(self: ArrayOperations, params: Array, update: Array, state: Array) -> None:
    """params -= update, and nothing in a run that has halted, whose ``update`` may be nan."""
    self.xp.subtract(params, self.xp.where(state[HALTED] == RUNNING, update, 0), out=params)


def _sum_of_squares(self: ArrayOperations, flat: Array) -> Any:
    """In float64, in which no square of a float32 overflows or underflows."""
    xp, squares = self.xp, 0.0
    for part in self._parts(flat.size):
        square = self._scratch(flat[part].shape, xp.float64, use="square64")
        square[...] = flat[part]
        xp.multiply(square, square, out=square)
        squares = squares + square.sum()
    return squares


def _share_of_group(self: ArrayOperations, totals: Array, state: Array, place: Array, group: int) -> Array:
    """(1,) float64: W_j / (W_0 + ... + W_j)."""
    xp, slot = self.xp, slot_of(state)
    earlier = self._rows(group)
    weights = xp.where(earlier <= place, totals[xp.maximum(slot - earlier, 0), WEIGHT], 0)
    weight = xp.cumsum(weights)[-1:]  # one by one, so that the zeros of batches to come change no bit
    return totals[slot, WEIGHT] / xp.where(weight == 0, 1, weight)


def _share_of_newest(self: ArrayOperations, state: Array, decay: float) -> Array:
    """(1,) float64: 1 - d."""
    t = (state[STEP : STEP + 1] + 1).astype(self.xp.float64)
    return 1 - self.xp.minimum(decay, (1 + t) / (10 + t))


def approach(self: ArrayOperations, target: Array, share: Any, out: Array) -> None:
    """out += (target - out) share."""
    xp = self.xp
    for part in self._parts(out.size):
        step = self._scratch(out[part].shape, out.dtype, use="step")
        xp.subtract(target[part], out[part], out=step)
        xp.multiply(step, share, out=step)
        xp.add(out[part], step, out=out[part])
