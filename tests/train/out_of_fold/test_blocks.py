"""Blocks of rows that members of an ensemble leave out."""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.train.out_of_fold.blocks import leave_out_blocks, members_apart, together


@pytest.mark.parametrize(("k", "apart"), [(2, 2), (3, 3), (4, 2), (5, 2), (8, 4), (16, 8), (32, 16), (64, 16)])
def test_each_member_of_an_ensemble_leaves_out_one_block_and_pairs_share_theirs(k, apart):
    block, mask = leave_out_blocks(1600, k, seed=3)
    assert members_apart(k, 16) == apart
    assert np.bincount(block).tolist() == [100] * 16
    assert mask.sum(axis=1).tolist() == [100] * k
    for j in range(k):
        assert (mask[j] == (block == j % apart)).all()
    left_out_by = mask.sum(axis=0)
    assert left_out_by[left_out_by > 0].min() == (1 if k < 4 else k // apart)


def test_one_member_leaves_out_no_row():
    assert not leave_out_blocks(100, 1).mask.any()


@pytest.mark.parametrize("k", [2, 3, 4, 5, 8, 16])
@pytest.mark.parametrize("n", [*range(2, 20), 999])
def test_few_rows_leave_each_member_of_an_ensemble_rows_to_train_on(n, k):
    block, mask = leave_out_blocks(n, k)
    assert block.shape == (n,)
    assert mask.shape == (k, n)
    assert mask.any() == (n > 2)
    assert mask.mean(axis=1).max() <= max(1 / 3, 1 / 8 + 1 / n)
    assert np.ptp(np.bincount(block)) <= 1


def test_blocks_depend_on_the_seed_alone():
    one, same, other = (leave_out_blocks(500, 8, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.block, same.block)
    assert (one.block != other.block).mean() > 0.5


def test_copies_of_a_row_lie_in_one_block():
    copies = np.random.default_rng(0).integers(0, 300, 700)
    block, _ = leave_out_blocks(700, 8, copies=copies)
    assert all(len(set(block[copies == c])) == 1 for c in np.unique(copies))
    assert np.ptp(np.bincount(block)) <= 4


def test_groups_lie_in_one_block_and_blocks_have_equal_weight():
    rng = np.random.default_rng(1)
    groups = np.repeat(np.arange(120), rng.integers(1, 20, 120))
    block, mask = leave_out_blocks(len(groups), 8, groups=groups)
    assert all(len(set(block[groups == g])) == 1 for g in range(120))
    sizes = np.bincount(block)
    assert len(sizes) == (16 if len(groups) >= 1000 else 8)
    assert np.ptp(sizes) <= 3
    assert (mask.sum(axis=0) % 2 == 0).all()


def test_groups_and_copies_that_are_linked_lie_in_one_block():
    unit = together(6, np.array([0, 0, 1, 1, 2, 3]), np.array([9, 7, 7, 5, 4, 4]))
    assert unit.tolist() == [0, 0, 0, 0, 1, 1]


def test_fewer_groups_than_blocks_are_a_block_each():
    groups = np.arange(600) % 5
    block, mask = leave_out_blocks(600, 8, groups=groups)
    assert len({(b, g) for b, g in zip(block, groups, strict=True)}) == 5
    assert mask.sum(axis=1).tolist() == [120] * 8
    assert not leave_out_blocks(600, 8, groups=groups % 2).mask.any()


@pytest.mark.parametrize(("n", "kinds", "blocks"), [(400, 3, 8), (400, 0, 16), (4000, 3, 16)])
@pytest.mark.parametrize("members", [2, 8, 24, 100])
def test_with_statistics_of_the_target_half_of_the_blocks_are_left_out_at_most(n, kinds, blocks, members):
    found = leave_out_blocks(n, members, classes=np.arange(n) % kinds if kinds else None, has_statistics=True)
    assert len(np.unique(found.block)) == blocks
    left_out = found.mask.any(axis=0)
    assert len(np.unique(found.block[left_out])) == min(max(2, members // 2), blocks // 2)
    assert left_out.mean() <= 0.55


def test_blocks_are_stratified_by_class():
    classes = np.random.default_rng(2).choice(4, 2000, p=[0.7, 0.2, 0.08, 0.02])
    block, _ = leave_out_blocks(2000, 8, classes=classes)
    counts = np.bincount(block * 4 + classes, minlength=64).reshape(16, 4)
    assert np.ptp(counts, axis=0).max() <= 1
    assert np.ptp(counts.sum(axis=1)) <= 1


def test_groups_are_stratified_by_class_as_far_as_they_allow():
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(200), 10)
    classes = (rng.random(2000) < np.repeat(rng.random(200) ** 3, 10)).astype(int)
    counts = lambda block: np.bincount(block * 2 + classes, minlength=32).reshape(16, 2)[:, 1]
    even = counts(leave_out_blocks(2000, 8, groups=groups, classes=classes).block)
    any_ = counts(leave_out_blocks(2000, 8, groups=groups).block)
    assert even.std() < any_.std() / 2


@pytest.mark.parametrize("seed", range(8))
def test_no_member_loses_all_rows_of_a_class(seed):
    classes = np.array([0] * 30 + [1] * 20 + [2, 3, 3])
    mask = leave_out_blocks(53, 8, seed=seed, classes=classes).mask
    assert not mask[:, 50].any()
    for j in range(8):
        assert set(classes[~mask[j]]) == {0, 1, 2, 3}
    # Nor if its rows are in one group, all of whose rows stay in then: no row is judged by nets that know its group.
    groups = np.array([*range(50), 7, 7, 7])
    mask = leave_out_blocks(53, 8, seed=seed, classes=classes, groups=groups).mask
    assert not mask[:, [7, 50, 51, 52]].any()


def test_a_class_whose_other_rows_weigh_nothing_stays_in():
    classes = np.array([0] * 40 + [1] * 8)
    weights = np.r_[np.ones(40), 1, np.zeros(7)]
    assert not any(
        leave_out_blocks(48, 8, seed=s, classes=classes, weights=weights).mask[:, 40].any() for s in range(8)
    )


def test_blocks_have_equal_sample_weight():
    weights = np.random.default_rng(4).exponential(size=4000)
    block, _ = leave_out_blocks(4000, 8, weights=weights)
    held = np.bincount(block, weights)
    assert np.ptp(held) < 0.02 * held.mean()


def test_with_times_every_member_leaves_out_the_latest_rows():
    times = np.random.default_rng(5).permutation(np.repeat(np.arange(400), 4))
    block, mask = leave_out_blocks(1600, 8, times=times)
    assert (mask == mask[0]).all()
    assert mask[0].sum() == 100
    assert times[mask[0]].min() > times[~mask[0]].max()
    assert (np.diff(times[np.argsort(block, kind="stable")].reshape(16, -1).max(axis=1)) > 0).all()


def test_the_latest_rows_of_few_are_as_many_for_classes_as_for_numbers():
    """They are not dealt by class. Of a quarter of the rows, some with the time of others, none could be left out."""
    times = np.sort(np.random.default_rng(0).integers(0, 100, 300))
    of_numbers, of_classes = (leave_out_blocks(300, 8, times=times, classes=c).mask for c in (None, np.arange(300) % 3))
    assert (of_classes == of_numbers).all()
    assert 300 / 8 <= of_classes[0].sum() < 300 / 4


@pytest.mark.parametrize("times", [[1, 1, 1, 1], [1, 2], [1, 2, 3, 3, 3, 3]])
def test_with_too_few_times_nothing_is_left_out(times):
    assert not leave_out_blocks(len(times), 8, times=np.array(times)).mask.any()
