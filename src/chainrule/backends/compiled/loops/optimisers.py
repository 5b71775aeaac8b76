"""Loops of optimisers."""

from __future__ import annotations

import math
from typing import Any

from chainrule.backends.compiled.jit import loop


@loop
def adam(
    p: Any,
    g: Any,
    m: Any,
    v: Any,
    keep: Any,
    decay: Any,
    beta1: Any,
    rest1: Any,
    beta2: Any,
    rest2: Any,
    step_eps: Any,
    step_size: Any,
) -> None:
    """``keep`` is 1 but for decoupled decay, ``decay`` 0 but for coupled decay."""
    coupled = decay != 0
    for i in range(p.size):
        gradient = g[i] + p[i] * decay if coupled else g[i]  # 0 times a weight that is infinite would be nan
        first = m[i] * beta1 + gradient * rest1
        second = v[i] * beta2 + (gradient * gradient) * rest2
        m[i] = first
        v[i] = second
        p[i] = p[i] * keep - first / (math.sqrt(second) + step_eps) * step_size


@loop
def sgd(p: Any, g: Any, rate: Any, decay: Any) -> None:
    for i in range(p.size):
        p[i] -= (g[i] + p[i] * decay) * rate


@loop
def sgd_momentum(p: Any, g: Any, velocity: Any, rate: Any, decay: Any, momentum: Any, nesterov: bool) -> None:
    for i in range(p.size):
        gradient = g[i] + p[i] * decay
        v = velocity[i] * momentum + gradient
        velocity[i] = v
        p[i] -= (gradient + v * momentum if nesterov else v) * rate


@loop
def approach(target: Any, share: Any, out: Any) -> None:
    for i in range(out.size):
        out[i] += (target[i] - out[i]) * share
