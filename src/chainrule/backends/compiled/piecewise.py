"""Piecewise-linear encodings: one pass over the rows, column by column."""

from __future__ import annotations

from chainrule.backends.compiled.members import blocks_of_rows
from chainrule.backends.compiled.state import COMPILED_DTYPES, LOOPS
from chainrule.backends.contract.arrays import Array, Pieces
from chainrule.backends.numpy.backend import NumPyBackend


def piecewise_linear(self: NumPyBackend, x: Array, pieces: Pieces, *, y: Array) -> None:
    loops = LOOPS.piecewise
    if loops is not None and _is_known(x, y):
        try:
            for x_part, y_part in ((x, y),) if y.ndim == 2 else blocks_of_rows(x, y):
                loops.encode(x_part, *pieces[:5], y_part)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    NumPyBackend.piecewise_linear(self, x, pieces, y=y)


def piecewise_linear_backward(self: NumPyBackend, dy: Array, y: Array, pieces: Pieces, *, dx: Array) -> None:
    loops = LOOPS.piecewise
    if loops is not None and _is_known(dx, y):
        try:
            limits = pieces.width, pieces.low, pieces.high, pieces.first
            for dy_part, y_part, dx_part in ((dy, y, dx),) if y.ndim == 2 else blocks_of_rows(dy, y, dx):
                loops.encode_backward(dy_part, y_part, *limits, dx_part)
            return
        except Exception as error:
            LOOPS.withdraw(error)
    NumPyBackend.piecewise_linear_backward(self, dy, y, pieces, dx=dx)


def _is_known(x: Array, y: Array) -> bool:
    """Whether these have the same rows, in a dtype that the loops know."""
    return x.shape[:-1] == y.shape[:-1] and y.dtype.char in COMPILED_DTYPES and x.dtype == y.dtype
