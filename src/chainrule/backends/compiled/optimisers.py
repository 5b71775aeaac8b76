"""Optimisers: a loop over a parameter group, after one that computes the numbers of the step."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.backends.compiled.calls import call, call_ufunc, each_member, known_dtype, numbers_of
from chainrule.backends.compiled.fallback import with_fallback
from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.contract.arrays import Array
from chainrule.backends.numpy.backend import NumPyBackend


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
) -> None:
    loops = LOOPS.optimisers
    known_dtype(params, grads)
    settings = lr_factor, weight_decay, momentum
    numbers = self._scratch((4,), params.dtype, use=("sgd", settings))  # of each parameter group its own
    call(loops.sgd_numbers, lr, state, numbers_of(settings, np.float64), numbers)
    for p, g, v in each_member((params, 1), (grads, 1), (velocity, 1)):
        if v is None:
            call(loops.sgd, p, g, numbers)
        else:
            call(loops.sgd_momentum, p, g, v, numbers, int(nesterov))


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
) -> None:
    loops, dtype = LOOPS.optimisers, params.dtype
    known_dtype(params, grads, m, v)
    betas = numbers_of((beta1, beta2), np.float64)
    settings = lr_factor, eps, weight_decay, float(decoupled), float(eps_hat)
    double = np.dtype(np.float64)
    exponents, powers = (self._scratch((2,), double, use=(use, beta1, beta2)) for use in ("exponents", "powers"))
    numbers = self._scratch((5,), dtype, use=("adam", beta1, beta2, settings))  # of each parameter group its own
    call(loops.updates_so_far, state, exponents)
    call_ufunc(np.power, betas, exponents, out=powers)
    call(loops.adam_numbers, lr, state, numbers_of(settings, np.float64), powers, numbers)
    shares = numbers_of((beta1, 1 - beta1, beta2, 1 - beta2), dtype)
    for of_member in each_member((params, 1), (grads, 1), (m, 1), (v, 1)):
        call(loops.adam, *of_member, numbers, shares)


def approach(self: NumPyBackend, target: Array, share: Any, out: Array) -> None:
    NumPyBackend._approach(self, target, share, out)
