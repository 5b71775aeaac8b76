"""Losses with their gradients, and predictions: ``losses.cu``."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.contract.members import losses_over_members
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.fallback import NotFusedError, with_fallback
from chainrule.backends.cupy.kernels import ACCESS, VARIANT_OF

THREADS: Final = 512
ROUNDS: Final = 4  # of a single block, one after the other, that take about as long as a sum across blocks
LONG: Final = 256  # columns; few rows that are longer have a block each

REALS: Final = (np.dtype(np.float32), np.dtype(np.float64))


@losses_over_members
@with_fallback
def softmax_cross_entropy(
    self: Launcher, batch: LossBatch, *, label_smoothing: float = 0.0, scale: float, mean: bool
) -> None:
    logits, labels = batch.logits, batch.targets
    if not (is_matrix(logits) and labels.dtype == np.int32):
        raise NotFusedError(f"softmax_cross_entropy of {logits.dtype} {logits.shape}, labels {labels.dtype}")
    group, blocks = threads_per_row(self, *logits.shape)
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


@losses_over_members
@with_fallback
def focal_loss(self: Launcher, batch: LossBatch, *, gamma: float, scale: float, mean: bool) -> None:
    logits, labels = batch.logits, batch.targets
    if not (is_matrix(logits) and labels.dtype == np.int32):
        raise NotFusedError(f"focal_loss of {logits.dtype} {logits.shape}, labels {labels.dtype}")
    group, blocks = threads_per_row(self, *logits.shape)
    launch_loss(self, "focal_loss", blocks, batch, labels=labels, gamma=gamma, scale=scale, mean=mean, group=group)


def launch_loss(self: Launcher, kernel: str, blocks: int, batch: LossBatch, **arguments: Any) -> None:
    """Launch a loss; before it, if rows have weights, their sum, by which gradients are divided."""
    logits, weights = batch.logits, batch.weights
    rows = len(logits)
    total_weight = None if weights is None else _total_weight(self, weights)
    self.launch(
        kernel,
        VARIANT_OF[batch.dlogits.dtype],
        (blocks,),
        (THREADS,),
        logits=logits,
        weights=weights,
        total_weight=total_weight,
        state=batch.state,
        totals=batch.totals,
        dlogits=batch.dlogits,
        **{"rows": rows, "columns": logits.shape[1], **arguments},
        **_sum_across(self, blocks, "loss"),
    )


def _total_weight(self: Launcher, weights: Array) -> Array:
    """sum_i w_i, (1,) in double precision, until the next loss."""
    blocks = loss_blocks(self, weights.size, ROUNDS * THREADS, most=2)
    total = self.scratch((1,), np.float64, use="total weight")
    self.launch(
        "sum_weights",
        str(weights.dtype),
        (blocks,),
        (THREADS,),
        weights=weights,
        rows=weights.size,
        total=total,
        **_sum_across(self, blocks, "weights"),
    )
    return total


@with_fallback
def count_correct(
    self: Launcher, logits: Array, targets: Array, weights: Array | None, state: Array, *, totals: Array
) -> None:
    if logits.ndim == 3:
        for member in LossBatch(logits, targets, weights, state, totals, logits).members():
            count_correct(self, *member[:4], totals=member.totals)
        return
    has_labels = targets.ndim == 1
    if not (is_matrix(logits) and targets.dtype == (np.int32 if has_labels else logits.dtype)):
        raise NotFusedError(f"count_correct of {logits.dtype} {logits.shape}, targets {targets.dtype}")
    rows, columns = logits.shape
    group, blocks = threads_per_row(self, rows, columns)
    self.launch(
        "count_correct",
        str(logits.dtype),
        (blocks,),
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
        **_sum_across(self, blocks, "correct"),
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
    one_row = not weighted or logits.shape[1] % wide == 0  # all that a thread takes together has one weight
    packs = logits.size // wide if one_row else 0
    return packs, loss_blocks(self, max(packs, logits.size - packs * wide), THREADS, most=2)


def loss_blocks(self: Launcher, work: int, per_round: int, *, most: int, sums: bool = True) -> int:
    """Blocks for ``work`` pieces, of which each does ``per_round`` at once; at most ``most`` per multiprocessor.

    If results have to be summed and one block is done in a few rounds, it does all: blocks would wait for each other.
    ``most`` is how many of the kernel's blocks a multiprocessor has registers for: others would start too late.
    """
    rounds = -(-work // per_round)
    return 1 if sums and rounds <= ROUNDS else min(rounds, most * self.multiprocessors)


def _sum_across(self: Launcher, blocks: int, what: str) -> dict[str, Array | None]:
    """The memory for a sum across blocks."""
    if blocks == 1:
        return {"partials": None, "ticket": None}
    return {
        "partials": self.scratch((blocks,), np.float64, use=f"{what}, by blocks"),
        "ticket": self.zeroed_scratch((1,), np.uint32, use=f"{what}, ticket"),
    }


def is_matrix(logits: Array, *others: Array) -> bool:
    """Whether these are matrices of one dtype that the kernels know, and not empty."""
    return (
        logits.ndim == 2
        and logits.dtype in REALS
        and logits.size > 0
        and all(other.dtype == logits.dtype and other.shape == logits.shape for other in others)
    )
