"""From logits to predictions: loops, with NumPy's own exp between them."""

from __future__ import annotations

import numpy as np

from chainrule.backends.compiled.losses import PAIRWISE
from chainrule.backends.compiled.members import blocks_of_rows
from chainrule.backends.compiled.state import COMPILED_DTYPES, LOOPS, compile_for
from chainrule.backends.contract.arrays import Array
from chainrule.backends.numpy.backend import NumPyBackend


def softmax(self: NumPyBackend, logits: Array, *, out: Array) -> None:
    loops = LOOPS.losses
    if loops is not None and logits.dtype.char in COMPILED_DTYPES and logits.shape[-1] <= PAIRWISE:
        try:
            for z, p in ((logits, out),) if out.ndim == 2 else blocks_of_rows(logits, out):
                compile_for(loops.divide_by_sum, p)
                loops.subtract_row_max(z, p)
                np.exp(p, out=p)
                loops.divide_by_sum(p)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    NumPyBackend.softmax(self, logits, out=out)
