"""Optimisers: one loop over a parameter group."""

from __future__ import annotations

from typing import Any

from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.backend import HALTED, RUNNING
from chainrule.backends.numpy.backend import NumPyBackend


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
    loops, real = LOOPS.optimisers, params.dtype.type
    if loops is not None and state[HALTED] == RUNNING:
        rate, decay = real(self._learning_rate(lr, state, lr_factor)), real(weight_decay)
        try:
            own = real(momentum), nesterov
            if params.ndim == 2:  # a wrapper around the kernel would cost a small step of one net too much
                for j in range(len(params)):
                    _sgd(loops, params[j], grads[j], None if velocity is None else velocity[j], rate, decay, *own)
            else:
                _sgd(loops, params, grads, velocity, rate, decay, *own)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    options: dict[str, Any] = {"momentum": momentum, "nesterov": nesterov, "weight_decay": weight_decay}
    NumPyBackend.sgd(self, params, grads, velocity, lr, state, lr_factor=lr_factor, **options)


def _sgd(
    loops: Any,
    params: Array,
    grads: Array,
    velocity: Array | None,
    rate: Any,
    decay: Any,
    momentum: Any,
    nesterov: bool,
) -> None:
    if velocity is None:
        loops.sgd(params, grads, rate, decay)
    else:
        loops.sgd_momentum(params, grads, velocity, rate, decay, momentum, nesterov)


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
    loops, real = LOOPS.optimisers, params.dtype.type
    if loops is not None and state[HALTED] == RUNNING:
        rate = self._learning_rate(lr, state, lr_factor)
        step_size, step_eps = self._bias_corrected(rate, state, beta1, beta2, eps, params.dtype, eps_hat)
        keep = real(1 - rate * weight_decay) if decoupled else real(1)
        decay = real(0) if decoupled else real(weight_decay)
        b1, rest1, b2, rest2 = real(beta1), real(1 - beta1), real(beta2), real(1 - beta2)
        try:
            if params.ndim == 2:
                for j in range(len(params)):
                    own = params[j], grads[j], m[j], v[j]
                    loops.adam(*own, keep, decay, b1, rest1, b2, rest2, step_eps, step_size)
            else:
                loops.adam(params, grads, m, v, keep, decay, b1, rest1, b2, rest2, step_eps, step_size)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    options: dict[str, Any] = {"beta1": beta1, "beta2": beta2, "eps": eps, "eps_hat": eps_hat}
    options |= {"lr_factor": lr_factor, "weight_decay": weight_decay, "decoupled": decoupled}
    NumPyBackend.adam(self, params, grads, m, v, lr, state, **options)


def approach(self: NumPyBackend, target: Array, share: Any, out: Array) -> None:
    loops = LOOPS.optimisers
    if loops is not None:
        try:
            for of_target, of_out in ((target, out),) if out.ndim == 1 else zip(target, out, strict=True):
                loops.approach(of_target, share, of_out)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    NumPyBackend._approach(self, target, share, out)
