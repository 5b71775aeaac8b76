"""Optimisers: a loop over a parameter group, after one that computes the numbers of the step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.backends.compiled.calls import call, call_ufunc, each_member, known_dtype, number, numbers_of
from chainrule.backends.compiled.fallback import with_fallback
from chainrule.backends.compiled.state import LOOPS, NotCompiledError
from chainrule.backends.contract.arrays import Array
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.backends.numpy.memory import CHUNK


@with_fallback
def sgd(
    self: NumPyBackend,
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
    loops = LOOPS.optimisers
    known_dtype(params, grads)
    _refuse_factors(factors)
    settings = lr_factor, weight_decay, momentum
    numbers = self._scratch((4,), params.dtype, use=("sgd", settings))  # of each parameter group its own
    call(loops.sgd_numbers, lr, state, numbers_of(settings, np.float64), numbers)
    more: tuple[int, ...] = ()
    loop, loop_of_touched = loops.sgd, loops.sgd_of_touched
    if velocity is not None:
        loop, loop_of_touched, more = loops.sgd_momentum, loops.sgd_momentum_of_touched, (int(nesterov),)
    for *arrays, marks in each_member((params, 1), (grads, 1), (velocity, 1), (touched, 1)):
        given = [array for array in arrays if array is not None]
        if marks is None:
            call(loop, *given, numbers, *more)
        else:
            call(loop_of_touched, marks, *_as_vectors(given, marks), numbers, *more)


@with_fallback
def adam(
    self: NumPyBackend,
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
    loops, dtype = LOOPS.optimisers, params.dtype
    known_dtype(params, grads, m, v)
    _refuse_factors(factors)
    betas = numbers_of((beta1, beta2), np.float64)
    settings = lr_factor, eps, weight_decay, float(decoupled), float(eps_hat)
    double = np.dtype(np.float64)
    exponents, powers = (self._scratch((2,), double, use=(use, beta1, beta2)) for use in ("exponents", "powers"))
    numbers = self._scratch((5,), dtype, use=("adam", beta1, beta2, settings))  # of each parameter group its own
    call(loops.updates_so_far, state, exponents)
    call_ufunc(np.power, betas, exponents, out=powers)
    call(loops.adam_numbers, lr, state, numbers_of(settings, np.float64), powers, numbers)
    shares = numbers_of((beta1, 1 - beta1, beta2, 1 - beta2), dtype)
    for *arrays, marks in each_member((params, 1), (grads, 1), (m, 1), (v, 1), (touched, 1)):
        if marks is None:
            call(loops.adam, *arrays, numbers, shares)
        else:
            call(loops.adam_of_touched, marks, *_as_vectors(arrays, marks), numbers, shares)


def _refuse_factors(factors: Array | None) -> None:
    """A processor stores parameters and factors in one dtype, so that nothing here has them apart."""
    if factors is not None:
        raise NotCompiledError("factors apart from parameters")


@with_fallback
def clip_by_global_norm(self: NumPyBackend, grads: Array, *, max_norm: float) -> None:
    loops = LOOPS.optimisers
    known_dtype(grads)
    most = number(max_norm, np.float64)
    sums, factors = _for_each_member(self, grads, "clip")
    for of_grads, of_sums, factor in each_member((grads, 1), (sums, 1), (factors, 1)):
        call(loops.squares_of_chunks, of_grads, 0, of_sums)
        call(loops.clip_factor, of_sums, most, factor)
        call(loops.times, of_grads, factor)


@with_fallback
def penalize(
    self: NumPyBackend, params: Array, grads: Array, totals: Array, state: Array, *, alpha: float, mean: bool
) -> None:
    loops = LOOPS.optimisers
    known_dtype(params, grads)
    strength = number(alpha, np.float64)
    memory = _for_each_member(self, grads, "penalty")
    for p, g, t, sums, factor in each_member((params, 1), (grads, 1), (totals, 2), *((part, 1) for part in memory)):
        call(loops.penalty_factor, t, state, strength, int(mean), factor)
        call(loops.add_slope, p, factor, g)
        call(loops.squares_of_chunks, p, 0, sums)
        call(loops.add_penalty, sums, strength, state, t)


@with_fallback
def accumulate(
    self: NumPyBackend, grads: Array, totals: Array, state: Array, *, group: int, mean: bool, out: Array
) -> None:
    loops = LOOPS.optimisers
    known_dtype(grads, out)
    shares = self._scratch((*out.shape[:-1], 2), out.dtype, use="share of a batch")
    for of_grads, of_totals, share, of_out in each_member((grads, 1), (totals, 2), (shares, 1), (out, 1)):
        call(loops.share_of_group, of_totals, state, group, int(mean), share)
        call(loops.add_share, of_grads, share, int(mean), of_out)


@with_fallback
def average(self: NumPyBackend, params: Array, state: Array, *, decay: float, out: Array) -> None:
    loops = LOOPS.optimisers
    known_dtype(params, out)
    share = self._scratch((2,), out.dtype, use="share of the newest")
    call(loops.share_of_newest, state, number(decay, np.float64), share)
    for of_params, of_out in each_member((params, 1), (out, 1)):
        call(loops.approach, of_params, share, of_out)


def _as_vectors(arrays: Sequence[Array], touched: Array) -> list[Array]:
    """(r, width) each, for a number of ``touched`` (r,) each."""
    return [array.reshape((len(touched), array.size // len(touched))) for array in arrays]


def _for_each_member(self: NumPyBackend, flat: Array, use: str) -> tuple[Array, Array]:
    """Of each member the sums of chunks, (chunks,) float64, and a factor, (1,)."""
    *members, size = flat.shape
    sums = self._scratch((*members, -(-size // CHUNK)), np.float64, use=(use, "sums", size))
    return sums, self._scratch((*members, 1), flat.dtype, use=(use, "factor", size))
