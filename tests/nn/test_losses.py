"""The losses around their kernels: which targets they take, and how batches add up."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.losses import LOSSES, find_loss

LABELS = np.array([0, 2, 1], np.int32)
ACCEPTED = [  # loss, outputs, what comes, what the kernels get
    ("softmax_cross_entropy", 3, [0, 2, 1], LABELS),
    ("softmax_cross_entropy", 3, np.array([[0], [2], [1]], np.uint8), LABELS),
    ("softmax_cross_entropy", 3, np.array([0.0, 2.0, 1.0]), LABELS),
    ("softmax_cross_entropy", 3, np.array([0, 2, 1], ">i8"), LABELS),
    ("softmax_cross_entropy", 2, np.array([True, False]), np.array([1, 0], np.int32)),
    ("sigmoid_cross_entropy", 1, [0, 1], np.array([[0], [1]])),
    ("sigmoid_cross_entropy", 2, [[0, 0.25], [1, 1]], np.array([[0, 0.25], [1, 1]])),
    ("squared_error", 1, [1.5, -2.0], np.array([[1.5], [-2.0]])),
    ("squared_error_sum", 2, [[1, 2]], np.array([[1, 2]])),
]


@pytest.mark.parametrize(("name", "n_out", "came", "want"), ACCEPTED)
def test_targets_that_are_accepted(name, n_out, came, want):
    got = find_loss(name, n_out).check_targets(np.asarray(came))
    assert got.dtype.kind == want.dtype.kind or name != "softmax_cross_entropy"
    np.testing.assert_array_equal(got, want)
    assert got.shape == want.shape


# Targets that are refused are a table in test_rows.py, where they come with their rows.


@pytest.mark.parametrize("name", LOSSES)
def test_the_value_over_batches_is_the_value_over_all(name):
    """Batches of 5 rows and of 2: a mean is weighted by them, a sum is added."""
    loss = find_loss(name, 2)
    totals = np.array([[10.0, 5.0, np.nan], [8.0, 2.0, np.nan]])
    if not loss.mean:
        totals[:, 1] = 1.0
    assert loss.value(totals) == (18.0 if name == "squared_error_sum" else 18 / 7)
    assert loss.value(np.array([[0.0, 0.0, np.nan]])) == 0.0, "all weights zero"


@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_is_over_rows_and_outputs(name):
    """Twice the outputs, each as wrong as before: the same loss, so that the learning rate need not change."""

    def loss_of(n_out: int) -> float:
        net = cr.MLP([1, n_out], loss=name, dtype="float64")
        net.parameters()["dense0.W"][:] = 0.0
        net.parameters()["dense0.b"][:] = 0.5
        y = np.zeros(4, int) if name == "softmax_cross_entropy" else np.ones((4, n_out))
        return net.loss_and_gradients(np.ones((4, 1)), y)[0]

    want = {
        "softmax_cross_entropy": (np.log(2), np.log(4)),
        "sigmoid_cross_entropy": (np.log1p(np.exp(-0.5)), np.log1p(np.exp(-0.5))),
        "squared_error": (0.25, 0.25),
        "squared_error_sum": (2.0, 4.0),
    }[name]
    assert (loss_of(2), loss_of(4)) == pytest.approx(want, rel=1e-14)


def test_reductions():
    kind, _ = LOSSES["squared_error"]
    with pytest.raises(cr.OptionError, match=r"reduction 'median' came(?s:.*)mean, sum"):
        kind(2, "median")
