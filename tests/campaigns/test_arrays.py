"""Odd arrays: as good as a clean copy, or refused by their place. tests/arrays.py tries more of them."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from campaigns import arrays

CASES = 200


def test_odd_arrays_are_as_good_as_clean_copies_or_refused(tmp_path):
    counts, findings = arrays.run(range(CASES), tmp_path)
    assert findings == {}
    assert min(counts.values()) > CASES // 5, "both happen, or this tries nothing"


def test_a_matrix_is_not_multiplied_where_it_should_be_squared():
    """An ``np.matrix`` squared is a product of matrices, and a column of it has two axes."""
    X, y = np.eye(3), np.arange(9.0).reshape(3, 3)
    histories = []
    for target in (y, y.view(arrays.Matrix)):
        net = cr.MLP([3, 3], loss="squared_error")
        histories.append(cr.Trainer(net, epochs=2).fit(X, target).history["loss"])
    assert histories[0] == histories[1]


def test_weights_that_nothing_can_be_divided_by():
    net, X = cr.MLP([1, 1], loss="squared_error"), np.ones((2, 1))
    with pytest.raises(cr.DataError, match="sample_weight: expected at least one weight above 0"):
        cr.Trainer(net).fit(X, np.ones(2), sample_weight=[0.0, 0])
    for smallest in (1e-320, np.longdouble("1e-4000")):  # only ratios count
        weights = net.upload_rows(X, np.ones(2), np.array([smallest, 0])).weights
        np.testing.assert_array_equal(weights, [1, 0])


def test_what_estimators_would_take_for_numbers():
    pytest.importorskip("sklearn")
    y, dates = [0, 1], np.zeros((2, 2), "M8[s]")
    for X in (dates, list(dates), tuple(dates)):
        with pytest.raises(cr.DataError, match=r"expected numbers, got X of dtype datetime64"):
            cr.MLPClassifier().fit(X, y)
    with pytest.raises(cr.DataError, match="y: expected a plain array"):
        cr.MLPClassifier().fit(np.ones((2, 2)), np.ma.masked_equal(y, 1))
    model = cr.MLPClassifier(max_iter=1).fit(np.ones((2, 2)), y)
    with pytest.raises(cr.DataError, match="X: expected a plain array"):
        model.predict(np.ma.masked_equal(np.ones((2, 2)), 1))
