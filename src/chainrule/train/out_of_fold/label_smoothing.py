"""What a loss with label smoothing is judged by: the labels themselves.

Smoothing makes nets less sure than they should be. That is for training; how far to trust the net is asked of the
labels as they are, and the best constant prediction is that of their shares.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from chainrule.nn.losses.baselines import SMALLEST_SHARE
from chainrule.nn.losses.names import Loss, SigmoidCrossEntropy, SoftmaxCrossEntropy


def without_smoothing(loss: Loss) -> Loss:
    """The loss with labels as they are, bound to the same outputs."""
    if not _smoothing(loss):
        return loss
    return dataclasses.replace(loss, label_smoothing=0.0).bind(loss.n_out)  # type: ignore[call-arg]


def unsmoothed_targets(loss: Loss, targets: np.ndarray) -> np.ndarray:
    """The targets that kernels get if there is no smoothing, from those that they get with it."""
    s = _smoothing(loss)
    return (targets - s / 2) / (1 - s) if s and isinstance(loss, SigmoidCrossEntropy) else targets


def unsmoothed_constant(loss: Loss, constant: np.ndarray) -> np.ndarray:
    """(n_out,) the logits of ``best_constant`` for labels as they are, from those for smoothed ones."""
    s = _smoothing(loss)
    if not s:
        return constant
    if isinstance(loss, SigmoidCrossEntropy):
        p = np.clip((1 / (1 + np.exp(-constant)) - s / 2) / (1 - s), SMALLEST_SHARE, 1 - SMALLEST_SHARE)
        odds: np.ndarray = np.log(p / (1 - p))
        return odds
    shares: np.ndarray = np.log(np.maximum((np.exp(constant) - s / loss.n_out) / (1 - s), SMALLEST_SHARE))
    return shares


def _smoothing(loss: Loss) -> float:
    return loss.label_smoothing if isinstance(loss, SoftmaxCrossEntropy | SigmoidCrossEntropy) else 0.0
