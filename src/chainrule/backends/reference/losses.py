"""Losses of classes, and what all losses share: from the losses of rows to that of a batch."""

from __future__ import annotations

from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.backend import CORRECT, HALTED, LOSS, RUNNING, STEP, WEIGHT
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.contract.members import losses_over_members
from chainrule.backends.reference.array_operations import ArrayOperations, slot_of


@losses_over_members
def softmax_cross_entropy(
    self: ArrayOperations, batch: LossBatch, *, label_smoothing: float = 0.0, scale: float, mean: bool
) -> None:
    xp, logits, labels, dlogits = self.xp, batch.logits, batch.targets, batch.dlogits
    rows = self._rows(len(labels))
    xp.subtract(logits, logits.real.max(axis=-1, keepdims=True), out=dlogits)
    chosen = dlogits[rows, labels]
    if label_smoothing:
        chosen = (1 - label_smoothing) * chosen + label_smoothing / logits.shape[-1] * dlogits.sum(axis=-1)
    xp.exp(dlogits, out=dlogits)
    normalizer = dlogits.sum(axis=-1, keepdims=True)
    losses = xp.log(normalizer[:, 0]) - chosen
    xp.divide(dlogits, normalizer, out=dlogits)
    if label_smoothing:
        xp.subtract(dlogits, label_smoothing / logits.shape[-1], out=dlogits)
    dlogits[rows, labels] -= 1 - label_smoothing
    self._finish(batch, losses, scale=scale, mean=mean)


@losses_over_members
def focal_loss(self: ArrayOperations, batch: LossBatch, *, gamma: float, scale: float, mean: bool) -> None:
    xp, logits, labels, dlogits = self.xp, batch.logits, batch.targets, batch.dlogits
    rows = self._rows(len(labels))
    xp.subtract(logits, logits.real.max(axis=-1, keepdims=True), out=dlogits)
    chosen = dlogits[rows, labels]
    xp.exp(dlogits, out=dlogits)
    normalizer = dlogits.sum(axis=-1, keepdims=True)
    nll = xp.log(normalizer[:, 0]) - chosen  # -log p
    xp.divide(dlogits, normalizer, out=dlogits)
    dlogits[rows, labels] -= 1
    rest = -xp.expm1(-nll)  # 1 - p, without cancellation
    power = rest**gamma
    # f = (1 - p)^gamma (1 + gamma p (-log p) / (1 - p)), and the quotient goes to 1 as p does
    quotient = xp.where(rest == 0, 1, nll / xp.where(rest == 0, 1, rest))
    factor = power * (1 + gamma * (1 - rest) * quotient)
    xp.multiply(dlogits, factor[:, None], out=dlogits)
    self._finish(batch, power * nll, scale=scale, mean=mean)


def count_correct(
    self: ArrayOperations, logits: Array, targets: Array, weights: Array | None, state: Array, *, totals: Array
) -> None:
    if logits.ndim == 3:
        for member in LossBatch(logits, targets, weights, state, totals, logits).members():
            count_correct(self, *member[:4], totals=member.totals)
        return
    are_labels = targets.ndim == 1
    right = logits.argmax(axis=-1) == targets if are_labels else ((logits > 0) == (targets > 0.5)).all(axis=-1)
    count = right.sum() if weights is None else (right * weights).sum(dtype=totals.dtype)
    totals[slot_of(state), CORRECT] = count


def finish(
    self: ArrayOperations, batch: LossBatch, losses: Array, *, scale: float, mean: bool, factor: float = 1.0
) -> None:
    """From l_i and w_i to the totals, and from dl_i to ``factor * scale * w_i dl_i / divisor``."""
    xp, weights, totals, dlogits = self.xp, batch.weights, batch.totals, batch.dlogits
    if weights is None:
        loss, weight = losses.sum(dtype=totals.dtype), len(losses)
        row_factor = factor * scale / (weight if mean else 1)
        if row_factor != 1:
            xp.multiply(dlogits, row_factor, out=dlogits)
    else:
        loss, weight = (losses * weights).sum(dtype=totals.dtype), weights.sum(dtype=totals.dtype)
        row_factor = factor * scale
        if mean:  # all weights 0: every row of the gradient is 0 whatever it is divided by, so divide by 1
            row_factor = (row_factor / xp.where(weight == 0, 1, weight)).astype(weights.dtype)
        xp.multiply(dlogits, (weights * row_factor)[:, None], out=dlogits)
    self._record(loss * scale, weight, batch.state, totals)


def record(self: ArrayOperations, loss: Array, weight: Array | int, state: Array, totals: Array) -> None:
    slot = slot_of(state)
    totals[slot, LOSS] = loss
    totals[slot, WEIGHT] = weight
    halts = ~self.xp.isfinite(loss) & (state[HALTED] == RUNNING)
    state[HALTED : HALTED + 1] = self.xp.where(halts, state[STEP], state[HALTED])
