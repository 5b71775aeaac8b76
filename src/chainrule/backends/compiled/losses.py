"""Losses of classes: loops, with NumPy's own exp and log between them."""

from __future__ import annotations

from typing import Final

import numpy as np

from chainrule.backends.compiled.state import COMPILED_DTYPES, LOOPS, compile_for
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.numpy.backend import NumPyBackend

PAIRWISE: Final = 128  # up to here NumPy's sum over a contiguous axis is one unrolled loop; beyond, it recurses


def softmax_cross_entropy(
    self: NumPyBackend, batch: LossBatch, *, label_smoothing: float = 0.0, scale: float, mean: bool
) -> None:
    loops, logits, labels, dlogits = LOOPS.losses, batch.logits, batch.targets, batch.dlogits
    if logits.ndim == 3:
        for member in batch.members():
            softmax_cross_entropy(self, member, label_smoothing=label_smoothing, scale=scale, mean=mean)
        return
    dtype = logits.dtype
    if loops is not None and not label_smoothing and dtype.char in COMPILED_DTYPES and logits.shape[1] <= PAIRWISE:
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
            self._finish(batch, losses, scale=scale, mean=mean)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    NumPyBackend.softmax_cross_entropy(self, batch, label_smoothing=label_smoothing, scale=scale, mean=mean)
