"""Which rows are trained on and which are held out: at random, by whole groups, or by time."""

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

GROUPS, CLASSES = 1, 2  # random streams of their own, besides that of rows


class Split(NamedTuple):
    """Which rows are trained on and which are not; no row is in both.

    Attributes
    ----------
    training : (n_training,) int64, ascending positions of rows
    held_out : (n_held_out,) int64, likewise
    """

    training: np.ndarray
    held_out: np.ndarray


@out_of_memory_hint("use fewer rows", doing="splitting rows")
def hold_out(
    n: int, fraction: float, *, seed: int = 0, classes: Any = None, groups: Any = None, times: Any = None
) -> Split:
    """A split of ``n`` rows of which a ``fraction`` is held out: at least one row, never all.

    Parameters
    ----------
    n : rows, at least 2
    fraction : in (0, 1)
    seed : from 0 up, of which rows or groups are held out; ignored with times
    classes : (n,) labels; this fraction of each class is held out (a stratified split), but never all of its rows.
        Ignored with groups or times, which cannot keep to it
    groups : (n,) labels; whole groups are held out, this fraction of them: no group has rows on both sides
    times : (n,) numbers or datetimes; the latest rows are held out, all later than every training row. Rows of one time
        stay on one side, so that somewhat more or fewer may be held out

    Raises
    ------
    OptionError   for a fraction outside (0, 1), or groups together with times.
    DataError     if there is only one row, one group, one time, or one row of each class.
    """
    fraction = real_number("fraction", fraction, below=1.0, above=True)
    whole_number("n", n)
    _refuse_both(groups, times)
    if times is not None:
        moments = _ranks(times, n, "time")
        border = np.sort(moments)[n - min(math.ceil(fraction * n), n - 1)]
        return _split_by_mask(moments >= max(border, 1))  # rows of one time together, the first time never held out
    if groups is not None:
        group = _ranks(groups, n, "group")
        count = int(group.max()) + 1
        return _split_by_mask(
            np.isin(group, _permutation(count, seed, GROUPS)[: min(math.ceil(fraction * count), count - 1)])
        )
    if n < 2:
        raise DataError("expected at least two rows to hold one out, got one")
    order = _permutation(n, seed)
    held_out = min(math.ceil(fraction * n), n - 1)
    if classes is not None:
        return _split_by_mask(hold_out_stratified(_ranks(classes, n, "class", least=1), held_out, order))
    return Split(np.sort(order[held_out:]), np.sort(order[:held_out]))


@out_of_memory_hint("use fewer rows", doing="splitting rows")
def make_folds(
    n: int, folds: int = 5, *, seed: int = 0, classes: Any = None, groups: Any = None, times: Any = None
) -> list[Split]:
    """``folds`` splits of ``n`` rows for a cross-validation.

    Each row is held out once, and folds are as equal in size as possible; with ``times`` the rows before the first fold
    are never held out.

    Parameters
    ----------
    n : rows, at least as many as folds
    folds : at least 2
    seed : from 0 up, of which fold holds out which rows or groups; ignored with times
    classes : (n,) labels; the rows of each class are spread evenly over the folds (stratified), however few there are
    groups : (n,) labels; no group has rows on both sides of a split. The largest are assigned first; ``classes`` are
        ignored
    times : (n,) numbers or datetimes; each fold is later than all rows that are trained on (an expanding window), and
        rows of one time stay together

    Raises
    ------
    OptionError   for fewer than two folds, or groups together with times.
    DataError     if there are fewer rows (groups, times) than the folds need.
    """
    whole_number("folds", folds, low=2)
    whole_number("n", n)
    _refuse_both(groups, times)
    if times is not None:
        return _expanding(_ranks(times, n, "time"), folds)
    if groups is not None:
        fold = _fold_of_groups(_ranks(groups, n, "group"), folds, seed)
    else:
        _require_at_least(n, folds, "rows")
        order = _permutation(n, seed, CLASSES)
        if classes is not None:
            order = order[np.argsort(_ranks(classes, n, "class", least=1)[order], kind="stable")]
        fold = np.empty(n, np.int64)
        fold[order] = np.arange(n) % folds
    return [_split_by_mask(fold == k) for k in range(folds)]


def _fold_of_groups(group: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each row: groups by decreasing size, each to the fold with the fewest rows so far."""
    sizes = np.bincount(group)
    _require_at_least(len(sizes), folds, "groups")
    order = _permutation(len(sizes), seed, GROUPS)
    of_group, rows = np.empty(len(sizes), np.int64), np.zeros(folds, np.int64)
    for one in order[np.argsort(-sizes[order], kind="stable")]:
        of_group[one] = rows.argmin()
        rows[of_group[one]] += sizes[one]
    return of_group.take(group)


def _expanding(moments: np.ndarray, folds: int) -> list[Split]:
    """Blocks of time with about equally many rows: the first is only trained on, each other one is a fold."""
    _require_at_least(int(moments.max()) + 1, folds + 1, "times")
    rows = np.cumsum(np.bincount(moments))
    # Equal numbers of rows first; then moved so that each block begins after the one before and none is empty.
    borders = np.searchsorted(rows, np.arange(1, folds + 1) * rows[-1] / (folds + 1)) + 1
    for k in range(folds):
        borders[k] = max(borders[k], (borders[k - 1] if k else 0) + 1)
    for k in range(folds - 1, -1, -1):
        borders[k] = min(borders[k], (borders[k + 1] if k + 1 < folds else len(rows)) - 1)
    block = np.searchsorted(borders, moments, side="right")
    return [Split(np.flatnonzero(block < k), np.flatnonzero(block == k)) for k in range(1, folds + 1)]


def _permutation(n: int, seed: int, index: int = 0) -> np.ndarray:
    order = np.empty(n, np.int64)
    NumPyBackend().permutation(*stream(seed, Purpose.SPLIT, index=index), out=order)
    return order


def _ranks(labels: Any, n: int, what: str, *, least: int = 2) -> np.ndarray:
    """(n,) the rank of each row's label among the different labels: 0, 1, ..."""
    labels = np.asarray(labels)
    if labels.shape != (n,):
        raise ShapeError(f"expected a {what} for each row, ({n},), got {labels.shape}")
    if labels.dtype.kind == "f" and np.isnan(labels).any():
        raise DataError(f"row {int(np.isnan(labels).argmax())} (from 0): expected a {what}, got nan")
    different, ranks = unique_with_codes(labels)
    if len(different) < least:
        raise DataError(f"expected at least two different values of {what}, got one in all rows")
    return ranks.astype(np.int64)


def _split_by_mask(held_out: np.ndarray) -> Split:
    return Split(np.flatnonzero(~held_out), np.flatnonzero(held_out))


def _require_at_least(count: int, needed: int, what: str) -> None:
    if count < needed:
        raise DataError(f"expected at least {needed} {what} for these folds, got {count}", hint="fewer folds")


def _refuse_both(groups: Any, times: Any) -> None:
    if groups is not None and times is not None:
        raise OptionError("expected groups or times, got both", hint="leave one of them out")
