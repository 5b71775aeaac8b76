"""Which rows are trained on and which are held out: by chance, by whole groups, or by time."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.errors import DataError, OptionError, ShapeError
from chainrule.host_memory import out_of_memory_hint
from chainrule.options import real_number, whole_number
from chainrule.random import Purpose, stream
from chainrule.tables.splitting.stratified import hold_out_stratified
from chainrule.tables.text_arrays import unique_with_codes

GROUPS, CLASSES = 1, 2  # what is dealt by chance besides rows, so that each has draws of its own


class Split(NamedTuple):
    """Positions of rows, ascending: int64 arrays without a row in common."""

    training: np.ndarray
    held_out: np.ndarray


@out_of_memory_hint("use fewer rows", doing="dealing rows")
def hold_out(
    n: int, fraction: float, *, seed: int = 0, classes: Any = None, groups: Any = None, times: Any = None
) -> Split:
    """A split of ``n`` rows of which ``fraction`` is held out, at least one row and never all.

    Parameters
    ----------
    fraction : in (0, 1)
    classes : (n,) labels; of each this fraction is held out (stratified), and never all of its rows. Groups and times
        cannot keep that: with them classes are not looked at
    groups : (n,) labels; whole groups are held out, this fraction of them: no group has rows on both sides
    times : (n,) numbers or datetimes; the latest rows are held out, all of them later than every training row. Rows of
        one time stay on one side, so that somewhat more or fewer may be held out

    Raises
    ------
    OptionError   for a fraction outside (0, 1), or groups together with times.
    DataError     where there is one row, one group or one time alone, or one row of each class.
    """
    fraction = real_number("fraction", fraction, below=1.0, above=True)
    whole_number("n", n)
    _refuse_both(groups, times)
    if times is not None:
        moments = _ranks(times, n, "time")
        border = np.sort(moments)[n - min(math.ceil(fraction * n), n - 1)]
        return _of(moments >= max(border, 1))  # all of a time go with the first of them, but never the first time
    if groups is not None:
        group = _ranks(groups, n, "group")
        count = int(group.max()) + 1
        return _of(np.isin(group, _dealt(count, seed, GROUPS)[: min(math.ceil(fraction * count), count - 1)]))
    if n < 2:
        raise DataError("one row came, two are needed to hold one out")
    order = _dealt(n, seed)
    held_out = min(math.ceil(fraction * n), n - 1)
    if classes is not None:
        return _of(hold_out_stratified(_ranks(classes, n, "class", least=1), held_out, order))
    return Split(np.sort(order[held_out:]), np.sort(order[:held_out]))


@out_of_memory_hint("use fewer rows", doing="dealing rows")
def make_folds(
    n: int, folds: int = 5, *, seed: int = 0, classes: Any = None, groups: Any = None, times: Any = None
) -> list[Split]:
    """``folds`` splits of ``n`` rows for a cross-validation.

    Each row is held out once, and the folds are as equal in size as they can be; with ``times`` the rows before the
    first fold are held out by none.

    Parameters
    ----------
    classes : (n,) labels; the rows of each are dealt evenly (stratified), and nothing is required of how many there are
    groups : (n,) labels; no group has rows on both sides of a split. The largest are dealt first, ``classes`` are not
        looked at
    times : (n,) numbers or datetimes; each fold comes after all rows that are trained on (an expanding window), and
        rows of one time stay together

    Raises
    ------
    OptionError   for fewer than two folds, or groups together with times.
    DataError     where there are fewer rows (groups, times) than folds need.
    """
    whole_number("folds", folds, low=2)
    whole_number("n", n)
    _refuse_both(groups, times)
    if times is not None:
        return _expanding(_ranks(times, n, "time"), folds)
    if groups is not None:
        fold = _fold_of_groups(_ranks(groups, n, "group"), folds, seed)
    else:
        _require(n, folds, "rows")
        order = _dealt(n, seed, CLASSES)
        if classes is not None:
            order = order[np.argsort(_ranks(classes, n, "class", least=1)[order], kind="stable")]
        fold = np.empty(n, np.int64)
        fold[order] = np.arange(n) % folds
    return [_of(fold == k) for k in range(folds)]


def _fold_of_groups(group: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each row: groups by falling size, each to the fold that has the fewest rows."""
    sizes = np.bincount(group)
    _require(len(sizes), folds, "groups")
    dealt = _dealt(len(sizes), seed, GROUPS)
    of_group, rows = np.empty(len(sizes), np.int64), np.zeros(folds, np.int64)
    for one in dealt[np.argsort(-sizes[dealt], kind="stable")]:
        of_group[one] = rows.argmin()
        rows[of_group[one]] += sizes[one]
    return of_group.take(group)


def _expanding(moments: np.ndarray, folds: int) -> list[Split]:
    """Blocks of time of about the same number of rows: the first is only trained on, each other one is a fold."""
    _require(int(moments.max()) + 1, folds + 1, "times")
    rows = np.cumsum(np.bincount(moments))
    # The block of a moment by the rows up to its end, then no block empty: each begins after the one before.
    borders = np.searchsorted(rows, np.arange(1, folds + 1) * rows[-1] / (folds + 1)) + 1
    for k in range(folds):
        borders[k] = max(borders[k], (borders[k - 1] if k else 0) + 1)
    for k in range(folds - 1, -1, -1):
        borders[k] = min(borders[k], (borders[k + 1] if k + 1 < folds else len(rows)) - 1)
    block = np.searchsorted(borders, moments, side="right")
    return [Split(np.flatnonzero(block < k), np.flatnonzero(block == k)) for k in range(1, folds + 1)]


def _dealt(n: int, seed: int, index: int = 0) -> np.ndarray:
    order = np.empty(n, np.int64)
    NumPyBackend().permutation(*stream(seed, Purpose.SPLIT, index=index), out=order)
    return order


def _ranks(labels: Any, n: int, what: str, *, least: int = 2) -> np.ndarray:
    """(n,) 0, 1, ... by the order of the labels."""
    labels = np.asarray(labels)
    if labels.shape != (n,):
        raise ShapeError(f"expected a {what} for each row, ({n},), got {labels.shape}")
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise DataError(f"row {int(np.isnan(labels).argmax())} (from 0) has no {what}")
    different, ranks = unique_with_codes(labels)
    if len(different) < least:
        raise DataError(f"expected at least two different values of {what}, got one in all rows")
    return ranks.astype(np.int64)


def _of(held_out: np.ndarray) -> Split:
    return Split(np.flatnonzero(~held_out), np.flatnonzero(held_out))


def _require(count: int, needed: int, what: str) -> None:
    if count < needed:
        raise DataError(f"expected at least {needed} {what} for these folds, got {count}", hint="fewer folds")


def _refuse_both(groups: Any, times: Any) -> None:
    if groups is not None and times is not None:
        raise OptionError("expected groups or times, got both")
