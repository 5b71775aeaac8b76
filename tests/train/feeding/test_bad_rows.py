"""Rows, labels and weights are checked when they are given: the first wrong one is named, by every function."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import chainrule as cr

X = np.random.default_rng(0).normal(size=(40, 3))
Y = (X[:, 0] > 0).astype(np.int64)
ONES = np.ones(40)


def bad(values: np.ndarray, *places: Any, value: float = np.nan) -> np.ndarray:
    """A copy with ``value`` at these places."""
    found = np.array(values, np.float64)
    for place in places:
        found[place] = value
    return found


def fit(X: Any, y: Any, weights: Any = None, **options: Any) -> None:
    stream = options.pop("stream", None)
    cr.Trainer(cr.MLP([3, 2]), epochs=1, batch_size=8, stream=stream).fit(X, y, sample_weight=weights, **options)


def of_columns(y: np.ndarray) -> None:
    cr.Trainer(cr.MLP([3, 3], loss="squared_error"), epochs=1).fit(X, y)


def cross_validated(X: np.ndarray) -> None:
    def train(rows: np.ndarray) -> cr.Network:
        net = cr.MLP([3, 2])
        cr.Trainer(net, epochs=1).fit(X[rows], Y[rows])
        return net

    cr.cross_validate(train, X, Y, cr.make_folds(40, 4, seed=1))


HOLES, FAR = bad(X, (7, 2), (9, 0)), bad(X, (7, 2), value=np.inf)
NINE, MINUS = bad(Y, 5, 6, value=9), bad(ONES, 5, 6, value=-1)
WORDS = [
    ("fit: X", lambda: fit(HOLES, Y), "X at row 7, column 2: expected a finite number, got nan"),
    ("fit: a label", lambda: fit(X, NINE), "a label at row 5: expected a class from 0 to 1, got 9.0"),
    ("fit: a target", lambda: of_columns(HOLES), "a target at row 7, column 2: expected a finite number, got nan"),
    ("fit: a weight", lambda: fit(X, Y, MINUS), "sample_weight at row 5: expected a finite number from 0 up, got -1.0"),
    ("streamed: X", lambda: fit(HOLES, Y, stream=True), "X at row 7, column 2: expected a finite number, got nan"),
    ("streamed: a label", lambda: fit(X, NINE, stream=True), "a label at row 5: expected a class from 0 to 1, got 9.0"),
    (
        "streamed: a weight",
        lambda: fit(X, Y, MINUS, stream=True),
        "sample_weight at row 5: expected a finite number from 0 up, got -1.0",
    ),
    (
        "streamed and split",
        lambda: fit(HOLES, Y, stream=True, validation=0.3),
        "X at row 7, column 2: expected a finite number, got nan",
    ),
    (
        "validation: X",
        lambda: fit(X, Y, validation=(FAR, Y)),
        "validation: X at row 7, column 2: expected a finite number, got inf",
    ),
    (
        "validation: a label",
        lambda: fit(X, Y, validation=(X, NINE)),
        "validation: a label at row 5: expected a class from 0 to 1, got 9.0",
    ),
    (
        "validation: a weight",
        lambda: fit(X, Y, validation=(X, Y, MINUS), stream=True),
        "validation: sample_weight at row 5: expected a finite number from 0 up, got -1.0",
    ),
    (
        "class weights: a weight",
        lambda: fit(X, Y, MINUS, class_weight={0: 3.0}),
        "sample_weight at row 5: expected a finite number from 0 up, got -1.0",
    ),
    (
        "class weights: a label to validate",
        lambda: fit(X, Y, class_weight="balanced", validation=(X, NINE)),
        "validation: a label at row 5: expected a class from 0 to 1, got 9.0",
    ),
    ("class weights: a text", lambda: fit(X, Y, ["a"] * 40, class_weight="balanced"), "sample_weight of dtype <U1"),
    ("predict", lambda: cr.MLP([3, 2]).predict(HOLES), "X at row 7, column 2: expected a finite number, got nan"),
    ("standardise", lambda: cr.Standardization.fit(FAR), "row 7, column 2: expected a finite number, got inf"),
    (
        "cross-validate",
        lambda: cross_validated(bad(X, (37, 2))),
        "X at row 37, column 2: expected a finite number, got nan",
    ),
]


@pytest.mark.parametrize(("call", "words"), [case[1:] for case in WORDS], ids=[case[0] for case in WORDS])
def test_the_first_number_that_is_not_finite_is_named_by_row_and_column(call: Callable[[], None], words: str):
    with pytest.raises(cr.DataError) as caught:
        call()
    assert words in caught.value.message


def test_validation_of_another_shape_says_so():
    for held in ((X[:, :2], Y), (X, Y[:3])):
        with pytest.raises(cr.ShapeError, match=r"^validation: (expected )?X "):
            fit(X, Y, validation=held)


def test_estimators_name_it_too():
    pytest.importorskip("sklearn")
    classes, numbers = cr.MLPClassifier(max_iter=1), cr.MLPRegressor(max_iter=1)
    fitted = cr.MLPClassifier(max_iter=1).fit(X, Y)
    at = "the first is at row 7, column 2"
    for call, words in (
        (lambda: classes.fit(HOLES, Y), f"Input X contains NaN: {at}"),
        (lambda: classes.fit(FAR, Y), at),
        (lambda: numbers.fit(X, bad(ONES, 5)), "Input y contains NaN: the first is at row 5"),
        (lambda: numbers.fit(X, HOLES), f"Input y contains NaN: {at}"),
        (lambda: classes.fit(X, Y, bad(ONES, 5)), "Input sample_weight contains NaN: the first is at row 5"),
        (lambda: classes.fit(X, Y, MINUS), "the first is at row 5"),
        (lambda: classes.fit(X, Y, eval_set=(FAR, Y)), "eval_set: Input X contains infinity"),
        (lambda: classes.fit(X, Y, eval_set=(X, NINE)), "eval_set: `y` has classes not in"),
        (lambda: fitted.predict(HOLES), at),
    ):
        with pytest.raises(cr.DataError) as caught:
            call()
        assert words in caught.value.message
