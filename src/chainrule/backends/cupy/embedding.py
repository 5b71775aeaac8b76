"""Embedding: rows of tables by code, and the backward pass: ``embedding.cu``."""

from __future__ import annotations

import functools
from typing import Final, NamedTuple

import numpy as np

from chainrule.backends.contract.arrays import EmbeddingPlan
from chainrule.backends.contract.backend import Array
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.fallback import NotFusedError, with_fallback
from chainrule.backends.cupy.kernels import VARIANT_OF
from chainrule.backends.cupy.members import per_member

THREADS: Final = 256
WARPS: Final = 8  # of a block
LANES: Final = 32
FEW_ROWS: Final = 1024  # up to here one warp compares the codes with a vector's, beyond all warps of a block


class _Places(NamedTuple):
    """A plan in numbers, as ``embedding.cu`` reads it."""

    name: str  # of the constants on the device; another for another plan
    places: np.ndarray  # (width of y, 4) int64
    slots: np.ndarray  # (width of y, 2) int32
    tables: np.ndarray  # (tables, 5) int64
    means: np.ndarray  # the same with places among the means
    widest: int


@functools.lru_cache(maxsize=256)
def _places(plan: EmbeddingPlan) -> _Places:
    plain, width = plan.plain, plan.tables[-1].at + plan.tables[-1].width
    places, slots = np.zeros((width, 4), np.int64), np.full((width, 2), -1, np.int32)
    for start, stop, at in plan.runs:
        places[at : at + stop - start, 0] = np.arange(start, stop)
    tables, before = [], 0
    for t, (column, count, wide, start, at) in enumerate(plan.tables):
        part, numbers = slice(at, at + wide), np.arange(wide)
        places[part] = np.column_stack(
            [np.full(wide, column), start + numbers, np.full(wide, wide), at - plain + numbers]
        )
        slots[at, 0], slots[part, 1] = t, count
        tables.append([before, count, wide, start, at])
        before += count
    of_means = [[*table[:4], table[4] - plain] for table in tables]
    widest = max(table.width for table in plan.tables)
    return _Places(f"embedding {plan}", places, slots, np.array(tables, np.int64), np.array(of_means, np.int64), widest)


@per_member
@with_fallback
def embed(
    self: Launcher, x: Array, tables: Array, means: Array | None, plan: EmbeddingPlan, *, codes: Array, y: Array
) -> None:
    if not _are_known(y, codes) or x.dtype != tables.dtype:
        raise NotFusedError(f"an embedding of {x.dtype} {x.shape} into {y.dtype}")
    known = _places(plan)
    blocks = min(-(-y.size // THREADS), 8 * self.multiprocessors)
    self.launch(
        "embed",
        VARIANT_OF[y.dtype],
        (blocks,),
        (THREADS,),
        x=x,
        tables=tables,
        means=means,
        places=self.constant(known.places, use=f"{known.name} places"),
        slots=self.constant(known.slots, use=f"{known.name} slots"),
        codes=codes,
        y=y,
        rows=len(y),
        columns_in=x.shape[1],
        columns=y.shape[1],
        kinds=codes.shape[1],
    )


@per_member
@with_fallback
def embed_backward(
    self: Launcher, dy: Array, codes: Array, plan: EmbeddingPlan, *, touched: Array, dtables: Array
) -> None:
    if not _are_known(dy, codes):
        raise NotFusedError(f"the backward pass through an embedding of {dy.dtype} {dy.shape}")
    known = _places(plan)
    vectors, share = sum(table.rows for table in plan.tables), 1 if len(dy) <= FEW_ROWS else WARPS
    grid = -(-vectors * share // WARPS), -(-known.widest // LANES)
    self.launch(
        "embed_backward",
        VARIANT_OF[dy.dtype],
        grid,
        (THREADS,),
        dy=dy,
        codes=codes,
        tables=self.constant(known.tables, use=f"{known.name} tables"),
        touched=touched,
        dtables=dtables,
        rows=len(dy),
        columns=dy.shape[1],
        kinds=codes.shape[1],
        vectors=vectors,
        share=share,
    )


@per_member
@with_fallback
def embed_means(self: Launcher, tables: Array, shares: Array, plan: EmbeddingPlan, *, means: Array) -> None:
    if tables.dtype not in VARIANT_OF:
        raise NotFusedError(f"means of {tables.dtype}")
    known = _places(plan)
    self.launch(
        "embed_means",
        VARIANT_OF[tables.dtype],
        (len(plan.tables), -(-known.widest // LANES)),
        (THREADS,),
        vectors=tables,
        shares=shares,
        tables=self.constant(known.means, use=f"{known.name} means"),
        means=means,
    )


def _are_known(matrix: Array, codes: Array) -> bool:
    """Whether there is something to do, in dtypes and an order that the kernels know."""
    in_order = matrix.flags.c_contiguous and codes.flags.c_contiguous
    return bool(matrix.ndim == 2 and matrix.dtype in VARIANT_OF and matrix.size and in_order)
