"""Splits: every row once, groups whole, later rows held out, classes dealt evenly, and the same from the same seed."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr


def check(split: cr.Split, n: int) -> None:
    """Ascending positions, each row at most once, none of them on both sides."""
    for part in split:
        assert (np.diff(part) > 0).all()
        assert len(part)
    assert not set(split.training) & set(split.held_out)
    assert {*split.training, *split.held_out} <= set(range(n))


@pytest.mark.parametrize("n", [2, 3, 10, 101])
@pytest.mark.parametrize("fraction", [0.01, 0.2, 0.99])
def test_hold_out_fraction_is_rounded_up_but_never_all_rows(n, fraction):
    split = cr.hold_out(n, fraction)
    check(split, n)
    assert len(split.training) + len(split.held_out) == n
    assert len(split.held_out) == min(int(np.ceil(fraction * n)), n - 1)


def test_hold_out_and_folds_depend_on_the_seed():
    a, b, c = (cr.hold_out(100, 0.3, seed=seed).held_out.tolist() for seed in (1, 1, 2))
    assert a == b
    assert a != c
    folds = [[f.held_out.tolist() for f in cr.make_folds(100, 4, seed=seed)] for seed in (1, 1, 2)]
    assert folds[0] == folds[1] != folds[2]


def test_hold_out_and_folds_keep_groups_whole(rng):
    groups = rng.choice(["ann", "bob", "cyd", "dan", "eve", "fay", "gus"], 90)
    split = cr.hold_out(90, 0.3, groups=groups, seed=4)
    check(split, 90)
    assert not set(groups[split.training]) & set(groups[split.held_out])
    assert len(set(groups[split.held_out])) == 3
    assert set(split.training) | set(split.held_out) == set(range(90))
    order = rng.permutation(90)
    again = cr.hold_out(90, 0.3, groups=groups[order], seed=4)
    assert set(groups[order][again.held_out]) == set(groups[split.held_out]), "by the groups, not by the rows' order"
    folds = cr.make_folds(90, 3, groups=groups)
    assert sorted(np.concatenate([f.held_out for f in folds])) == list(range(90))
    for fold in folds:
        check(fold, 90)
        assert not set(groups[fold.training]) & set(groups[fold.held_out])


def test_folds_of_groups_are_about_equally_large(rng):
    groups = np.repeat(np.arange(40), rng.integers(1, 30, 40))
    sizes = [len(f.held_out) for f in cr.make_folds(len(groups), 5, groups=groups)]
    assert max(sizes) - min(sizes) <= 3


def test_hold_out_by_time_takes_the_latest_rows_and_keeps_equal_times_together(rng):
    times = rng.integers(0, 12, 60)
    split = cr.hold_out(60, 0.25, times=times)
    check(split, 60)
    assert times[split.training].max() < times[split.held_out].min()
    assert len(split.held_out) >= 15
    days = np.datetime64("2026-01-01") + times
    assert cr.hold_out(60, 0.25, times=days).held_out.tolist() == split.held_out.tolist()
    assert cr.hold_out(5, 0.2, times=[0, 1, 1, 1, 1]).training.tolist() == [0]
    assert cr.hold_out(5, 0.9, times=[0, 0, 0, 0, 1]).held_out.tolist() == [4], "some rows must be left to train on"


@pytest.mark.parametrize("folds", [2, 3, 5])
def test_folds_hold_each_row_out_once_and_are_equally_large(folds):
    found = cr.make_folds(23, folds)
    assert sorted(np.concatenate([f.held_out for f in found])) == list(range(23))
    for fold in found:
        check(fold, 23)
        assert len(fold.training) + len(fold.held_out) == 23
    sizes = [len(f.held_out) for f in found]
    assert max(sizes) - min(sizes) <= 1


def test_folds_with_classes_are_stratified(rng):
    classes = rng.choice(["a", "b", "c"], 97, p=[0.7, 0.25, 0.05])
    folds = cr.make_folds(97, 5, classes=classes)
    for name in "abc":
        counts = [(classes[f.held_out] == name).sum() for f in folds]
        assert max(counts) - min(counts) <= 1
    sizes = [len(f.held_out) for f in folds]
    assert max(sizes) - min(sizes) <= 1


@pytest.mark.parametrize("different", [4, 5, 9, 50])
def test_folds_by_time_train_on_the_past_only(rng, different):
    times = np.concatenate([np.arange(different), rng.integers(0, different, 70)])
    folds = cr.make_folds(len(times), 3, times=times)
    assert len(folds) == 3
    last = -1
    for fold in folds:
        check(fold, len(times))
        assert times[fold.training].max() < times[fold.held_out].min()
        assert times[fold.held_out].min() > last
        last = times[fold.held_out].max()
        assert set(fold.training) == set(np.flatnonzero(times < times[fold.held_out].min()))
    assert last == times.max()
    if different == 50:
        assert [len(f.held_out) for f in folds] == pytest.approx([30, 30, 30], abs=6)


def test_folds_by_time_if_one_time_has_nearly_all_rows():
    times = np.array([0] * 90 + [1, 2, 3])
    assert [f.held_out.tolist() for f in cr.make_folds(93, 3, times=times)] == [[90], [91], [92]]
    times = np.array([0, 1, 2] + [3] * 90)
    assert [len(f.held_out) for f in cr.make_folds(93, 3, times=times)] == [1, 1, 90]


REFUSED = {
    "no fraction": (lambda: cr.hold_out(9, 1.0), cr.OptionError, "fraction: expected a finite number above 0"),
    "one row": (lambda: cr.hold_out(1, 0.5), cr.DataError, "at least two rows to hold one out, got one"),
    "one group": (lambda: cr.hold_out(3, 0.5, groups=[1, 1, 1]),
        cr.DataError, "expected at least two different values of group"),
    "one time": (lambda: cr.hold_out(3, 0.5, times=[1, 1, 1]), cr.DataError, "different values of time"),
    "both": (lambda: cr.hold_out(3, 0.5, times=[1, 2, 3], groups=[1, 2, 3]), cr.OptionError, "groups or times"),
    "too few labels": (lambda: cr.hold_out(3, 0.5, groups=[1, 2]),
        cr.ShapeError, "expected a group for each row, (3,)"),
    "a time that is none": (lambda: cr.hold_out(3, 0.5, times=[1, np.nan, 2]), cr.DataError, "row 1 (from 0)"),
    "one fold": (lambda: cr.make_folds(9, 1), cr.OptionError, "folds: expected a whole number from 2"),
    "more folds than rows": (lambda: cr.make_folds(3, 4),
        cr.DataError, "expected at least 4 rows for these folds, got 3"),
    "more folds than groups": (lambda: cr.make_folds(4, 3, groups=[1, 1, 2, 2]),
        cr.DataError, "groups for these folds, got 2"),
    "too few times": (lambda: cr.make_folds(4, 3, times=[1, 2, 3, 3]),
        cr.DataError, "expected at least 4 times for these folds, got 3"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "words"), REFUSED.values(), ids=REFUSED)
def test_splits_that_are_impossible_are_refused(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)
