"""Losses of classes, and what all losses share: loops, with NumPy's own exp and log between them."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any, Final

import numpy as np

from chainrule.backends.compiled.calls import call, call_ufunc, each_member, known_dtype, number, numbers_of
from chainrule.backends.compiled.fallback import with_fallback
from chainrule.backends.compiled.state import LOOPS, NotCompiledError
from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.numpy.backend import NumPyBackend

DOUBLE: Final = np.dtype(np.float64)
CLASS: Final = np.dtype(np.int32)

# Powers that ``**`` of NumPy takes without np.power, and so with other bits.
SHORT_POWERS: Final[dict[float, np.ufunc]] = {0.5: np.sqrt, 1.0: np.positive, 2.0: np.square}


@with_fallback
def softmax_cross_entropy(
    self: NumPyBackend, batch: LossBatch, *, label_smoothing: float = 0.0, scale: float, mean: bool
) -> None:
    loops = LOOPS.losses
    known_arrays(batch)
    for of_member in members_of(batch):
        logits, labels, dlogits = of_member.logits, of_member.targets, of_member.dlogits
        n, k = logits.shape
        smoothing = numbers_of((1 - label_smoothing, label_smoothing / k), logits.dtype)
        chosen, losses = (self._scratch((n,), logits.dtype, use=use) for use in ("chosen", "losses"))
        call(loops.subtract_row_max, logits, dlogits)
        if label_smoothing:
            call(loops.choose_smoothed, dlogits, labels, smoothing, chosen)
        else:
            call(loops.choose, dlogits, labels, chosen)
        call_ufunc(np.exp, dlogits, out=dlogits)
        call(loops.normalize_less_targets, dlogits, labels, smoothing, losses)
        call_ufunc(np.log, losses, out=losses)
        call_ufunc(np.subtract, losses, chosen, out=losses)
        finish(self, of_member, losses, scale=scale, mean=mean)


@with_fallback
def focal_loss(self: NumPyBackend, batch: LossBatch, *, gamma: float, scale: float, mean: bool) -> None:
    loops, dtype = LOOPS.losses, batch.logits.dtype
    known_arrays(batch)
    one_hot, one, exponent = numbers_of((1.0, 0.0), dtype), number(1.0, dtype), number(gamma, dtype)
    for of_member in members_of(batch):
        logits, labels, dlogits = of_member.logits, of_member.targets, of_member.dlogits
        chosen, losses, rest, power = (
            self._scratch((len(logits),), dtype, use=use) for use in ("chosen", "losses", "rest", "power")
        )
        call(loops.subtract_row_max, logits, dlogits)
        call(loops.choose, dlogits, labels, chosen)
        call_ufunc(np.exp, dlogits, out=dlogits)
        call(loops.normalize_less_targets, dlogits, labels, one_hot, losses)
        call_ufunc(np.log, losses, out=losses)
        call_ufunc(np.subtract, losses, chosen, out=losses)  # -log p
        call_ufunc(np.negative, losses, out=rest)
        call_ufunc(np.expm1, rest, out=rest)
        call_ufunc(np.negative, rest, out=rest)  # 1 - p, without cancellation
        if gamma in SHORT_POWERS:
            call_ufunc(SHORT_POWERS[gamma], rest, out=power)
        else:
            call_ufunc(np.power, rest, repeated(gamma, len(logits), dtype), out=power)
        call(loops.focal, losses, rest, power, exponent, chosen)
        call(loops.times_rows, dlogits, chosen, one)
        finish(self, of_member, losses, scale=scale, mean=mean)


@with_fallback
def count_correct(
    self: NumPyBackend, logits: Array, targets: Array, weights: Array | None, state: Array, *, totals: Array
) -> None:
    loops = LOOPS.losses
    batch = LossBatch(logits, targets, weights, state, totals, logits)
    known_arrays(batch)
    for of_member in members_of(batch):
        n = len(of_member.logits)
        right = self._scratch((n,), logits.dtype, use="right")
        if of_member.targets.ndim == 1:
            classes = self._scratch((n,), CLASS, use="classes")
            self.argmax(of_member.logits, out=classes)
            call(loops.are_labels_right, classes, of_member.targets, right)
        else:
            call(loops.are_signs_right, of_member.logits, of_member.targets, right)
        if of_member.weights is not None:
            call_ufunc(np.multiply, right, of_member.weights, out=right)
        call(loops.record_correct, right, state, of_member.totals)


@functools.lru_cache(maxsize=64)
def repeated(value: float, count: int, dtype: Any) -> Array:
    """(count,): the same number, the same memory each time."""
    array = np.full(count, value, dtype)
    array.flags.writeable = False
    return array


# ---- of all losses -------------------------------------------------------------------------------------------------


def known_arrays(batch: LossBatch) -> None:
    """NotCompiledError unless loops know the arrays: labels are integers, numbers are of the dtype of the logits."""
    are_labels = batch.targets.dtype.kind in "iu"
    axes = batch.logits.ndim - are_labels - batch.targets.ndim
    if not (axes == 0 or (axes == 1 and batch.logits.ndim == 3)):  # which members may share
        raise NotCompiledError(f"logits of shape {batch.logits.shape} and targets of {batch.targets.shape}")
    of_rows = [array for array in (None if are_labels else batch.targets, batch.weights) if array is not None]
    known_dtype(batch.logits, batch.dlogits, *of_rows)
    if batch.totals.dtype != DOUBLE:
        raise NotCompiledError(f"totals of dtype {batch.totals.dtype}")


def members_of(batch: LossBatch) -> Iterator[LossBatch]:
    """The batch of each member; it itself if it is that of one net."""
    rank_of_targets = 1 if batch.targets.dtype.kind in "iu" else 2
    for logits, targets, weights, totals, dlogits in each_member(
        (batch.logits, 2), (batch.targets, rank_of_targets), (batch.weights, 1), (batch.totals, 2), (batch.dlogits, 2)
    ):
        yield LossBatch(logits, targets, weights, batch.state, totals, dlogits)


def finish(
    self: NumPyBackend, batch: LossBatch, losses: Array, *, scale: float, mean: bool, factor: float = 1.0
) -> None:
    """From l_i and w_i to the totals, and from dl_i to ``factor * scale * w_i dl_i / divisor``; of one net.

    ``losses`` is scratch memory, and changed.
    """
    loops, weights, dlogits, n = LOOPS.losses, batch.weights, batch.dlogits, len(losses)
    if weights is None:
        weight = number(n, DOUBLE)
        row_factor = factor * scale / (n if mean else 1)
        if row_factor != 1:
            call(loops.times, dlogits, number(row_factor, dlogits.dtype))
    else:
        weight = self._scratch((1,), DOUBLE, use="weight")
        to_rows = self._scratch((1,), dlogits.dtype, use="row factor")
        call(loops.total_weight, weights, number(factor * scale, DOUBLE), int(mean), weight, to_rows)
        call(loops.times_rows, dlogits, weights, to_rows)
        call_ufunc(np.multiply, losses, weights, out=losses)
    call(loops.record_loss, losses, weight, number(scale, DOUBLE), batch.state, batch.totals)
