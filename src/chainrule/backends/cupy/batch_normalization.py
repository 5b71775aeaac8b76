"""Batch normalisation: ``batch_normalization.cu`` and ``batch_normalization_backward.cu``."""

from __future__ import annotations

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.fallback import NotFusedError, with_fallback
from chainrule.backends.cupy.members import per_member
from chainrule.backends.cupy.strips import (
    Strips,
    are_alike_matrices,
    element_splits,
    launch_strips,
    strips,
    sum_splits,
)


@per_member
@with_fallback
def batch_norm(
    self: Launcher,
    x: Array,
    gain: Array,
    bias: Array,
    state: Array,
    *,
    eps: float,
    momentum: float,
    mean: Array,
    inverse_std: Array,
    running_mean: Array,
    running_var: Array,
    y: Array,
) -> None:
    if not are_alike_matrices(x, y):
        raise NotFusedError(f"batch_norm of {x.dtype} {x.shape}")
    over = strips(x, y, gain, bias, mean, inverse_std)
    splits = sum_splits(len(x), over, self.multiprocessors)
    launch_strips(
        self,
        "batch_norm",
        x,
        over,
        splits,
        x=x,
        gain=gain,
        bias=bias,
        state=state,
        eps=eps,
        momentum=momentum,
        mean=mean,
        inverse_std=inverse_std,
        running_mean=running_mean,
        running_var=running_var,
        y=y,
        **sums_across_blocks(self, mean, over, splits),
    )
    if splits > 1:
        _normalize_columns(self, x, gain, bias, mean, inverse_std, y, inverts=False, eps=0.0)


@per_member
@with_fallback
def batch_norm_inference(
    self: Launcher, x: Array, gain: Array, bias: Array, mean: Array, var: Array, *, eps: float, y: Array
) -> None:
    if not are_alike_matrices(x, y):
        raise NotFusedError(f"batch_norm_inference of {x.dtype} {x.shape}")
    _normalize_columns(self, x, gain, bias, mean, var, y, inverts=True, eps=eps)


def _normalize_columns(
    self: Launcher,
    x: Array,
    gain: Array,
    bias: Array,
    mean: Array,
    spread: Array,
    y: Array,
    *,
    inverts: bool,
    eps: float,
) -> None:
    """y = gain (x - mean) spread + bias,   1 / sqrt(spread + eps) in place of spread if ``inverts``."""
    over = strips(x, y, gain, bias, mean, spread)
    launch_strips(
        self,
        "normalize_columns",
        x,
        over,
        element_splits(len(x), over, self.multiprocessors),
        x=x,
        mean=mean,
        spread=spread,
        inverts=inverts,
        eps=eps,
        gain=gain,
        bias=bias,
        y=y,
    )


@per_member
@with_fallback
def batch_norm_backward(
    self: Launcher,
    dy: Array,
    x: Array,
    gain: Array,
    mean: Array,
    inverse_std: Array,
    *,
    dx: Array | None,
    dgain: Array,
    dbias: Array,
) -> None:
    stored = (dy, x) if dx is None else (dy, x, dx)
    if not are_alike_matrices(*stored):
        raise NotFusedError(f"the backward pass through batch_norm of {dy.dtype} {dy.shape}")
    over = strips(*stored, gain, mean, inverse_std, dgain, dbias)
    splits = sum_splits(len(dy), over, self.multiprocessors)
    arrays = {"dy": dy, "x": x, "gain": gain, "mean": mean, "inverse_std": inverse_std}
    gradients = {"dx": dx, "dgain": dgain, "dbias": dbias}
    sums = sums_across_blocks(self, dgain, over, splits)
    launch_strips(self, "batch_norm_backward", dy, over, splits, **arrays, **gradients, **sums)
    if splits > 1 and dx is not None:
        splits = element_splits(len(dy), over, self.multiprocessors)
        launch_strips(self, "batch_norm_input_gradient", dy, over, splits, **arrays, **gradients)


def sums_across_blocks(self: Launcher, like: Array, over: Strips, splits: int) -> dict[str, Array | None]:
    """The memory for two sums over the rows of a strip that several blocks share."""
    if splits == 1:
        return {"partials": None, "tickets": None}
    return {
        "partials": self.scratch((2, splits, *like.shape), like.dtype, use="two sums of strips"),
        "tickets": self.zeroed_scratch((over.number,), np.uint32, use="tickets of normalised strips"),
    }
