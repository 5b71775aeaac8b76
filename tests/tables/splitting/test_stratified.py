"""Rows held out by class: its share of each, never all of one; and what a split by chance needs for that."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import chainrule as cr
from chainrule.tables.splitting.stratified import hold_out_stratified, keep_each_class


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=12), fraction=st.floats(0.01, 0.99), seed=st.integers(0, 99)
)
def test_stratified_hold_out_has_the_share_of_each_class(sizes, fraction, seed):
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.repeat(np.arange(len(sizes)), sizes))
    if max(sizes) < 2:
        return
    count = max(1, int(fraction * len(classes)))
    held = hold_out_stratified(classes, count, rng.permutation(len(classes)))
    assert held.sum() == min(count, len(classes) - len(sizes))
    assert set(classes[~held]) == set(range(len(sizes)))
    if all(count * size / len(classes) <= size - 1 for size in sizes):
        share = count * np.array(sizes) / len(classes)
        found = np.bincount(classes[held], minlength=len(sizes))
        assert (abs(found - share) < 1).all()


def test_stratified_hold_out_of_equal_classes_rounds_up_one_at_random():
    y = np.repeat(np.arange(10), 3)
    first = {tuple(np.unique(y[cr.hold_out(30, 0.1, seed=seed, classes=y).held_out])) for seed in range(8)}
    assert len(first) > 5


def test_hold_out_with_classes_is_stratified():
    y = np.array(["a"] * 30 + ["b"] * 29 + ["c"])
    split = cr.hold_out(60, 0.2, seed=3, classes=y)
    assert (len(split.training), len(split.held_out)) == (48, 12)
    assert "c" in y[split.training]
    assert np.unique(y[split.held_out], return_counts=True)[1].tolist() == [6, 6]
    assert np.array_equal(split.held_out, cr.hold_out(60, 0.2, seed=3, classes=y).held_out)
    assert not np.array_equal(split.held_out, cr.hold_out(60, 0.2, seed=4, classes=y).held_out)
    assert len(cr.hold_out(60, 0.9, classes=np.arange(60) % 40).training) == 40
    with pytest.raises(cr.DataError, match="expected a class of at least two rows"):
        cr.hold_out(60, 0.2, classes=np.arange(60))
    with pytest.raises(cr.ShapeError, match="a class for each row"):
        cr.hold_out(60, 0.2, classes=y[:30])


def test_keep_each_class_changes_a_random_split_only_for_a_class_without_training_rows():
    classes = np.array([0, 0, 0, 1, 1, 2, 2, 2, 2])
    training, held_out = np.array([0, 3, 5, 6, 7]), np.array([8, 4, 1, 2])
    same = keep_each_class(classes, training, held_out)
    assert same[0] is training
    training, held_out = np.array([0, 1, 5, 6, 7]), np.array([8, 4, 3, 2])
    kept, out = keep_each_class(classes, training, held_out)
    assert kept.tolist() == [0, 1, 5, 6, 4]
    assert out.tolist() == [8, 7, 3, 2]
    alone = np.arange(4)
    assert keep_each_class(alone, alone[:2], alone[2:])[0].tolist() == [0, 1]
