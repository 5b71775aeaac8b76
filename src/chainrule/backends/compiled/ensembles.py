"""From the outputs of the members of an ensemble to those of the ensemble: loops and ufuncs, a pass per member.

The formulas, and why none of them overflows, stand in ``reference/ensembles.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np

from chainrule.backends.compiled.calls import call, call_ufunc, each_member, known_dtype, number
from chainrule.backends.compiled.fallback import with_fallback
from chainrule.backends.compiled.state import LOOPS, NotCompiledError
from chainrule.backends.compiled.target_losses import log1p_of_gaps
from chainrule.backends.contract.arrays import Array
from chainrule.backends.contract.ensembles import MemberMeanName
from chainrule.backends.numpy.backend import NumPyBackend


@with_fallback
def mean_of_members(self: NumPyBackend, logits: Array, kind: MemberMeanName, *, count: int = 1, out: Array) -> None:
    known_dtype(logits, out)
    if kind not in _OF_KIND:
        raise NotCompiledError(kind)
    _OF_KIND[kind](self, logits, count, out)


def _identity(self: NumPyBackend, z: Array, _: int, out: Array) -> None:
    mean(z, out)


def _softmax(self: NumPyBackend, z: Array, _: int, out: Array) -> None:
    logs = self._scratch(z.shape, z.dtype, use="logarithms")
    e = self._scratch(out.shape, z.dtype, use="exponentials")
    normalizer = self._scratch((len(out),), z.dtype, use="normalizer")
    for of_z, of_logs in zip(members(z), members(logs), strict=True):
        call(LOOPS.losses.subtract_row_max, of_z, of_logs)
        call_ufunc(np.exp, of_logs, out=e)
        call(LOOPS.target_losses.sums_of_groups, e, e.shape[1], normalizer[:, None])
        call_ufunc(np.log, normalizer, out=normalizer)
        call(LOOPS.ensembles.subtract_from_rows, of_logs, normalizer)
    log_mean_exp(self, logs, out)


def _sigmoid(self: NumPyBackend, z: Array, _: int, out: Array) -> None:
    loops = LOOPS.ensembles
    log1p, log_no = (self._scratch(out.shape, z.dtype, use=use) for use in ("log1p", "log of no"))
    yes, no = (self._scratch(z.shape, z.dtype, use=use) for use in ("yes", "no"))
    for of_z, of_yes, of_no in zip(members(z), members(yes), members(no), strict=True):
        log1p_of_gaps(of_z, log1p)
        call(loops.log_sigmoid, of_z, log1p, of_yes)
        call(loops.log_of_the_rest, of_z, log1p, of_no)
    log_mean_exp(self, yes, out)
    log_mean_exp(self, no, log_no)
    call_ufunc(np.subtract, out, log_no, out=out)


def _exp(self: NumPyBackend, z: Array, _: int, out: Array) -> None:
    log_mean_exp(self, z, out)


def _quantiles(self: NumPyBackend, z: Array, count: int, out: Array) -> None:
    loops, shape = LOOPS.ensembles, out.shape
    all_gaps = self._scratch(z.shape, z.dtype, use="gaps")
    log1p, gap, small, large, first = (
        self._scratch(shape, z.dtype, use=use) for use in ("log1p", "gap", "small gap", "large gap", "first")
    )
    for of_z, of_gaps in zip(members(z), members(all_gaps), strict=True):
        log1p_of_gaps(of_z, log1p)
        call(loops.gaps, of_z, log1p, of_gaps)
    mean(all_gaps, gap)
    call_ufunc(np.negative, gap, out=large)
    call_ufunc(np.expm1, large, out=large)
    call_ufunc(np.negative, large, out=large)
    call_ufunc(np.log, large, out=large)
    call_ufunc(np.add, gap, large, out=large)
    highest = log_mean_exp(self, z, small)
    if shape == (1, count):  # one number of each member, which NumPy adds in another order
        mean(z[:, :, :1], first[:, :1])
    else:
        mean(z, first)
    call(loops.quantile_logits, first, highest, small, large, count, out)


def _mean_and_variance(self: NumPyBackend, z: Array, _: int, out: Array) -> None:
    half = len(out), out.shape[1] // 2
    means, log_variances = (self._scratch((len(z), *half), z.dtype, use=use) for use in ("means", "log variances"))
    center, within, between, larger = (
        self._scratch(half, z.dtype, use=use) for use in ("center", "within", "between", "larger")
    )
    for of_z, of_means, of_variances in zip(members(z), members(means), members(log_variances), strict=True):
        call(LOOPS.predictions.columns_from, of_z, 0, of_means)
        call(LOOPS.predictions.columns_from, of_z, half[1], of_variances)
    mean(means, center)
    log_mean_exp(self, log_variances, within)
    for of_means in members(means):
        call_ufunc(np.subtract, of_means, center, out=of_means)
    _log_mean_square(self, means, between)
    call_ufunc(np.maximum, within, between, out=larger)
    call_ufunc(np.minimum, within, between, out=within)
    call_ufunc(np.subtract, within, larger, out=within)
    call_ufunc(np.exp, within, out=within)
    call_ufunc(np.log1p, within, out=within)
    call_ufunc(np.add, larger, within, out=within)
    call(LOOPS.predictions.mean_and, center, within, out)


# ---- means over members --------------------------------------------------------------------------------------------


def members(x: Array) -> Sequence[Array]:
    return [of_member for (of_member,) in each_member((x, 2))]


def mean(x: Array, out: Array) -> None:
    """Over the first axis, added up as NumPy adds: one member after the other, but pairs of pairs of single numbers."""
    if out.size == 1:
        call(LOOPS.ensembles.sum_of_numbers, x[:, 0, 0], out)
    else:
        first, *others = members(x)
        call(LOOPS.ensembles.begin_sum, first, out)
        for other in others:
            call_ufunc(np.add, out, other, out=out)
    call(LOOPS.ensembles.divide, out, number(len(x), out.dtype))


def log_mean_exp(self: NumPyBackend, z: Array, out: Array) -> Array:
    """log(E(exp(z))) over the first axis; the largest z, or the nearest finite number, is returned, scratch memory."""
    most = float(np.finfo(z.dtype).max)
    largest = self._scratch(out.shape, z.dtype, use="largest")
    e = self._scratch(z.shape, z.dtype, use="exponentials of members")
    first, *others = members(z)
    call_ufunc(np.positive, first, out=largest)
    for other in others:
        call_ufunc(np.maximum, largest, other, out=largest)
    call(LOOPS.ensembles.clip, largest, number(-most, z.dtype), number(most, z.dtype))
    for of_z, of_e in zip(members(z), members(e), strict=True):
        call_ufunc(np.subtract, of_z, largest, out=of_e)
        call_ufunc(np.exp, of_e, out=of_e)
    mean(e, out)
    call_ufunc(np.log, out, out=out)
    call_ufunc(np.add, largest, out, out=out)
    return largest


def _log_mean_square(self: NumPyBackend, x: Array, out: Array) -> None:
    """log(E(x^2)) over the first axis; x is changed."""
    info = np.finfo(x.dtype)
    largest, size = (self._scratch(out.shape, x.dtype, use=use) for use in ("largest", "size"))
    first, *others = members(x)
    call_ufunc(np.absolute, first, out=largest)
    for other in others:
        call_ufunc(np.absolute, other, out=size)
        call_ufunc(np.maximum, largest, size, out=largest)
    call(LOOPS.ensembles.clip, largest, number(float(info.tiny), x.dtype), number(float("inf"), x.dtype))
    for share in members(x):
        call_ufunc(np.divide, share, largest, out=share)
        call_ufunc(np.multiply, share, share, out=share)
    mean(x, out)
    call_ufunc(np.log, out, out=out)
    call_ufunc(np.log, largest, out=largest)
    call(LOOPS.ensembles.log_of_mean_square, largest, out, number(-float(info.max), x.dtype), out)


_OF_KIND: Final[dict[MemberMeanName, Callable[[NumPyBackend, Array, int, Array], None]]] = {
    "identity": _identity,
    "softmax": _softmax,
    "sigmoid": _sigmoid,
    "exp": _exp,
    "quantiles": _quantiles,
    "mean_and_variance": _mean_and_variance,
}
