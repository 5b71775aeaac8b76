"""Members of an ensemble whose predictions are known: what all share, and a part that is each member's own."""

from __future__ import annotations

import numpy as np

from chainrule.nn.losses.names import Loss
from chainrule.train.out_of_fold.predictions import OutOfFoldPart


def parts_of(logits: np.ndarray, targets: np.ndarray, weights: np.ndarray | None = None) -> list[OutOfFoldPart]:
    """Of the logits (k, m, n_out) of all members those of a pair for each row: k / 2 parts."""
    k, m, _ = logits.shape
    found = []
    for i in range(k // 2):
        rows, pair = np.arange(i, m, k // 2), (i, i + k // 2)
        own = None if weights is None else weights[rows]
        found.append(OutOfFoldPart(pair, rows, logits[np.ix_(pair, rows)], targets[rows], own))
    return found


def mean_of(loss: Loss, logits: np.ndarray) -> np.ndarray:
    """The logits of all members' mean."""
    part = OutOfFoldPart((), np.arange(logits.shape[1]), logits, logits[0], None)
    return part.mean_logits(loss)
