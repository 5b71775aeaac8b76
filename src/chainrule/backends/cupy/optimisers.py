"""Optimisers: ``optimisers.cu``; clipping, penalty, accumulation and averages: ``clipping_and_averages.cu``."""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numpy as np

from chainrule.backends.contract.backend import BF16, Array
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.fallback import NotFusedError, with_fallback
from chainrule.backends.cupy.kernels import ACCESS
from chainrule.backends.cupy.members import stride

THREADS: Final = 256
LANES: Final = 32  # of a warp, which has a vector
# Blocks that run at once, each thread with loads of 32 to 64 bytes under way; Adam needs twice the registers.
BLOCKS_PER_MULTIPROCESSOR: Final = 8
ADAM_BLOCKS_PER_MULTIPROCESSOR: Final = 4
PARTIAL_SUMS: Final = 1024  # at most; whatever the device, so that the norm has the same bits on all

_VARIANTS: Final[dict[np.dtype, str]] = {np.dtype(name): name for name in ("float32", "float64")}


def variant_of(*arrays: Array | None) -> str | None:
    """The variant for float arrays of one dtype, flat or flat for each member; None if they are no such arrays."""
    given = [array for array in arrays if array is not None]
    dtypes = {array.dtype for array in given}
    shapes = {array.shape for array in given}
    flat = given[0].ndim <= 2 and all(array.strides[-1] == array.itemsize for array in given)
    return _VARIANTS.get(dtypes.pop()) if len(dtypes) == len(shapes) == 1 and flat else None


def variant_with_factors(factors: Array | None, *arrays: Array | None) -> str | None:
    """The variant for arrays as of :func:`variant_of`, and what the first is rounded to; None if there is no such."""
    variant, params = variant_of(*arrays), arrays[0]
    if factors is None or params is None:
        return variant
    if factors.shape != params.shape or factors.strides[-1] != factors.itemsize:
        return None
    narrow = variant == "float32" and factors.dtype == BF16
    return "bf16" if narrow else variant if factors.dtype == params.dtype else None


def grid_for(array: Array, limit: int) -> tuple[int, ...]:
    """For each member a thread for every 16 bytes of its array, in at most ``limit`` blocks."""
    nbytes = array.shape[-1] * array.itemsize
    blocks = max(1, min(limit, -(-nbytes // (ACCESS * THREADS))))
    return (blocks,) if array.ndim == 1 else (blocks, len(array))


def strides_of(**arrays: Array | None) -> dict[str, int]:
    """``NAME_stride`` of each: elements from the array of a member to that of the next."""
    return {f"{name}_stride": 0 if array is None else stride(array, 1) for name, array in arrays.items()}


class _Work(NamedTuple):
    """Which kernel updates what: all elements, or the vectors that are touched."""

    kernel: str
    grid: tuple[int, ...]
    arguments: dict[str, Any]


def _work(self: Launcher, kernel: str, params: Array, touched: Array | None, blocks: int) -> _Work:
    limit = blocks * self.multiprocessors
    if touched is None:
        return _Work(kernel, grid_for(params, limit), {"size": params.shape[-1]})
    vectors = touched.shape[-1]
    if touched.dtype != np.float32 or touched.strides[-1] != touched.itemsize or touched.ndim != params.ndim:
        raise NotFusedError(f"{kernel} of vectors marked by {touched.dtype} {touched.shape}")
    for_all = max(1, min(limit, -(-vectors * LANES // THREADS)))
    arguments = {"touched": touched, "vectors": vectors, "width": params.shape[-1] // vectors}
    grid = (for_all,) if params.ndim == 1 else (for_all, len(params))
    return _Work(f"{kernel}_of_touched", grid, arguments | strides_of(touched=touched))


def _members(array: Array) -> int:
    return 1 if array.ndim == 1 else len(array)


@with_fallback
def sgd(
    self: Launcher,
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
    variant = variant_with_factors(factors, params, grads, velocity)
    if variant is None:
        raise NotFusedError(f"sgd of {params.dtype}")
    work = _work(self, "sgd", params, touched, BLOCKS_PER_MULTIPROCESSOR)
    self.launch(
        work.kernel,
        variant,
        work.grid,
        (THREADS,),
        params=params,
        grads=grads,
        velocity=velocity,
        factors=factors,
        lr=lr,
        state=state,
        **work.arguments,
        lr_count=len(lr),
        lr_factor=lr_factor,
        momentum=momentum,
        nesterov=nesterov,
        weight_decay=weight_decay,
        **strides_of(params=params, grads=grads, velocity=velocity, factors=factors),
    )


@with_fallback
def adam(
    self: Launcher,
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
    variant = variant_with_factors(factors, params, grads, m, v)
    if variant is None:
        raise NotFusedError(f"adam of {params.dtype}")
    work = _work(self, "adam", params, touched, ADAM_BLOCKS_PER_MULTIPROCESSOR)
    self.launch(
        work.kernel,
        variant,
        work.grid,
        (THREADS,),
        params=params,
        grads=grads,
        m=m,
        v=v,
        factors=factors,
        lr=lr,
        state=state,
        **work.arguments,
        lr_count=len(lr),
        lr_factor=lr_factor,
        beta1=beta1,
        rest1=1 - beta1,
        log_beta1=_log(beta1),
        beta2=beta2,
        rest2=1 - beta2,
        log_beta2=_log(beta2),
        eps=eps,
        eps_hat=eps_hat,
        coupled_decay=0.0 if decoupled else weight_decay,
        decoupled_decay=weight_decay * decoupled,
        **strides_of(params=params, grads=grads, m=m, v=v, factors=factors),
    )


@with_fallback
def clip_by_global_norm(self: Launcher, grads: Array, *, max_norm: float) -> None:
    variant = variant_of(grads)
    if variant is None:
        raise NotFusedError(f"clip_by_global_norm of {grads.dtype}")
    members = _members(grads)
    factor = self.scratch((members,), grads.dtype, use="clip_by_global_norm: factor")
    self.launch(
        "global_norm",
        variant,
        grid_for(grads, PARTIAL_SUMS),
        (THREADS,),
        grads=grads,
        size=grads.shape[-1],
        max_norm=max_norm,
        partials=self.scratch((members * PARTIAL_SUMS,), np.float64, use="global_norm: partials"),
        ticket=self.zeroed_scratch((members,), np.uint32, use="global_norm: ticket"),
        factor=factor,
        **strides_of(grads=grads),
    )
    grid = grid_for(grads, BLOCKS_PER_MULTIPROCESSOR * self.multiprocessors)
    arguments = {"grads": grads, "size": grads.shape[-1], "factor": factor, **strides_of(grads=grads)}
    self.launch("clip_by_global_norm", variant, grid, (THREADS,), **arguments)


@with_fallback
def penalize(
    self: Launcher, params: Array, grads: Array, totals: Array, state: Array, *, alpha: float, mean: bool
) -> None:
    variant = variant_of(params, grads)
    if variant is None:
        raise NotFusedError(f"penalize of {grads.dtype}")
    self.launch(
        "penalize",
        variant,
        grid_for(grads, PARTIAL_SUMS),
        (THREADS,),
        params=params,
        grads=grads,
        totals=totals,
        state=state,
        size=grads.shape[-1],
        alpha=alpha,
        mean=mean,
        partials=self.scratch((_members(grads) * PARTIAL_SUMS,), np.float64, use="penalize: partials"),
        ticket=self.zeroed_scratch((_members(grads),), np.uint32, use="penalize: ticket"),
        totals_stride=stride(totals, 2),
        **strides_of(params=params, grads=grads),
    )


@with_fallback
def accumulate(
    self: Launcher, grads: Array, totals: Array, state: Array, *, group: int, mean: bool, out: Array
) -> None:
    variant = variant_of(grads, out)
    if variant is None:
        raise NotFusedError(f"accumulate of {grads.dtype}")
    grid = grid_for(out, BLOCKS_PER_MULTIPROCESSOR * self.multiprocessors)
    self.launch(
        "accumulate",
        variant,
        grid,
        (THREADS,),
        grads=grads,
        totals=totals,
        state=state,
        size=out.shape[-1],
        group=group,
        mean=mean,
        out=out,
        totals_stride=stride(totals, 2),
        **strides_of(grads=grads, out=out),
    )


@with_fallback
def average(self: Launcher, params: Array, state: Array, *, decay: float, out: Array) -> None:
    variant = variant_of(params, out)
    if variant is None:
        raise NotFusedError(f"average of {params.dtype}")
    grid = grid_for(out, BLOCKS_PER_MULTIPROCESSOR * self.multiprocessors)
    arguments = {"params": params, "state": state, "size": out.shape[-1], "decay": decay, "out": out}
    self.launch("average", variant, grid, (THREADS,), **arguments, **strides_of(params=params, out=out))


def _log(beta: float) -> float:
    return math.log(beta) if beta else -math.inf
