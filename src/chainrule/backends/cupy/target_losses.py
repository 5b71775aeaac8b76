"""Losses of targets that are numbers, and predictions from their logits: ``target_losses.cu``."""

from __future__ import annotations

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.contract.target_losses import ElementwiseLossName
from chainrule.backends.cupy.losses import REALS, THREADS, Losses, is_matrix


class TargetLosses(Losses):
    """The part of the contract from logits to losses of numbers."""

    def elementwise_loss(
        self, batch: LossBatch, kind: ElementwiseLossName, *, parameter: float = 0.0, scale: float, mean: bool
    ) -> None:
        logits, targets = batch.logits, batch.targets
        if not is_matrix(logits, targets):
            self._refuse_in_record(f"{kind} of {logits.dtype} {logits.shape}, targets {targets.dtype}")
            super().elementwise_loss(batch, kind, parameter=parameter, scale=scale, mean=mean)
            return
        packs, blocks = self._packs(logits, targets, batch.dlogits, weighted=batch.weights is not None)
        self._loss(
            f"elementwise_{kind}",
            blocks,
            batch,
            targets=targets,
            packs=packs,
            parameter=parameter,
            scale=scale,
            mean=mean,
        )

    def quantile_loss(self, batch: LossBatch, *, levels: tuple[float, ...], scale: float, mean: bool) -> None:
        logits, targets = batch.logits, batch.targets
        if not (is_matrix(logits) and targets.dtype == logits.dtype):
            self._refuse_in_record(f"quantile_loss of {logits.dtype} {logits.shape}, targets {targets.dtype}")
            super().quantile_loss(batch, levels=levels, scale=scale, mean=mean)
            return
        on_device = self._constant(np.array(levels, logits.dtype), use=f"levels {levels}")
        self._loss(
            "quantile_loss",
            self._blocks(len(targets), THREADS, most=2),
            batch,
            targets=targets,
            levels=on_device,
            columns=targets.shape[1],
            count=len(levels),
            scale=scale,
            mean=mean,
        )

    def gaussian_nll(self, batch: LossBatch, *, scale: float, mean: bool) -> None:
        logits, targets = batch.logits, batch.targets
        if not (is_matrix(logits) and targets.dtype == logits.dtype):
            self._refuse_in_record(f"gaussian_nll of {logits.dtype} {logits.shape}, targets {targets.dtype}")
            super().gaussian_nll(batch, scale=scale, mean=mean)
            return
        self._loss(
            "gaussian_nll",
            self._blocks(targets.size, THREADS, most=2),
            batch,
            targets=targets,
            columns=targets.shape[1],
            scale=scale,
            mean=mean,
        )

    # ---- from logits to predictions -------------------------------------------------------------

    def exp(self, x: Array, *, out: Array) -> None:
        if not (x.dtype in REALS and out.dtype == x.dtype and x.size):
            self._refuse_in_record(f"exp of {x.dtype} into {out.dtype}")
            super().exp(x, out=out)
            return
        blocks = self._blocks(x.size, THREADS, most=2, sums=False)
        self._launch("exponential", str(x.dtype), (blocks,), (THREADS,), x=x, out=out, count=x.size)

    def quantiles(self, logits: Array, *, count: int, out: Array) -> None:
        if not is_matrix(logits, out):
            self._refuse_in_record(f"quantiles of {logits.dtype} {logits.shape} into {out.dtype}")
            super().quantiles(logits, count=count, out=out)
            return
        targets = logits.size // count
        blocks = self._blocks(targets, THREADS, most=2, sums=False)
        self._launch(
            "quantiles", str(logits.dtype), (blocks,), (THREADS,), logits=logits, out=out, targets=targets, count=count
        )

    def mean_and_variance(self, logits: Array, *, out: Array) -> None:
        if not is_matrix(logits, out):
            self._refuse_in_record(f"mean_and_variance of {logits.dtype} {logits.shape} into {out.dtype}")
            super().mean_and_variance(logits, out=out)
            return
        rows, columns = logits.shape
        blocks = self._blocks(logits.size, THREADS, most=2, sums=False)
        self._launch(
            "mean_and_variance",
            str(logits.dtype),
            (blocks,),
            (THREADS,),
            logits=logits,
            out=out,
            rows=rows,
            columns=columns,
        )
