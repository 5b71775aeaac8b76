"""Loops of factors of columns."""

from __future__ import annotations

from typing import Any

from chainrule.backends.compiled.jit import loop


@loop(writes="")
def scale_gradient(dy: Any, x: Any, dscale: Any) -> None:
    n, k = x.shape
    dscale[:] = 0
    for i in range(n):
        for j in range(k):
            dscale[j] += dy[i, j] * x[i, j]


@loop(writes="")
def times_scale(dy: Any, scale: Any, dx: Any) -> None:
    n, k = dy.shape
    for i in range(n):
        for j in range(k):
            dx[i, j] = dy[i, j] * scale[j]
