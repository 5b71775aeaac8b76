"""From logits to predictions."""

from __future__ import annotations

from chainrule.backends.contract.arrays import Array
from chainrule.backends.reference.array_operations import ArrayOperations
from chainrule.backends.reference.target_losses import increasing


def softmax(self: ArrayOperations, logits: Array, *, out: Array) -> None:
    xp = self.xp
    xp.subtract(logits, logits.max(axis=-1, keepdims=True), out=out)
    xp.exp(out, out=out)
    xp.divide(out, out.sum(axis=-1, keepdims=True), out=out)


def argmax(self: ArrayOperations, x: Array, *, out: Array) -> None:
    out[...] = x.argmax(axis=-1)


def positive(self: ArrayOperations, x: Array, *, out: Array) -> None:
    out[...] = x > 0


def exp(self: ArrayOperations, x: Array, *, out: Array) -> None:
    self.xp.exp(x, out=out)


def quantiles(self: ArrayOperations, logits: Array, *, count: int, out: Array) -> None:
    of_targets = (*logits.shape[:-1], logits.shape[-1] // count, count)
    out[...] = increasing(self.xp, logits.reshape(of_targets)).reshape(logits.shape)


def mean_and_variance(self: ArrayOperations, logits: Array, *, out: Array) -> None:
    k = logits.shape[-1] // 2
    out[..., :k] = logits[..., :k]
    out[..., k:] = self.xp.exp(logits[..., k:])
