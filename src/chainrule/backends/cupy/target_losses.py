"""Losses of targets that are numbers, and predictions from their logits: ``target_losses.cu``."""

from __future__ import annotations

import math

import numpy as np

from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.contract.target_losses import ElementwiseLossName
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.fallback import NotFusedError, with_fallback
from chainrule.backends.cupy.losses import (
    THREADS,
    are_matrices,
    launch_loss,
    loss_blocks,
    packs_and_blocks,
)
from chainrule.backends.cupy.members import ends, losses_together
from chainrule.backends.cupy.strips import are_aligned


@losses_together
@with_fallback
def elementwise_loss(
    self: Launcher, batch: LossBatch, kind: ElementwiseLossName, *, parameter: float = 0.0, scale: float, mean: bool
) -> None:
    logits, targets = batch.logits, batch.targets
    if not (are_matrices(logits) and targets.dtype == logits.dtype and targets.shape[-2:] == logits.shape[-2:]):
        raise NotFusedError(f"{kind} of {logits.dtype} {logits.shape}, targets {targets.dtype}")
    packs, blocks = packs_and_blocks(self, logits, weighted=batch.weights is not None)
    launch_loss(
        self,
        f"elementwise_{kind}",
        blocks,
        batch,
        targets=targets,
        packs=packs,
        aligned=are_aligned(*(end for array in (logits, targets, batch.dlogits) for end in ends(array, 2))),
        parameter=parameter,
        scale=scale,
        mean=mean,
    )


@losses_together
@with_fallback
def quantile_loss(self: Launcher, batch: LossBatch, *, levels: tuple[float, ...], scale: float, mean: bool) -> None:
    logits, targets = batch.logits, batch.targets
    if not (are_matrices(logits) and targets.dtype == logits.dtype):
        raise NotFusedError(f"quantile_loss of {logits.dtype} {logits.shape}, targets {targets.dtype}")
    on_device = self.constant(np.array(levels, logits.dtype), use=f"levels {levels}")
    launch_loss(
        self,
        "quantile_loss",
        loss_blocks(self, targets.shape[-2], THREADS, most=2),
        batch,
        targets=targets,
        levels=on_device,
        columns=targets.shape[-1],
        count=len(levels),
        scale=scale,
        mean=mean,
    )


@losses_together
@with_fallback
def gaussian_nll(self: Launcher, batch: LossBatch, *, scale: float, mean: bool) -> None:
    logits, targets = batch.logits, batch.targets
    if not (are_matrices(logits) and targets.dtype == logits.dtype):
        raise NotFusedError(f"gaussian_nll of {logits.dtype} {logits.shape}, targets {targets.dtype}")
    launch_loss(
        self,
        "gaussian_nll",
        loss_blocks(self, math.prod(targets.shape[-2:]), THREADS, most=2),
        batch,
        targets=targets,
        columns=targets.shape[-1],
        scale=scale,
        mean=mean,
    )
