"""From the outputs of the members of an ensemble to those of the ensemble: the mean of their predictions, as logits.

Sums over members are taken of exponentials less the largest of them, or the nearest finite number, so that the mean of
infinite numbers is infinite rather than nan.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.ensembles import MemberMeanName
from chainrule.backends.reference.array_operations import ArrayOperations

SMALL_GAP = -40.0  # below it log(1 + exp(z)) is exp(z) to the last bit of a float64


def mean_of_members(self: ArrayOperations, logits: Array, kind: MemberMeanName, *, count: int = 1, out: Array) -> None:
    _OF_KIND[kind](self.xp, logits, count, out)


def _identity(xp: Any, z: Array, _: int, out: Array) -> None:
    xp.divide(z.sum(axis=0), len(z), out=out)


def _softmax(xp: Any, z: Array, _: int, out: Array) -> None:
    shifted = z - z.max(axis=-1, keepdims=True)
    out[...] = log_mean_exp(xp, shifted - xp.log(xp.exp(shifted).sum(axis=-1, keepdims=True)))


def _sigmoid(xp: Any, z: Array, _: int, out: Array) -> None:
    """log(p / (1 - p)) = log E(sigmoid(z)) - log E(sigmoid(-z))."""
    rest = xp.log1p(xp.exp(-xp.abs(z)))
    no = -(xp.maximum(z, 0) + rest)  # log(1 - p) of each member
    yes = xp.minimum(z, 0) - rest
    xp.subtract(log_mean_exp(xp, yes), log_mean_exp(xp, no), out=out)


def _exp(xp: Any, z: Array, _: int, out: Array) -> None:
    out[...] = log_mean_exp(xp, z)


def _quantiles(xp: Any, z: Array, count: int, out: Array) -> None:
    gap = (xp.maximum(z, 0) + xp.log1p(xp.exp(-xp.abs(z)))).sum(axis=0) / len(z)
    large = gap + xp.log(-xp.expm1(-gap))  # log(exp(gap) - 1), also of a gap whose exponential would overflow
    out[...] = xp.where(z.max(axis=0) < SMALL_GAP, log_mean_exp(xp, z), large)
    out[..., ::count] = z[..., ::count].sum(axis=0) / len(z)


def _mean_and_variance(xp: Any, z: Array, _: int, out: Array) -> None:
    k = z.shape[-1] // 2
    means = z[..., :k]
    mean = means.sum(axis=0) / len(z)
    within, between = log_mean_exp(xp, z[..., k:]), _log_mean_square(xp, means - mean)
    larger = xp.maximum(within, between)
    out[..., :k] = mean
    out[..., k:] = larger + xp.log1p(xp.exp(xp.minimum(within, between) - larger))


def log_mean_exp(xp: Any, z: Array) -> Array:
    """log(E(exp(z))) over the first axis."""
    largest = xp.minimum(xp.maximum(z.max(axis=0), -_most(z)), _most(z))
    return largest + xp.log(xp.exp(z - largest).sum(axis=0) / len(z))


def _log_mean_square(xp: Any, x: Array) -> Array:
    """log(E(x^2)) over the first axis, no square of which overflows; a very low number if all are 0."""
    largest = xp.maximum(xp.abs(x).max(axis=0), np.finfo(x.dtype).tiny)
    shares = x / largest
    return xp.maximum(2 * xp.log(largest) + xp.log((shares * shares).sum(axis=0) / len(x)), -_most(x))


def _most(z: Array) -> float:
    return float(np.finfo(z.dtype).max)


_OF_KIND: dict[MemberMeanName, Callable[[Any, Array, int, Array], None]] = {
    "identity": _identity,
    "softmax": _softmax,
    "sigmoid": _sigmoid,
    "exp": _exp,
    "quantiles": _quantiles,
    "mean_and_variance": _mean_and_variance,
}
