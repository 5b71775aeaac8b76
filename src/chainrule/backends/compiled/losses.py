"""Losses of classes: loops, with NumPy's own exp and log between them."""

from __future__ import annotations

from typing import Final

import numpy as np

from chainrule.backends.compiled.members import lie_together, rows_of_all
from chainrule.backends.compiled.state import COMPILED_DTYPES, LOOPS, compile_for
from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.backend import BATCH, HALTED, LOSS, RUNNING, STEP, WEIGHT
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.numpy.backend import NumPyBackend

PAIRWISE: Final = 128  # up to here NumPy's sum over a contiguous axis is one unrolled loop; beyond, it recurses


def softmax_cross_entropy(
    self: NumPyBackend, batch: LossBatch, *, label_smoothing: float = 0.0, scale: float, mean: bool
) -> None:
    loops, logits, labels, dlogits = LOOPS.losses, batch.logits, batch.targets, batch.dlogits
    dtype, has_members = logits.dtype, logits.ndim == 3
    if (
        loops is not None
        and not label_smoothing
        and dtype.char in COMPILED_DTYPES
        and logits.shape[-1] <= PAIRWISE
        and (not has_members or (labels.ndim == 2 and lie_together(logits, labels, dlogits)))
    ):
        if has_members:  # each row by itself, whosever it is
            logits, labels, dlogits = rows_of_all(logits), rows_of_all(labels), rows_of_all(dlogits)
        chosen = self._scratch(labels.shape, dtype, use="chosen")
        losses = self._scratch(labels.shape, dtype, use="losses")
        try:
            if dtype.char not in LOOPS.softmax_ready:  # dlogits may lie in the memory of the logits
                compile_for(loops.choose, dlogits, labels, chosen)
                compile_for(loops.normalize_less_onehot, dlogits, labels, losses)
                LOOPS.softmax_ready.add(dtype.char)
            loops.subtract_row_max(logits, dlogits)
            loops.choose(dlogits, labels, chosen)
            np.exp(dlogits, out=dlogits)
            loops.normalize_less_onehot(dlogits, labels, losses)
            np.log(losses, out=losses)
            np.subtract(losses, chosen, out=losses)
            if has_members:
                finish_members(batch, losses.reshape(batch.targets.shape), scale=scale, mean=mean)
            else:
                self._finish(batch, losses, scale=scale, mean=mean)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    NumPyBackend.softmax_cross_entropy(self, batch, label_smoothing=label_smoothing, scale=scale, mean=mean)


def finish_members(batch: LossBatch, losses: Array, *, scale: float, mean: bool, factor: float = 1.0) -> None:
    """As ``finish``, of the losses (k, n) of the rows of k members."""
    weights, totals, state = batch.weights, batch.totals[:, batch.state[BATCH]], batch.state
    k, n = losses.shape
    if weights is None:
        totals[:, LOSS], totals[:, WEIGHT] = losses.sum(axis=1, dtype=totals.dtype), n
        row_factor = factor * scale / (n if mean else 1)
        if row_factor != 1:
            np.multiply(batch.dlogits, row_factor, out=batch.dlogits)
    else:
        weights = np.broadcast_to(weights, (k, n))
        totals[:, LOSS] = (losses * weights).sum(axis=1, dtype=totals.dtype)
        totals[:, WEIGHT] = weight = weights.sum(axis=1, dtype=totals.dtype)
        row_factors = np.full(k, factor * scale)
        if mean:
            row_factors /= np.where(weight == 0, 1, weight)
        np.multiply(
            batch.dlogits, (weights * row_factors[:, None].astype(weights.dtype))[:, :, None], out=batch.dlogits
        )
    totals[:, LOSS] *= scale
    if state[HALTED] == RUNNING and not np.isfinite(totals[:, LOSS]).all():
        state[HALTED] = state[STEP]
