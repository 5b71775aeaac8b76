"""Losses with their gradients, and predictions: ``losses.cu``."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.cupy.capture.launcher import Launcher
from chainrule.backends.cupy.capture.launches import address
from chainrule.backends.cupy.kernels import ACCESS, VARIANT_OF

THREADS: Final = 512
ROUNDS: Final = 4  # of a single block, one after the other, that take about as long as a sum across blocks
LONG: Final = 256  # columns; few rows that are longer have a block each

REALS: Final = (np.dtype(np.float32), np.dtype(np.float64))


class Losses(Launcher):
    """The part of the contract from logits to losses, gradients and predictions."""

    def softmax_cross_entropy(
        self, batch: LossBatch, *, label_smoothing: float = 0.0, scale: float, mean: bool
    ) -> None:
        logits, labels = batch.logits, batch.targets
        if not (is_matrix(logits) and labels.dtype == np.int32):
            self._refuse_in_record(f"softmax_cross_entropy of {logits.dtype} {logits.shape}, labels {labels.dtype}")
            super().softmax_cross_entropy(batch, label_smoothing=label_smoothing, scale=scale, mean=mean)
            return
        group, blocks = self._groups(*logits.shape)
        smoothing = {"label_smoothing": label_smoothing} if label_smoothing else {}
        self._loss(
            "smoothed_softmax_cross_entropy" if label_smoothing else "softmax_cross_entropy",
            blocks,
            batch,
            labels=labels,
            scale=scale,
            mean=mean,
            group=group,
            **smoothing,
        )

    def focal_loss(self, batch: LossBatch, *, gamma: float, scale: float, mean: bool) -> None:
        logits, labels = batch.logits, batch.targets
        if not (is_matrix(logits) and labels.dtype == np.int32):
            self._refuse_in_record(f"focal_loss of {logits.dtype} {logits.shape}, labels {labels.dtype}")
            super().focal_loss(batch, gamma=gamma, scale=scale, mean=mean)
            return
        group, blocks = self._groups(*logits.shape)
        self._loss("focal_loss", blocks, batch, labels=labels, gamma=gamma, scale=scale, mean=mean, group=group)

    def _loss(self, kernel: str, blocks: int, batch: LossBatch, **arguments: Any) -> None:
        """Launch a loss; before it, if rows have weights, their sum, by which gradients are divided."""
        logits, weights = batch.logits, batch.weights
        rows = len(logits)
        total_weight = None if weights is None else self._total_weight(weights)
        self._launch(
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
            **self._sum_across(blocks, "loss"),
        )

    def _total_weight(self, weights: Array) -> Array:
        """sum_i w_i, (1,) in double precision, until the next loss."""
        blocks = self._blocks(weights.size, ROUNDS * THREADS, most=2)
        total = self._scratch((1,), np.float64, use="total weight")
        self._launch(
            "sum_weights",
            str(weights.dtype),
            (blocks,),
            (THREADS,),
            weights=weights,
            rows=weights.size,
            total=total,
            **self._sum_across(blocks, "weights"),
        )
        return total

    def count_correct(
        self, logits: Array, targets: Array, weights: Array | None, state: Array, *, totals: Array
    ) -> None:
        has_labels = targets.ndim == 1
        if not (is_matrix(logits) and targets.dtype == (np.int32 if has_labels else logits.dtype)):
            self._refuse_in_record(f"count_correct of {logits.dtype} {logits.shape}, targets {targets.dtype}")
            super().count_correct(logits, targets, weights, state, totals=totals)
            return
        rows, columns = logits.shape
        group, blocks = self._groups(rows, columns)
        self._launch(
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
            **self._sum_across(blocks, "correct"),
        )

    # ---- from logits to predictions -------------------------------------------------------------

    def softmax(self, logits: Array, *, out: Array) -> None:
        if not is_matrix(logits, out):
            self._refuse_in_record(f"softmax of {logits.dtype} {logits.shape} into {out.dtype}")
            super().softmax(logits, out=out)
            return
        rows, columns = logits.shape
        group, blocks = self._groups(rows, columns, sums=False)
        self._launch(
            "softmax",
            str(logits.dtype),
            (blocks,),
            (THREADS,),
            logits=logits,
            out=out,
            rows=rows,
            columns=columns,
            group=group,
        )

    def argmax(self, x: Array, *, out: Array) -> None:
        if not (is_matrix(x) and out.dtype == np.int32):
            self._refuse_in_record(f"argmax of {x.dtype} {x.shape} into {out.dtype}")
            super().argmax(x, out=out)
            return
        rows, columns = x.shape
        group, blocks = self._groups(rows, columns, sums=False)
        self._launch(
            "argmax", str(x.dtype), (blocks,), (THREADS,), x=x, out=out, rows=rows, columns=columns, group=group
        )

    def positive(self, x: Array, *, out: Array) -> None:
        if not (x.dtype in REALS and out.dtype == np.int32 and x.size):
            self._refuse_in_record(f"positive of {x.dtype} into {out.dtype}")
            super().positive(x, out=out)
            return
        blocks = self._blocks(x.size, THREADS, most=4, sums=False)
        self._launch("positive", str(x.dtype), (blocks,), (THREADS,), x=x, out=out, count=x.size)

    # ---- how the work is laid out ---------------------------------------------------------------

    def _groups(self, rows: int, columns: int, *, sums: bool = True) -> tuple[int, int]:
        """How many threads share a row, and how many blocks there are.

        Two elements per thread, which it keeps in registers, until a warp is full; what is more is read again.
        """
        if columns > LONG and rows <= 4 * self.multiprocessors:
            group = THREADS
        else:
            group = min(32, 1 << ((columns - 1) // 2).bit_length())
        return group, self._blocks(rows * group, THREADS, most=3, sums=sums)

    def _packs(self, *arrays: Array, weighted: bool) -> tuple[int, int]:
        """How many times 16 bytes of logits are moved by one thread at once, and how many blocks there are."""
        logits = arrays[0]
        wide = ACCESS // logits.dtype.itemsize
        is_aligned = all(address(array) % ACCESS == 0 for array in arrays)
        one_row = not weighted or logits.shape[1] % wide == 0  # all that a thread moves at once has one weight
        packs = logits.size // wide if is_aligned and one_row else 0
        return packs, self._blocks(max(packs, logits.size - packs * wide), THREADS, most=2)

    def _blocks(self, work: int, a_round: int, *, most: int, sums: bool = True) -> int:
        """Blocks for so many pieces of work, so many of which a block does at once; at most ``most`` per processor.

        A single one if it is done in a few rounds and results have to be summed: blocks would wait for each other.
        ``most`` is how many of the kernel's blocks a multiprocessor has registers for: others would come too late.
        """
        rounds = -(-work // a_round)
        return 1 if sums and rounds <= ROUNDS else min(rounds, most * self.multiprocessors)

    def _sum_across(self, blocks: int, what: str) -> dict[str, Array | None]:
        """The memory that a sum across blocks needs."""
        if blocks == 1:
            return {"partials": None, "ticket": None}
        return {
            "partials": self._scratch((blocks,), np.float64, use=f"{what}, by blocks"),
            "ticket": self._zeroed_scratch((1,), np.uint32, use=f"{what}, ticket"),
        }


def is_matrix(logits: Array, *others: Array) -> bool:
    """Whether these are matrices of one dtype that the kernels know, and not empty."""
    return (
        logits.ndim == 2
        and logits.dtype in REALS
        and logits.size > 0
        and all(other.dtype == logits.dtype and other.shape == logits.shape for other in others)
    )
