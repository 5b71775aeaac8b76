"""From logits to predictions: ``losses.cu`` and ``target_losses.cu``, whose kernels share code with the losses."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.fallback import NotFusedError, with_fallback
from chainrule.backends.cupy.losses import REALS, THREADS, is_matrix, loss_blocks, threads_per_row
from chainrule.backends.cupy.members import blocks_of, blocks_of_rows


@with_fallback
def softmax(self: Launcher, logits: Array, *, out: Array) -> None:
    for z, p in blocks_of_rows(logits, out):
        if not is_matrix(z, p):
            raise NotFusedError(f"softmax of {logits.dtype} {logits.shape} into {out.dtype}")
        rows, columns = z.shape
        group, blocks = threads_per_row(self, rows, columns, sums=False)
        _launch(self, "softmax", blocks, logits=z, out=p, rows=rows, columns=columns, group=group)


@with_fallback
def argmax(self: Launcher, x: Array, *, out: Array) -> None:
    for x_part, out_part in blocks_of_rows(x, out):
        if not (is_matrix(x_part) and out.dtype == np.int32):
            raise NotFusedError(f"argmax of {x.dtype} {x.shape} into {out.dtype}")
        rows, columns = x_part.shape
        group, blocks = threads_per_row(self, rows, columns, sums=False)
        _launch(self, "argmax", blocks, x=x_part, out=out_part, rows=rows, columns=columns, group=group)


@with_fallback
def positive(self: Launcher, x: Array, *, out: Array) -> None:
    if not (x.dtype in REALS and out.dtype == np.int32 and x.size):
        raise NotFusedError(f"positive of {x.dtype} into {out.dtype}")
    for x_part, out_part in blocks_of(x, out):
        blocks = loss_blocks(self, x_part.size, THREADS, most=4, sums=False)
        _launch(self, "positive", blocks, x=x_part, out=out_part, count=x_part.size)


@with_fallback
def exp(self: Launcher, x: Array, *, out: Array) -> None:
    if not (x.dtype in REALS and out.dtype == x.dtype and x.size):
        raise NotFusedError(f"exp of {x.dtype} into {out.dtype}")
    for x_part, out_part in blocks_of(x, out):
        blocks = loss_blocks(self, x_part.size, THREADS, most=2, sums=False)
        _launch(self, "exponential", blocks, x=x_part, out=out_part, count=x_part.size)


@with_fallback
def quantiles(self: Launcher, logits: Array, *, count: int, out: Array) -> None:
    for z, q in blocks_of_rows(logits, out):
        if not is_matrix(z, q):
            raise NotFusedError(f"quantiles of {logits.dtype} {logits.shape} into {out.dtype}")
        targets = z.size // count
        blocks = loss_blocks(self, targets, THREADS, most=2, sums=False)
        _launch(self, "quantiles", blocks, logits=z, out=q, targets=targets, count=count)


@with_fallback
def mean_and_variance(self: Launcher, logits: Array, *, out: Array) -> None:
    for z, out_part in blocks_of_rows(logits, out):
        if not is_matrix(z, out_part):
            raise NotFusedError(f"mean_and_variance of {logits.dtype} {logits.shape} into {out.dtype}")
        rows, columns = z.shape
        blocks = loss_blocks(self, z.size, THREADS, most=2, sums=False)
        _launch(self, "mean_and_variance", blocks, logits=z, out=out_part, rows=rows, columns=columns)


def _launch(self: Launcher, kernel: str, blocks: int, **arguments: Any) -> None:
    """Launch a kernel in the dtype of the array that it is handed first."""
    first: Array = next(iter(arguments.values()))
    self.launch(kernel, str(first.dtype), (blocks,), (THREADS,), **arguments)
