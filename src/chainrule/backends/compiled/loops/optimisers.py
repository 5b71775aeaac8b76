"""Loops of optimisers. What varies from step to step comes first, as a few *numbers* of the parameters' dtype."""

from __future__ import annotations

import math
from typing import Any

from chainrule.backends.compiled.jit import loop, part
from chainrule.backends.compiled.loops.sums import pairwise_squares
from chainrule.backends.contract.backend import BATCH, HALTED, LOSS, RUNNING, STEP, WEIGHT
from chainrule.backends.numpy.memory import CHUNK


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


@part
def update_adam(p: Any, g: Any, m: Any, v: Any, numbers: Any, betas: Any) -> None:
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


@loop(writes="p m v", rows="p g m v")
def adam(p: Any, g: Any, m: Any, v: Any, numbers: Any, betas: Any) -> None:
    update_adam(p, g, m, v, numbers, betas)


@loop(writes="p m v", rows="touched p g m v", picks="p g m v")
def adam_of_touched(touched: Any, p: Any, g: Any, m: Any, v: Any, numbers: Any, betas: Any) -> None:
    """Of the vectors p, g, m, v (r, width) those whose number in ``touched`` is not 0."""
    for row in range(touched.size):
        if touched[row] != 0:
            update_adam(p[row], g[row], m[row], v[row], numbers, betas)


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


@part
def update_sgd(p: Any, g: Any, numbers: Any) -> None:
    rate, decay = numbers[0], numbers[1]
    if numbers[3] == 0:
        return
    for i in range(p.size):
        p[i] -= (g[i] + p[i] * decay) * rate


@loop(writes="p", rows="p g")
def sgd(p: Any, g: Any, numbers: Any) -> None:
    update_sgd(p, g, numbers)


@loop(writes="p", rows="touched p g", picks="p g")
def sgd_of_touched(touched: Any, p: Any, g: Any, numbers: Any) -> None:
    for row in range(touched.size):
        if touched[row] != 0:
            update_sgd(p[row], g[row], numbers)


@part
def update_sgd_momentum(p: Any, g: Any, velocity: Any, numbers: Any, nesterov: int) -> None:
    rate, decay, momentum, runs = numbers[0], numbers[1], numbers[2], numbers[3] != 0
    for i in range(p.size):
        gradient = g[i] + p[i] * decay
        v = velocity[i] * momentum + gradient
        velocity[i] = v
        if runs:
            p[i] -= (gradient + v * momentum if nesterov else v) * rate


@loop(writes="p velocity", rows="p g velocity")
def sgd_momentum(p: Any, g: Any, velocity: Any, numbers: Any, nesterov: int) -> None:
    update_sgd_momentum(p, g, velocity, numbers, nesterov)


@loop(writes="p velocity", rows="touched p g velocity", picks="p g velocity")
def sgd_momentum_of_touched(touched: Any, p: Any, g: Any, velocity: Any, numbers: Any, nesterov: int) -> None:
    for row in range(touched.size):
        if touched[row] != 0:
            update_sgd_momentum(p[row], g[row], velocity[row], numbers, nesterov)


# ---- sums over all parameters: the norm of gradients, the penalty on weights ---------------------------------------


@loop(writes="sums", rows="sums", first="first")
def squares_of_chunks(x: Any, first: int, sums: Any) -> None:
    """sums[k] = sum of the squares of chunk first + k, in double precision, in which none of them overflows."""
    for k in range(sums.size):
        start = (first + k) * CHUNK
        sums[k] = pairwise_squares(x[start : start + CHUNK])


@loop(writes="factor")
def clip_factor(sums: Any, max_norm: Any, factor: Any) -> None:
    """factor, max_norm (1,): min(max_norm, norm) / norm, and 0 if the norm is 0; nan if the norm is nan."""
    squares = 0.0
    for k in range(sums.size):
        squares += sums[k]
    norm = math.sqrt(squares)
    smaller = max_norm[0] if norm > max_norm[0] else norm
    factor[0] = smaller / (1 if norm == 0 else norm)


@loop(writes="x", rows="x")
def times(x: Any, factor: Any) -> None:
    """``factor`` (1,)."""
    by = factor[0]
    for i in range(x.size):
        x[i] *= by


@loop(writes="factor")
def penalty_factor(totals: Any, state: Any, alpha: Any, mean: int, factor: Any) -> None:
    """factor, alpha (1,): alpha / W."""
    weight = totals[state[BATCH], WEIGHT]
    factor[0] = alpha[0] / (weight if mean and weight != 0 else 1)


@loop(writes="grads", rows="params grads")
def add_slope(params: Any, factor: Any, grads: Any) -> None:
    """``factor`` (1,)."""
    by = factor[0]
    for i in range(grads.size):
        grads[i] += params[i] * by


@loop(writes="totals")
def add_penalty(sums: Any, alpha: Any, state: Any, totals: Any) -> None:
    """``alpha`` (1,)."""
    squares = 0.0
    for k in range(sums.size):
        squares += sums[k]
    totals[state[BATCH], LOSS] += alpha[0] / 2 * squares


# ---- gradients of several batches, and averages of weights ---------------------------------------------------------


@loop(writes="numbers")
def share_of_group(totals: Any, state: Any, group: int, mean: int, numbers: Any) -> None:
    """numbers: W_j / (W_0 + ... + W_j), or 1 for a sum; whether the batch is the first of its group."""
    batch = state[BATCH]
    first = batch - batch % group
    weight = totals[batch, WEIGHT]
    for earlier in range(batch - 1, first - 1, -1):  # backwards, as the reference adds them: the last bit depends on it
        weight += totals[earlier, WEIGHT]
    numbers[0] = totals[batch, WEIGHT] / (weight if weight != 0 else 1) if mean else 1
    numbers[1] = 1 if batch == first else 0


@loop(writes="out", rows="grads out")
def add_share(grads: Any, numbers: Any, mean: int, out: Any) -> None:
    share = numbers[0]
    if numbers[1] != 0:
        for i in range(out.size):
            out[i] = grads[i]
    elif mean:
        for i in range(out.size):
            out[i] += (grads[i] - out[i]) * share
    else:
        for i in range(out.size):
            out[i] += grads[i]


@loop(writes="numbers")
def share_of_newest(state: Any, decay: Any, numbers: Any) -> None:
    """numbers: 1 - d; whether the run goes on. ``decay`` (1,)."""
    t = float(state[STEP] + 1)
    numbers[0] = 1 - min(decay[0], (1 + t) / (10 + t))
    numbers[1] = 1 if state[HALTED] == RUNNING else 0


@loop(writes="out", rows="target out")
def approach(target: Any, numbers: Any, out: Any) -> None:
    share = numbers[0]
    if numbers[1] == 0:
        return
    for i in range(out.size):
        out[i] += (target[i] - out[i]) * share
