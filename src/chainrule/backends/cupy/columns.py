"""Columns side by side, cut out, and each times a factor: ``columns.cu``, with ``columns.cuh``."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.fallback import NotFusedError, with_fallback
from chainrule.backends.cupy.kernels import VARIANT_OF
from chainrule.backends.cupy.members import members_behind_another
from chainrule.backends.cupy.strips import strips, sum_splits

THREADS: Final = 256


@members_behind_another("left", "right", "out", shared=("left", "right"))
@with_fallback
def join_columns(self: Launcher, left: Array, right: Array, *, out: Array) -> None:
    if not are_rows(left, right, out):
        raise NotFusedError(f"columns of {left.dtype} {left.shape} beside {right.dtype} {right.shape}")
    _launch(
        self,
        "join_columns",
        out,
        left=left,
        right=right,
        left_rows=rows_of(left),
        right_rows=rows_of(right),
        left_columns=left.shape[-1],
    )


@members_behind_another("source", "out")
@with_fallback
def take_columns(self: Launcher, source: Array, first: int, *, out: Array) -> None:
    _take(self, source, first, out, adds=False)


@members_behind_another("source", "out")
@with_fallback
def add_columns(self: Launcher, source: Array, first: int, *, out: Array) -> None:
    _take(self, source, first, out, adds=True)


def _take(self: Launcher, source: Array, first: int, out: Array, *, adds: bool) -> None:
    if not are_rows(source, out):
        raise NotFusedError(f"columns of {source.dtype} {source.shape}")
    _launch(self, "take_columns", out, source=source, columns_in=source.shape[-1], first=first, adds=adds)


@members_behind_another("x", "out", shared=("x",))
@with_fallback
def scale_columns(self: Launcher, x: Array, scale: Array, *, out: Array) -> None:
    if not are_rows(x, out):
        raise NotFusedError(f"factors of columns of {x.dtype} {x.shape}")
    _launch(
        self,
        "scale_columns",
        out,
        x=x,
        scale=scale,
        x_rows=rows_of(x),
        member_rows=rows_of(out) // len(_of_members(scale)),
        scale_stride=_stride(scale),
    )


@members_behind_another("dy", "x", "dx", shared=("x",))
@with_fallback
def scale_columns_backward(
    self: Launcher, dy: Array, x: Array, scale: Array, *, dx: Array | None, dscale: Array
) -> None:
    stored = (dy, x) if dx is None else (dy, x, dx)
    if not are_rows(*stored):
        raise NotFusedError(f"gradients of factors of columns of {dy.dtype} {dy.shape}")
    rows, columns = dy.shape[-2:]
    members, of_one = len(_of_members(scale)), dy.reshape(-1, rows, columns)[0]
    over = strips(of_one, *stored, *_of_members(scale), *_of_members(dscale))
    splits = sum_splits(rows, over, self.multiprocessors)
    several = splits > 1
    self.launch(
        "scale_columns_backward",
        VARIANT_OF[dy.dtype],
        (over.number, splits, members),
        (THREADS,),
        dy=dy,
        x=x,
        scale=scale,
        dx=dx,
        dscale=dscale,
        partials=self.scratch((members, splits, columns), dscale.dtype, use="sums of factors") if several else None,
        tickets=self.zeroed_scratch((members, over.number), np.uint32, use="tickets of factors") if several else None,
        rows=rows,
        scale_stride=_stride(scale),
        dscale_stride=_stride(dscale),
        columns=columns,
        shares_x=x.ndim < dy.ndim,
        lanes=over.lanes,
        vector=over.vector,
    )


def _of_members(factors: Array) -> list[Array]:
    """Those of each member: they may lie apart, in an arena."""
    return [factors] if factors.ndim == 1 else list(factors)


def _stride(factors: Array) -> int:
    """From a member's to the next one's, in elements."""
    return 0 if factors.ndim == 1 else int(factors.strides[0] // factors.itemsize)


def _launch(self: Launcher, kernel: str, out: Array, **arguments: Any) -> None:
    """Launch a kernel with a thread for each element of ``out``."""
    launch_elements(self, kernel, out, out=out, rows=rows_of(out), columns=out.shape[-1], **arguments)


def launch_elements(self: Launcher, kernel: str, matrix: Array, **arguments: Any) -> None:
    """Launch a kernel with a thread for each element of ``matrix``."""
    blocks = min(-(-matrix.size // THREADS), 8 * self.multiprocessors)
    self.launch(kernel, VARIANT_OF[matrix.dtype], (blocks,), (THREADS,), **arguments)


def rows_of(array: Array) -> int:
    """How many rows it has, those of all members together."""
    return math.prod(array.shape[:-1])


def are_rows(*arrays: Array) -> bool:
    """Whether there is something to do, in one dtype and an order that the kernels know."""
    dtype = arrays[0].dtype
    return dtype in VARIANT_OF and all(
        array.dtype == dtype and array.size and array.flags.c_contiguous for array in arrays
    )
