"""Losses of classes: loops, with NumPy's own exp and log between them."""

from __future__ import annotations

import numpy as np

from chainrule.backends.compiled.calls import call, call_ufunc, known_dtype, number
from chainrule.backends.compiled.fallback import with_fallback
from chainrule.backends.compiled.state import LOOPS, NotCompiledError
from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.numpy.backend import NumPyBackend


@with_fallback
def softmax_cross_entropy(
    self: NumPyBackend, batch: LossBatch, *, label_smoothing: float = 0.0, scale: float, mean: bool
) -> None:
    loops, n = LOOPS.losses, batch.logits.shape[-2]
    known_dtype(batch.logits, batch.dlogits)
    if label_smoothing:
        raise NotCompiledError("smoothed labels")
    for of_member in members_of(batch):
        logits, labels, dlogits = of_member.logits, of_member.targets, of_member.dlogits
        chosen, losses = (self._scratch((n,), logits.dtype, use=use) for use in ("chosen", "losses"))
        call(loops.subtract_row_max, logits, dlogits)
        call(loops.choose, dlogits, labels, chosen)
        call_ufunc(np.exp, dlogits, out=dlogits)
        call(loops.normalize_less_onehot, dlogits, labels, losses)
        call_ufunc(np.log, losses, out=losses)
        call_ufunc(np.subtract, losses, chosen, out=losses)
        finish(of_member, losses, scale=scale, mean=mean)


PAIRWISE = 128
finish_members = None


def members_of(batch: LossBatch):
    return [batch] if batch.logits.ndim == 2 else batch.members()


def finish(batch: LossBatch, losses: Array, *, scale: float, mean: bool, factor: float = 1.0) -> None:
    """From l_i and w_i to the totals, and from dl_i to ``factor * scale * w_i dl_i / divisor``; of one net."""
    loops, dlogits = LOOPS.losses, batch.dlogits
    if batch.weights is not None:
        raise NotCompiledError("weights")
    row_factor = factor * scale / (len(losses) if mean else 1)
    if row_factor != 1:
        call(loops.times, dlogits, number(row_factor, dlogits.dtype))
    call(loops.record_loss, losses, number(scale, batch.totals.dtype), batch.state, batch.totals)
