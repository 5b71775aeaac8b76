"""Piecewise-linear encodings: ``piecewise.cu``."""

from __future__ import annotations

from chainrule.backends.contract.arrays import Pieces
from chainrule.backends.contract.backend import Array
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.columns import are_rows, launch_elements, rows_of
from chainrule.backends.cupy.fallback import NotFusedError, with_fallback
from chainrule.backends.cupy.members import members_behind_another


@members_behind_another("x", "y", shared=("x",))
@with_fallback
def piecewise_linear(self: Launcher, x: Array, pieces: Pieces, *, y: Array) -> None:
    if not are_rows(x, y):
        raise NotFusedError(f"a piecewise-linear encoding of {x.dtype} {x.shape}")
    launch_elements(
        self,
        "piecewise_linear",
        y,
        x=x,
        columns_of_x=pieces.columns,
        start=pieces.start,
        width=pieces.width,
        low=pieces.low,
        high=pieces.high,
        y=y,
        rows=rows_of(y),
        x_rows=rows_of(x),
        columns_in=x.shape[-1],
        columns=y.shape[-1],
    )


@members_behind_another("dy", "y", "dx")
@with_fallback
def piecewise_linear_backward(self: Launcher, dy: Array, y: Array, pieces: Pieces, *, dx: Array) -> None:
    if not are_rows(dy, y, dx):
        raise NotFusedError(f"the backward pass through a piecewise-linear encoding of {dy.dtype} {dy.shape}")
    launch_elements(
        self,
        "piecewise_linear_backward",
        dx,
        dy=dy,
        y=y,
        width=pieces.width,
        low=pieces.low,
        high=pieces.high,
        first=pieces.first,
        dx=dx,
        rows=rows_of(dx),
        columns_in=dx.shape[-1],
        columns=y.shape[-1],
    )
