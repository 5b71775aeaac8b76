"""Losses of targets that are numbers, and predictions from their logits: ``target_losses.cu``."""

from __future__ import annotations

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.contract.target_losses import ElementwiseLossName
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.fallback import NotFusedError, with_fallback
from chainrule.backends.cupy.losses import REALS, THREADS, is_matrix, launch_loss, loss_blocks, packs_and_blocks


@with_fallback
def elementwise_loss(
    be: Launcher, batch: LossBatch, kind: ElementwiseLossName, *, parameter: float = 0.0, scale: float, mean: bool
) -> None:
    logits, targets = batch.logits, batch.targets
    if not is_matrix(logits, targets):
        raise NotFusedError(f"{kind} of {logits.dtype} {logits.shape}, targets {targets.dtype}")
    packs, blocks = packs_and_blocks(be, logits, targets, batch.dlogits, weighted=batch.weights is not None)
    launch_loss(
        be,
        f"elementwise_{kind}",
        blocks,
        batch,
        targets=targets,
        packs=packs,
        parameter=parameter,
        scale=scale,
        mean=mean,
    )


@with_fallback
def quantile_loss(be: Launcher, batch: LossBatch, *, levels: tuple[float, ...], scale: float, mean: bool) -> None:
    logits, targets = batch.logits, batch.targets
    if not (is_matrix(logits) and targets.dtype == logits.dtype):
        raise NotFusedError(f"quantile_loss of {logits.dtype} {logits.shape}, targets {targets.dtype}")
    on_device = be.constant(np.array(levels, logits.dtype), use=f"levels {levels}")
    launch_loss(
        be,
        "quantile_loss",
        loss_blocks(be, len(targets), THREADS, most=2),
        batch,
        targets=targets,
        levels=on_device,
        columns=targets.shape[1],
        count=len(levels),
        scale=scale,
        mean=mean,
    )


@with_fallback
def gaussian_nll(be: Launcher, batch: LossBatch, *, scale: float, mean: bool) -> None:
    logits, targets = batch.logits, batch.targets
    if not (is_matrix(logits) and targets.dtype == logits.dtype):
        raise NotFusedError(f"gaussian_nll of {logits.dtype} {logits.shape}, targets {targets.dtype}")
    launch_loss(
        be,
        "gaussian_nll",
        loss_blocks(be, targets.size, THREADS, most=2),
        batch,
        targets=targets,
        columns=targets.shape[1],
        scale=scale,
        mean=mean,
    )


# ---- from logits to predictions -------------------------------------------------------------------


@with_fallback
def exp(be: Launcher, x: Array, *, out: Array) -> None:
    if not (x.dtype in REALS and out.dtype == x.dtype and x.size):
        raise NotFusedError(f"exp of {x.dtype} into {out.dtype}")
    blocks = loss_blocks(be, x.size, THREADS, most=2, sums=False)
    be.launch("exponential", str(x.dtype), (blocks,), (THREADS,), x=x, out=out, count=x.size)


@with_fallback
def quantiles(be: Launcher, logits: Array, *, count: int, out: Array) -> None:
    if not is_matrix(logits, out):
        raise NotFusedError(f"quantiles of {logits.dtype} {logits.shape} into {out.dtype}")
    targets = logits.size // count
    blocks = loss_blocks(be, targets, THREADS, most=2, sums=False)
    be.launch(
        "quantiles", str(logits.dtype), (blocks,), (THREADS,), logits=logits, out=out, targets=targets, count=count
    )


@with_fallback
def mean_and_variance(be: Launcher, logits: Array, *, out: Array) -> None:
    if not is_matrix(logits, out):
        raise NotFusedError(f"mean_and_variance of {logits.dtype} {logits.shape} into {out.dtype}")
    rows, columns = logits.shape
    blocks = loss_blocks(be, logits.size, THREADS, most=2, sums=False)
    be.launch(
        "mean_and_variance",
        str(logits.dtype),
        (blocks,),
        (THREADS,),
        logits=logits,
        out=out,
        rows=rows,
        columns=columns,
    )
