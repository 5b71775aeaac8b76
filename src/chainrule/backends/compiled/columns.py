"""Columns: the gradients of their factors in one pass over the rows."""

from __future__ import annotations

from chainrule.backends.compiled.state import COMPILED_DTYPES, LOOPS
from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.members import over_members
from chainrule.backends.numpy.backend import NumPyBackend


@over_members
def scale_columns_backward(
    self: NumPyBackend, dy: Array, x: Array, scale: Array, *, dx: Array | None, dscale: Array
) -> None:
    loops = LOOPS.columns
    # A single column NumPy sums in another order.
    if loops is not None and dy.shape[1] > 1 and dy.dtype.char in COMPILED_DTYPES:
        try:
            loops.scale_gradient(dy, x, dscale)
            if dx is not None:
                loops.times_scale(dy, scale, dx)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    NumPyBackend.scale_columns_backward(self, dy, x, scale, dx=dx, dscale=dscale)
