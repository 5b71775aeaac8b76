"""From logits to predictions: ``losses.cu`` and ``target_losses.cu``, whose kernels share code with the losses."""

from __future__ import annotations

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.fallback import NotFusedError, with_fallback
from chainrule.backends.cupy.losses import REALS, THREADS, is_matrix, loss_blocks, threads_per_row
from chainrule.backends.cupy.members import matrix_of_all


@with_fallback
def softmax(self: Launcher, logits: Array, *, out: Array) -> None:
    logits, out = matrix_of_all(logits), matrix_of_all(out)
    if not is_matrix(logits, out):
        raise NotFusedError(f"softmax of {logits.dtype} {logits.shape} into {out.dtype}")
    rows, columns = logits.shape
    group, blocks = threads_per_row(self, rows, columns, sums=False)
    self.launch(
        "softmax",
        str(logits.dtype),
        (blocks,),
        (THREADS,),
        logits=logits,
        out=out,
        rows=rows,
        columns=columns,
        group=group,
    )


@with_fallback
def argmax(self: Launcher, x: Array, *, out: Array) -> None:
    if x.ndim > 2 and x.flags.c_contiguous and out.flags.c_contiguous:
        x, out = matrix_of_all(x), out.reshape(-1)
    if not (is_matrix(x) and out.dtype == np.int32):
        raise NotFusedError(f"argmax of {x.dtype} {x.shape} into {out.dtype}")
    rows, columns = x.shape
    group, blocks = threads_per_row(self, rows, columns, sums=False)
    self.launch("argmax", str(x.dtype), (blocks,), (THREADS,), x=x, out=out, rows=rows, columns=columns, group=group)


@with_fallback
def positive(self: Launcher, x: Array, *, out: Array) -> None:
    if not (x.dtype in REALS and out.dtype == np.int32 and x.size):
        raise NotFusedError(f"positive of {x.dtype} into {out.dtype}")
    blocks = loss_blocks(self, x.size, THREADS, most=4, sums=False)
    self.launch("positive", str(x.dtype), (blocks,), (THREADS,), x=x, out=out, count=x.size)


@with_fallback
def exp(self: Launcher, x: Array, *, out: Array) -> None:
    if not (x.dtype in REALS and out.dtype == x.dtype and x.size):
        raise NotFusedError(f"exp of {x.dtype} into {out.dtype}")
    blocks = loss_blocks(self, x.size, THREADS, most=2, sums=False)
    self.launch("exponential", str(x.dtype), (blocks,), (THREADS,), x=x, out=out, count=x.size)


@with_fallback
def quantiles(self: Launcher, logits: Array, *, count: int, out: Array) -> None:
    logits, out = matrix_of_all(logits), matrix_of_all(out)
    if not is_matrix(logits, out):
        raise NotFusedError(f"quantiles of {logits.dtype} {logits.shape} into {out.dtype}")
    targets = logits.size // count
    blocks = loss_blocks(self, targets, THREADS, most=2, sums=False)
    self.launch(
        "quantiles", str(logits.dtype), (blocks,), (THREADS,), logits=logits, out=out, targets=targets, count=count
    )


@with_fallback
def mean_and_variance(self: Launcher, logits: Array, *, out: Array) -> None:
    logits, out = matrix_of_all(logits), matrix_of_all(out)
    if not is_matrix(logits, out):
        raise NotFusedError(f"mean_and_variance of {logits.dtype} {logits.shape} into {out.dtype}")
    rows, columns = logits.shape
    blocks = loss_blocks(self, logits.size, THREADS, most=2, sums=False)
    self.launch(
        "mean_and_variance",
        str(logits.dtype),
        (blocks,),
        (THREADS,),
        logits=logits,
        out=out,
        rows=rows,
        columns=columns,
    )
