"""Loops of optimisers. What varies from step to step comes first, as a few *numbers* of the parameters' dtype."""

from __future__ import annotations

import math
from typing import Any

from chainrule.backends.compiled.jit import loop
from chainrule.backends.contract.backend import BATCH, HALTED, RUNNING, STEP


@loop(writes="exponents")
def updates_so_far(state: Any, exponents: Any) -> None:
    """The number of this update, from 1 on."""
    for i in range(exponents.size):
        exponents[i] = state[STEP] + 1


@loop(writes="numbers")
def adam_numbers(lr: Any, state: Any, settings: Any, powers: Any, numbers: Any) -> None:
    """
    settings : factor of the rate, eps, weight decay, whether that is decoupled, whether eps is that of eps_hat
    powers : beta1^t, beta2^t
    numbers : keep, decay, step_eps, step_size, whether the run goes on
    """
    factor, eps, weight_decay = settings[0], settings[1], settings[2]
    runs = state[HALTED] == RUNNING
    rate = lr[min(state[BATCH], lr.size - 1)] * factor if runs else 0.0
    root = math.sqrt(1 - powers[1])
    numbers[0] = 1 - rate * weight_decay if settings[3] != 0 else 1
    numbers[1] = 0 if settings[3] != 0 else weight_decay
    numbers[2] = eps if settings[4] != 0 else eps * root
    numbers[3] = rate * root / (1 - powers[0])
    numbers[4] = 1 if runs else 0


@loop(writes="p m v", rows="p g m v")
def adam(p: Any, g: Any, m: Any, v: Any, numbers: Any, betas: Any) -> None:
    """``numbers`` as above; ``betas``: beta1, 1 - beta1, beta2, 1 - beta2."""
    keep, decay, step_eps, step_size = numbers[0], numbers[1], numbers[2], numbers[3]
    beta1, rest1, beta2, rest2 = betas[0], betas[1], betas[2], betas[3]
    coupled, runs = decay != 0, numbers[4] != 0
    if runs and not coupled:
        for i in range(p.size):
            gradient = g[i]
            first = m[i] * beta1 + gradient * rest1
            second = v[i] * beta2 + (gradient * gradient) * rest2
            m[i] = first
            v[i] = second
            p[i] = p[i] * keep - first / (math.sqrt(second) + step_eps) * step_size
        return
    for i in range(p.size):
        gradient = g[i] + p[i] * decay if coupled else g[i]  # 0 times a weight that is infinite would be nan
        first = m[i] * beta1 + gradient * rest1
        second = v[i] * beta2 + (gradient * gradient) * rest2
        m[i] = first
        v[i] = second
        if runs:
            p[i] = p[i] * keep - first / (math.sqrt(second) + step_eps) * step_size


@loop(writes="numbers")
def sgd_numbers(lr: Any, state: Any, settings: Any, numbers: Any) -> None:
    """
    settings : factor of the rate, weight decay, momentum
    numbers : rate, decay, momentum, whether the run goes on
    """
    runs = state[HALTED] == RUNNING
    numbers[0] = lr[min(state[BATCH], lr.size - 1)] * settings[0] if runs else 0.0
    numbers[1] = settings[1]
    numbers[2] = settings[2]
    numbers[3] = 1 if runs else 0


@loop(writes="p", rows="p g")
def sgd(p: Any, g: Any, numbers: Any) -> None:
    rate, decay = numbers[0], numbers[1]
    if numbers[3] == 0:
        return
    for i in range(p.size):
        p[i] -= (g[i] + p[i] * decay) * rate


@loop(writes="p velocity", rows="p g velocity")
def sgd_momentum(p: Any, g: Any, velocity: Any, numbers: Any, nesterov: int) -> None:
    rate, decay, momentum, runs = numbers[0], numbers[1], numbers[2], numbers[3] != 0
    for i in range(p.size):
        gradient = g[i] + p[i] * decay
        v = velocity[i] * momentum + gradient
        velocity[i] = v
        if runs:
            p[i] -= (gradient + v * momentum if nesterov else v) * rate


@loop(writes="out", rows="target out")
def approach(target: Any, share: Any, out: Any) -> None:
    """``share`` (1,)."""
    by = share[0]
    for i in range(out.size):
        out[i] += (target[i] - out[i]) * by
