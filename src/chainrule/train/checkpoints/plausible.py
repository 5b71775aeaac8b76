"""Whether a fit can have the numbers of a checkpoint: none has a learning rate of nan or a negative accuracy.

A checksum finds what a disk does to a file. These checks find numbers that no training can have produced, whoever wrote
them. Numbers that are possible and yet wrong cannot be told from the file.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.backends.contract.backend import CORRECT, LOSS, WEIGHT
from chainrule.nn.losses.names import (
    AbsoluteError,
    Focal,
    Huber,
    Loss,
    Quantile,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    SquaredError,
)

ROUNDING = 1e-6  # how far rounding may take a number below 0 or above 1
NEVER_NEGATIVE = (
    AbsoluteError,
    Focal,
    Huber,
    Quantile,
    SigmoidCrossEntropy,
    SoftmaxCrossEntropy,
    SquaredError,
)
BEFORE_ANY = {0.0, math.inf, -math.inf}  # the best value while no epoch is the best
# The end and the beginning of the names of arrays that hold squares, or sums of them.
VARIANCES, SECOND_MOMENTS = ".running_var", "moments.v."


def refuse_implausible_numbers(found: Mapping[str, Any]) -> None:
    """ValueError for a number that no fit has, whatever its loss; ``found`` are the fields of a checkpoint."""
    epochs, history, best, first = found["epochs"], found["history"], found["best_value"], found["first_loss"]
    if math.isnan(best) or (math.isinf(best) if found["best_epoch"] else best not in BEFORE_ANY):
        raise ValueError(f"best_value: expected a finite number of an epoch, got {best} of epoch {found['best_epoch']}")
    if math.isfinite(first) != bool(epochs) or math.isinf(first):
        raise ValueError(
            f"first_loss: expected a finite number once an epoch has ended, nan before, got {first} after {epochs}"
        )
    if not all(map(math.isfinite, history.get("loss", ()))):
        raise ValueError("expected finite losses in its history")
    if not all(0 <= rate < math.inf for rate in history.get("lr", ())):
        raise ValueError("expected learning rates from 0 up in its history")
    times = [0.0, *history.get("seconds", ()), found["seconds"]]
    if not all(before <= after for before, after in itertools.pairwise(times)):
        raise ValueError("expected seconds that never fall in its history")
    _refuse_implausible_rates(found["rates"], epochs)


def _refuse_implausible_rates(rates: Mapping[str, float], epochs: int) -> None:
    for name, value in rates.items():
        good = math.isfinite(value) if name == "best_value" else 0 <= value <= epochs and value == int(value)
        if not good:
            raise ValueError(f"rates: expected {name:.40} from 0 to {epochs} epochs, got {value}")


def refuse_implausible_array(name: str, array: np.ndarray) -> None:
    """ValueError for a variance or a mean of squares below 0."""
    if (name.endswith(VARIANCES) or name.startswith(SECOND_MOMENTS)) and not (array >= 0).all():
        if name.startswith("accumulated."):  # gradients, which may be negative
            return
        raise ValueError(f"{name:.80}: expected numbers from 0 up")


def refuse_implausible_losses(
    loss: Loss, first: float, history: Mapping[str, Sequence[float]], totals: np.ndarray
) -> None:
    """ValueError for losses and scores that this loss never has: a squared error below 0, an accuracy above 1.

    ``totals`` are those of the batches of the epoch under way.
    """
    if isinstance(loss, NEVER_NEGATIVE):
        losses = [*history.get("loss", ()), *history.get("valid_loss", ()), *([] if math.isnan(first) else [first])]
        if any(value < -ROUNDING for value in losses) or (totals[:, LOSS] < -ROUNDING * totals[:, WEIGHT]).any():
            raise ValueError(f"expected losses of at least 0, as those of {loss.name} are")
    if (totals[:, WEIGHT] < 0).any():
        raise ValueError("expected weights of batches from 0 up")
    low = 0.0 if loss.metric == "accuracy" else -math.inf
    for name in (loss.metric, f"valid_{loss.metric}") if loss.metric else ():
        if any(not (math.isnan(s) or low - ROUNDING <= s <= 1 + ROUNDING) for s in history.get(name, ())):
            raise ValueError(f"expected {name} of at most 1{' and at least 0' if low == 0 else ''}")
    if loss.metric == "accuracy" and (totals[:, CORRECT] < 0).any():
        raise ValueError("expected numbers of right predictions from 0 up")
