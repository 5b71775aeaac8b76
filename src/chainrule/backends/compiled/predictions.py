"""From logits to predictions: loops, with NumPy's own exp between them."""

from __future__ import annotations

import numpy as np

from chainrule.backends.compiled.losses import PAIRWISE
from chainrule.backends.compiled.state import COMPILED_DTYPES, LOOPS, compile_for
from chainrule.backends.contract.arrays import Array
from chainrule.backends.numpy.backend import NumPyBackend


def softmax(self: NumPyBackend, logits: Array, *, out: Array) -> None:
    loops = LOOPS.losses
    if loops is not None and logits.dtype.char in COMPILED_DTYPES and logits.shape[1] <= PAIRWISE:
        try:
            compile_for(loops.divide_by_sum, out)
            loops.subtract_row_max(logits, out)
            np.exp(out, out=out)
            loops.divide_by_sum(out)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    NumPyBackend.softmax(self, logits, out=out)
