"""The kernels that work for all members of an ensemble at once, for a sanitizer: see :mod:`emulation.every_kernel`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.backends.contract.backend import BF16, RUNNING, Array
from chainrule.backends.contract.losses import LossBatch
from emulation.backend import EmulatedBackend, narrow

MEMBERS = 3


def every_member(be: EmulatedBackend, n: int, k: int, dtype: str) -> None:
    """Each once, on arrays of their exact size; parameters lie apart, as in an arena."""
    stored = be.storage(dtype)

    def some(shape: tuple[int, ...], kind: Any = dtype) -> Array:
        out = be.empty(shape, kind)
        values = rng.normal(size=shape)
        out[...] = narrow(values.astype(np.float32)) if out.dtype == BF16 else values
        return out

    rng, state = np.random.default_rng(n + k), np.array([3, 1, RUNNING])
    x, lr = some((MEMBERS, n, k), stored), np.array([0.1])
    be.dropout(x, state, key=(1, 2), counter=(3, 4), rate=0.5, out=x)
    for activation in ("identity", "tanh"):
        db = some((MEMBERS, k + 2))[:, 1:-1]
        be.activation_backward(activation, x, some(x.shape, stored), dz=some(x.shape, stored), db=db)
    be.dense(some((n, 3), stored), some((MEMBERS, 3, k), stored), some((MEMBERS, k), stored), "tanh", z=x, y=x)

    own, order = some((MEMBERS, 2 * n)), np.stack([rng.permutation(2 * n) for _ in range(MEMBERS)])
    out = [some(x.shape, stored), some((MEMBERS, n))]
    be.gather([some((2 * n, k)), own], order, np.array([1]), stride=n, out=out)

    _losses(be, some, stored, n, k)
    params, grads, m, v = (np.abs(some((MEMBERS, n * k + 5)))[:, 2 : n * k + 2] for _ in range(4))
    plain = {"lr_factor": 1.0, "weight_decay": 0.1}
    be.sgd(params, grads, m, lr, state, momentum=0.9, nesterov=True, **plain)
    be.sgd(params, grads, None, lr, state, momentum=0.0, nesterov=False, **plain)
    be.adam(params, grads, m, v, lr, state, beta1=0.9, beta2=0.99, eps=1e-8, decoupled=True, **plain)
    marks = {"touched": np.ones((MEMBERS, n + 3), np.float32)[:, 1 : n + 1]}
    be.sgd(params, grads, m, lr, state, momentum=0.9, nesterov=True, **plain, **marks)
    be.adam(params, grads, m, v, lr, state, beta1=0.9, beta2=0.99, eps=1e-8, decoupled=True, **plain, **marks)
    totals = np.ones((MEMBERS, 2, 3))
    be.clip_by_global_norm(grads, max_norm=0.5)
    be.penalize(params, grads, totals, state, alpha=0.1, mean=True)
    be.accumulate(grads, totals, state, group=2, mean=True, out=m)
    be.average(params, state, decay=0.9, out=v)


def _losses(be: EmulatedBackend, some: Callable[..., Array], stored: np.dtype, n: int, k: int) -> None:
    rng, state, totals = np.random.default_rng(n), np.array([3, 1, RUNNING]), np.empty((MEMBERS, 2, 3))
    logits, labels = some((MEMBERS, n, k)), rng.integers(0, k, (MEMBERS, n)).astype(np.int32)
    options: dict[str, Any] = {"scale": 0.5, "mean": True}
    for weights in (None, np.abs(some((n,))), np.abs(some((MEMBERS, n)))):

        def batch(targets: Array, z: Array = logits, weights: Array | None = weights) -> LossBatch:
            return LossBatch(z, targets, weights, state.copy(), totals, some(z.shape, stored))

        be.softmax_cross_entropy(batch(labels), **options)
        be.focal_loss(batch(labels[0].copy()), gamma=2.0, **options)
        be.elementwise_loss(batch(some((n, k))), "squared_error", **options)
        be.quantile_loss(batch(some((MEMBERS, n, 1))), levels=tuple((np.arange(k) + 1) / (k + 1)), **options)
        be.gaussian_nll(batch(some((MEMBERS, n, k)), some((MEMBERS, n, 2 * k))), **options)
        be.count_correct(logits, labels, weights, state, totals=totals)
