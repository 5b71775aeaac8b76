"""Confusions of many classes: only the pairs that occur."""

from __future__ import annotations

import numpy as np

from chainrule.nn.confusion import Confusion


def test_a_confusion_matrix_has_true_classes_down_and_predicted_ones_across():
    found = Confusion.of(np.array([0, 0, 0, 1, 3]), np.array([0, 1, 1, 1, 0], np.int32), 4)
    assert found.matrix().tolist() == [[1, 2, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0], [1, 0, 0, 0]]
    assert found.rows_of_class.tolist() == [3, 1, 0, 1]


def test_mistakes_are_sorted_by_rows_then_by_class():
    wrong = Confusion.of(np.array([5, 5, 2, 2, 0, 1, 1]), np.array([0, 0, 1, 2, 1, 3, 3]), 6).mistakes()
    assert list(zip(wrong.true, wrong.predicted, wrong.rows, strict=True)) == [
        (1, 3, 2),
        (5, 0, 2),
        (0, 1, 1),
        (2, 1, 1),
    ]


def test_rare_classes_are_merged_into_one(rng):
    labels, predicted = rng.integers(0, 100, (2, 5000))
    labels[:2000], predicted[500:900] = 3, 50
    labels[3000:4500] = 50
    found, most = Confusion.of(labels, predicted, 100), 40
    counts, (merged, names) = found.matrix(), found.merged([f"c{i}" for i in range(100)], most)
    assert merged.shape == (most, most)
    assert merged.sum() == counts.sum() == 5000
    assert names[-1] == "61 others"
    kept = [int(name[1:]) for name in names[:-1]]
    assert {3, 50} <= set(kept)
    assert kept == sorted(kept)
    np.testing.assert_array_equal(merged[:-1, :-1], counts[np.ix_(kept, kept)])
    rest = [i for i in range(100) if i not in kept]
    assert merged[-1, -1] == counts[np.ix_(rest, rest)].sum()
    assert merged[0, -1] == counts[kept[0], rest].sum()
    same, _ = found.merged(["x"] * 100, 100)
    np.testing.assert_array_equal(same, counts)


def test_a_million_classes_take_as_much_as_the_rows(rng):
    labels = rng.integers(0, 10**6, 1000)
    found = Confusion.of(labels, np.roll(labels, 1), 10**6)
    assert len(found.rows) <= 1000
    assert found.merged(["x"] * 10**6, 40)[0].sum() == 1000
