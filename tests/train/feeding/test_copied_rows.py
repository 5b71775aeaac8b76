"""Copies of rows: which equal rows are one row, and which are rows of a table of few different ones."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.feeding.copied_rows import MANY, NARROW, number_copies, number_rows

N = 60


def twice(a: np.ndarray) -> np.ndarray:
    return np.concatenate([a, a])


@pytest.mark.parametrize("kind", ["numbers", "classes", "two targets"])
def test_a_changed_target_in_a_table_of_copies_leaves_the_others_copies(rng, kind):
    X, y = twice(rng.normal(size=(N, 3))), rng.normal(size=(N, 2))
    y = twice(y if kind == "two targets" else (y[:, 0] > 0).astype(int) if kind == "classes" else y[:, 0])
    number, different = number_copies(X, y)
    assert different == N
    y[0] = 1 - y[0]
    number, different = number_copies(X, y)
    assert different == N + 1
    np.testing.assert_array_equal(number[1:N], number[N + 1 :])
    assert number[0] != number[N]


def test_equal_features_whose_targets_are_drawn_for_each_row_make_no_copies(rng):
    X, y = twice(rng.normal(size=(N, 3))), (rng.random(2 * N) < 0.3).astype(int)
    number, different = number_copies(X, y)
    assert different == len(np.unique(number)) == 2 * N


def test_rows_of_a_table_that_was_repeated_are_copies_and_those_of_few_values_are_not(rng):
    X, y = rng.normal(size=(N, 2)), (rng.random(N) < 0.5).astype(int)
    assert number_copies(np.repeat(X, 5, axis=0), np.repeat(y, 5))[1] == N
    yes_or_no = np.array([[0, 0], [0, 1], [1, 0], [1, 1]] * 50)
    assert number_copies(yes_or_no, yes_or_no.sum(axis=1) % 2)[1] == 200


def test_rows_of_many_names_whose_targets_hang_on_them_are_no_copies():
    name = np.arange(200) % 20
    assert number_copies(name[:, None], name % 2, names=[0])[1] == 200
    assert number_copies(name[:, None], name % 2)[1] == 20


def test_an_ensemble_promises_nothing_of_noise_that_was_repeated(rng):
    X, y = np.repeat(rng.normal(size=(N, 3)), 5, axis=0), np.repeat(rng.permutation(np.arange(N) % 2), 5)
    model = cr.MLPClassifier(preset="fast", device="cpu", random_state=0).fit(X, y)
    assert model.oof_score_.metrics["accuracy"] < 0.75


def test_an_ensemble_promises_nothing_of_noise_whose_rows_occur_twice_but_for_one_target(rng):
    X, y = twice(rng.normal(size=(N, 3))), twice(rng.normal(size=N))
    y[0] += 1
    model = cr.MLPRegressor(preset="fast", device="cpu", random_state=0).fit(X, y)
    assert model.oof_score_.metrics["r2"] < 0.1
    assert np.ptp(model.predict(X)) < 0.5 * np.ptp(y)


def test_copies_are_found_among_many_rows(rng):
    half = MANY // 2 + 1
    X, y = twice(rng.normal(size=(half, 2))), twice(rng.integers(0, 3, half))
    X[:half, 0][X[:half, 0] > 1], X[half:, 0][X[half:, 0] > 1] = 0.0, -0.0
    number, different = number_copies(X, y)
    assert different == half
    np.testing.assert_array_equal(number[:half], number[half:])
    assert number_copies(X.astype(np.float32), y)[1] == half
    assert number_copies(X[:, :1] > 0, y)[1] == 2 * half  # two values, and targets by chance
    all_differ, different = number_copies(rng.normal(size=(MANY, 2)), np.zeros(MANY))
    assert different == MANY
    np.testing.assert_array_equal(all_differ, np.arange(MANY))


@pytest.mark.parametrize("columns", [1, 3, NARROW, NARROW + 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_rows_are_numbered_as_they_first_occur(rng, dtype, columns):
    values = rng.integers(-1, 2, (20, columns)).astype(dtype)[rng.integers(0, 20, 200)]
    values[::2] *= dtype(-1)  # -0.0
    _, first, of_row = np.unique(values, axis=0, return_index=True, return_inverse=True)
    as_they_occur = np.argsort(np.argsort(first))
    np.testing.assert_array_equal(number_rows(values), as_they_occur[of_row.reshape(-1)])
