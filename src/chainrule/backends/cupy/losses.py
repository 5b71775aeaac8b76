"""Losses with their gradients, and predictions: ``losses.cu``."""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.fallback import NotFusedError, with_fallback
from chainrule.backends.cupy.kernels import ACCESS, VARIANT_OF
from chainrule.backends.cupy.members import lie_together, losses_together, stride

THREADS: Final = 512
ROUNDS: Final = 4  # of a single block, one after the other, that take about as long as a sum across blocks
LONG: Final = 256  # columns; few rows that are longer have a block each

REALS: Final = (np.dtype(np.float32), np.dtype(np.float64))


@losses_together
@with_fallback
def softmax_cross_entropy(
    self: Launcher, batch: LossBatch, *, label_smoothing: float = 0.0, scale: float, mean: bool
) -> None:
    logits, labels = batch.logits, batch.targets
    if not (are_matrices(logits) and labels.dtype == np.int32):
        raise NotFusedError(f"softmax_cross_entropy of {logits.dtype} {logits.shape}, labels {labels.dtype}")
    group, blocks = threads_per_row(self, *logits.shape[-2:])
    smoothing = {"label_smoothing": label_smoothing} if label_smoothing else {}
    launch_loss(
        self,
        "smoothed_softmax_cross_entropy" if label_smoothing else "softmax_cross_entropy",
        blocks,
        batch,
        labels=labels,
        scale=scale,
        mean=mean,
        group=group,
        **smoothing,
    )


@losses_together
@with_fallback
def focal_loss(self: Launcher, batch: LossBatch, *, gamma: float, scale: float, mean: bool) -> None:
    logits, labels = batch.logits, batch.targets
    if not (are_matrices(logits) and labels.dtype == np.int32):
        raise NotFusedError(f"focal_loss of {logits.dtype} {logits.shape}, labels {labels.dtype}")
    group, blocks = threads_per_row(self, *logits.shape[-2:])
    launch_loss(self, "focal_loss", blocks, batch, labels=labels, gamma=gamma, scale=scale, mean=mean, group=group)


def launch_loss(self: Launcher, kernel: str, blocks: int, batch: LossBatch, **arguments: Any) -> None:
    """Launch a loss of all members; before it, if rows have weights, their sum, by which gradients are divided."""
    logits, weights = batch.logits, batch.weights
    rows, columns = logits.shape[-2:]
    total_weight = None if weights is None else _total_weight(self, weights)
    self.launch(
        kernel,
        VARIANT_OF[batch.dlogits.dtype],
        grid_of(blocks, logits),
        (THREADS,),
        logits=logits,
        weights=weights,
        total_weight=total_weight,
        state=batch.state,
        totals=batch.totals,
        dlogits=batch.dlogits,
        **{"rows": rows, "columns": columns, **arguments},
        **_strides(batch),
        **_sum_across(self, blocks, "loss", members_of(logits)),
    )


def _strides(batch: LossBatch) -> dict[str, int]:
    """Elements from what a member reads or writes to that of the next; logits lie one behind the other."""
    targets, weights = batch.targets, batch.weights
    target_rank = 1 if targets.dtype.kind in "iu" else 2
    return {
        "targets_stride": stride(targets, target_rank),
        "weights_stride": 0 if weights is None else stride(weights, 1),
        "totals_stride": stride(batch.totals, 2),
    }


def _total_weight(self: Launcher, weights: Array) -> Array:
    """sum_i w_i of each member in double precision, until the next loss; one number if they share the weights."""
    rows, members = weights.shape[-1], 1 if weights.ndim == 1 else len(weights)
    blocks = loss_blocks(self, rows, ROUNDS * THREADS, most=2)
    total = self.scratch((members,), np.float64, use="total weight")
    self.launch(
        "sum_weights",
        str(weights.dtype),
        (blocks,) if members == 1 else (blocks, members),
        (THREADS,),
        weights=weights,
        rows=rows,
        total=total,
        **_sum_across(self, blocks, "weights", members),
    )
    return total


@with_fallback
def count_correct(
    self: Launcher, logits: Array, targets: Array, weights: Array | None, state: Array, *, totals: Array
) -> None:
    batch = LossBatch(logits, targets, weights, state, totals, logits)
    if not lie_together(batch):
        for member in batch.members():
            count_correct(self, *member[:4], totals=member.totals)
        return
    has_labels = targets.dtype.kind in "iu"
    if not (are_matrices(logits) and targets.dtype == (np.int32 if has_labels else logits.dtype)):
        raise NotFusedError(f"count_correct of {logits.dtype} {logits.shape}, targets {targets.dtype}")
    rows, columns = logits.shape[-2:]
    group, blocks = threads_per_row(self, rows, columns)
    self.launch(
        "count_correct",
        str(logits.dtype),
        grid_of(blocks, logits),
        (THREADS,),
        logits=logits,
        labels=targets if has_labels else None,
        targets=None if has_labels else targets,
        weights=weights,
        state=state,
        totals=totals,
        rows=rows,
        columns=columns,
        group=group,
        **_strides(batch),
        **_sum_across(self, blocks, "correct", members_of(logits)),
    )


# ---- how work is divided among threads and blocks -------------------------------------------------


def threads_per_row(self: Launcher, rows: int, columns: int, *, sums: bool = True) -> tuple[int, int]:
    """How many threads share a row, and how many blocks there are.

    Two elements per thread, which it keeps in registers, until a warp is full; the rest of the row is read again.
    """
    if columns > LONG and rows <= 4 * self.multiprocessors:
        group = THREADS
    else:
        group = min(32, 1 << ((columns - 1) // 2).bit_length())
    return group, loss_blocks(self, rows * group, THREADS, most=3, sums=sums)


def packs_and_blocks(self: Launcher, logits: Array, *, weighted: bool) -> tuple[int, int]:
    """How often one thread takes 16 bytes of logits together, and how many blocks there are.

    Both follow from the shape alone, as the order does in which losses are added up.
    """
    wide = ACCESS // logits.dtype.itemsize
    one_row = not weighted or logits.shape[-1] % wide == 0  # all that a thread takes together has one weight
    size = math.prod(logits.shape[-2:])
    packs = size // wide if one_row else 0
    return packs, loss_blocks(self, max(packs, size - packs * wide), THREADS, most=2)


def loss_blocks(self: Launcher, work: int, per_round: int, *, most: int, sums: bool = True) -> int:
    """Blocks for ``work`` pieces, of which each does ``per_round`` at once; at most ``most`` per multiprocessor.

    If results have to be summed and one block is done in a few rounds, it does all: blocks would wait for each other.
    ``most`` is how many of the kernel's blocks a multiprocessor has registers for: others would start too late.
    """
    rounds = -(-work // per_round)
    return 1 if sums and rounds <= ROUNDS else min(rounds, most * self.multiprocessors)


def _sum_across(self: Launcher, blocks: int, what: str, members: int) -> dict[str, Array | None]:
    """The memory for a sum across the blocks of each member."""
    if blocks == 1:
        return {"partials": None, "ticket": None}
    return {
        "partials": self.scratch((members * blocks,), np.float64, use=f"{what}, by blocks"),
        "ticket": self.zeroed_scratch((members,), np.uint32, use=f"{what}, ticket"),
    }


# ---- the members of an ensemble -------------------------------------------------------------------


def members_of(logits: Array) -> int:
    return 1 if logits.ndim == 2 else len(logits)


def grid_of(blocks: int, logits: Array) -> tuple[int, ...]:
    """So many blocks for each member."""
    return (blocks,) if logits.ndim == 2 else (blocks, len(logits))


def are_matrices(logits: Array) -> bool:
    """Whether these are logits, of one net or of several, that the kernels know, and not none."""
    return logits.ndim in {2, 3} and logits.dtype in REALS and logits.size > 0


def is_matrix(logits: Array, *others: Array) -> bool:
    """Whether these are matrices of one dtype that the kernels know, and not empty."""
    return (
        logits.ndim == 2
        and logits.dtype in REALS
        and logits.size > 0
        and all(other.dtype == logits.dtype and other.shape == logits.shape for other in others)
    )
