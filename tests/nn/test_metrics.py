"""Metrics of predictions on the host, against their definitions and scikit-learn's numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn import metrics
from chainrule.nn.scores import score

LABELS = np.array([0, 1, 2, 1])
P = np.array([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.5, 0.25, 0.25], [0.1, 0.1, 0.8]])
Y, PREDICTED = np.array([3.0, -0.5, 2.0, 7.0]), np.array([2.5, 0.0, 2.0, 8.0])
TWO, TWO_PREDICTED = np.array([[0.5, 1], [-1, 1], [7, -6]]), np.array([[0.0, 2], [-1, 2], [8, -5]])

CASES = [  # metric, truth, prediction, value
    (metrics.accuracy, LABELS, P.argmax(axis=1), 0.5),
    (metrics.accuracy, [[0, 1], [1, 1]], [[0, 1], [1, 0]], 0.5),
    (metrics.log_loss, LABELS, P, -np.log([0.7, 0.4, 0.25, 0.1]).mean()),
    (metrics.log_loss, np.array([1]), np.array([[1.0, 0.0]]), -np.log(np.finfo(np.float64).eps)),
    (metrics.log_loss, np.array([1]), np.array([[1, 0]], np.float32), -np.log(np.finfo(np.float32).eps)),
    (metrics.binary_log_loss, np.array([1, 0, 1]), np.array([0.9, 0.2, 0.5]), -np.log([0.9, 0.8, 0.5]).mean()),
    (metrics.binary_log_loss, np.array([[1, 0]]), np.array([[0.5, 0.25]]), -np.log([0.5, 0.75]).mean()),
    (metrics.rmse, Y, PREDICTED, 0.6123724356957945),
    (metrics.mae, Y, PREDICTED, 0.5),
    (metrics.r2, Y, PREDICTED, 0.9486081370449679),
    (
        metrics.r2,
        TWO,
        TWO_PREDICTED,
        1 - (((TWO - TWO_PREDICTED) ** 2).sum(0) / ((TWO - TWO.mean(0)) ** 2).sum(0)).mean(),
    ),
    (metrics.r2, np.ones(3), np.arange(3.0), 0.0),
]


@pytest.mark.parametrize(("metric", "y", "predicted", "value"), CASES)
def test_definitions(metric, y, predicted, value):
    assert metric(y, predicted) == pytest.approx(value, rel=1e-12)


@pytest.mark.parametrize("y", [0, 1])
@pytest.mark.parametrize(("dtype", "most"), [(np.float32, 16), (np.float64, 37)])
def test_log_loss_of_a_confident_error_is_finite(y, dtype, most):
    assert most - 1 < metrics.binary_log_loss(np.array([y]), np.array([1 - y], dtype)) < most


@pytest.mark.parametrize("n_out", [1, 3])
@pytest.mark.parametrize("loss", ["softmax_cross_entropy", "sigmoid_cross_entropy", "squared_error"])
def test_the_score_of_a_net_agrees_with_its_loss(loss, n_out, rng):
    """Two ways to the same number: from predictions here, from logits in the net's loss."""
    n_out = max(2, n_out) if loss == "softmax_cross_entropy" else n_out
    net = cr.MLP([4, 5, n_out], loss=loss, dtype="float64", activation="tanh")
    X = rng.normal(size=(20, 4))
    y = rng.integers(0, n_out, 20) if loss == "softmax_cross_entropy" else rng.integers(0, 2, (20, n_out)).astype(float)
    got = score(net, X, y)
    value, _ = net.loss_and_gradients(X, y)
    if loss == "squared_error":
        assert set(got) == {"rmse", "mae", "r2"}
        by_column = np.sqrt(((np.reshape(net.predict(X), y.shape) - y) ** 2).mean(axis=0))
        assert got["rmse"] == pytest.approx(by_column.mean(), rel=1e-12)
        assert (by_column**2).mean() == pytest.approx(value, rel=1e-12)
    else:
        balanced = {"balanced_accuracy"} if loss == "softmax_cross_entropy" or n_out == 1 else set()
        assert set(got) == {"accuracy", "log_loss", "roc_auc"} | balanced
        assert got["log_loss"] == pytest.approx(value, rel=1e-12)
        assert 0 <= got["accuracy"] <= 1


# ---- scikit-learn's numbers, written by benchmarks/golden/make_sklearn_metrics.py -------------------

GOLDEN = json.loads((Path(__file__).parent / "sklearn_metrics.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda c: f"{c['metric']} {np.shape(c['predicted'])}")
def test_metrics_are_those_of_scikit_learn(case, weighted):
    metric, y, predicted = getattr(metrics, case["metric"]), np.array(case["y"]), np.array(case["predicted"])
    weights = np.array(GOLDEN["weights"]) if weighted else None
    assert metric(y, predicted, weights) == pytest.approx(case["weighted" if weighted else "value"], rel=1e-12)


def test_roc_auc_counts_pairs(rng):
    """Its definition, pair by pair, with ties and weights."""
    y, scores, w = rng.integers(0, 2, 30), rng.integers(0, 5, 30), rng.uniform(size=30)
    higher = np.sign(scores[y == 1][:, None] - scores[y == 0]) / 2 + 0.5
    pairs = w[y == 1][:, None] * w[y == 0]
    assert metrics.roc_auc(y, scores, w) == pytest.approx((pairs * higher).sum() / pairs.sum(), rel=1e-12)
    two = np.column_stack([-scores, scores])
    assert metrics.roc_auc(y, two, w) == pytest.approx(metrics.roc_auc(y, scores, w), rel=1e-12), "two classes"


def test_metrics_that_are_not_defined():
    assert np.isnan(metrics.roc_auc(np.ones(3), np.arange(3.0)))
    assert np.isnan(metrics.roc_auc(np.array([0, 1]), np.array([0.1, np.nan])))
    P = np.array([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1]])
    assert metrics.roc_auc(np.array([0, 1, 1]), P) == 1.0, "a class without rows is left out"
    labels = np.array([0, 0, 0, 1])
    assert metrics.balanced_accuracy(labels, np.array([0, 0, 1, 2]), np.array([1.0, 1, 1, 0])) == pytest.approx(2 / 3)


@pytest.mark.parametrize("weights", [None, [2.0, 1, 0.3, 1, 1, 0.7, 3]])
@pytest.mark.parametrize("value", [0.1, 1e-170, 1e17 + 16, -3.7])
def test_r2_of_a_target_that_never_changes_is_0(value, weights):
    """Whatever rounding leaves beside its mean; an error of any size too, and none."""
    y, w = np.full(7, value), None if weights is None else np.array(weights)
    for predicted in (y * 1.1, y, np.zeros(7)):
        assert metrics.r2(y, predicted, w) == 0
    varied = np.c_[y, np.arange(7.0)]
    assert metrics.r2(varied, np.c_[y * 2, np.arange(7.0)], w) == 0.5, "one column of two"
    other = np.append(y, 5.0)
    assert metrics.r2(other, other * 1.1, np.append(np.ones(7) if w is None else w, 0)) == 0, "a row of weight 0"


def test_a_column_is_not_set_against_all_rows():
    """(n,) and (n, 1) are one target: NumPy would make (n, n) of their difference."""
    for metric in (metrics.r2, metrics.rmse, metrics.mae):
        assert metric(Y, PREDICTED[:, None]) == metric(Y[:, None], PREDICTED) == metric(Y, PREDICTED)
        with pytest.raises(cr.ShapeError, match=r"shape \(3, 1\), got \(3, 2\)"):
            metric(TWO, TWO[:, :1])


@pytest.mark.parametrize("size", [1e300, 1.5e307, 1e-160, 1e-300])
@pytest.mark.filterwarnings("error")
def test_r2_and_rmse_of_targets_whose_squares_no_float64_holds(size):
    assert metrics.r2(Y * size, PREDICTED * size) == pytest.approx(metrics.r2(Y, PREDICTED), rel=1e-14)
    assert metrics.rmse(Y * size, PREDICTED * size) == pytest.approx(metrics.rmse(Y, PREDICTED) * size, rel=1e-14)
    both, predicted = np.c_[Y * size, Y], np.c_[PREDICTED * size, PREDICTED]
    assert metrics.r2(both, predicted) == pytest.approx(metrics.r2(Y, PREDICTED), rel=1e-14)


@pytest.mark.parametrize("dtype", [bool, np.uint64, np.float32, np.float64])
def test_the_score_of_labels_of_any_dtype(dtype):
    """NumPy takes bool for a mask and refuses float as a position."""
    net, X = cr.MLP([3, 4, 2], seed=0), np.random.default_rng(0).normal(size=(2, 3))
    y = np.array([1, 0])
    assert score(net, X, y.astype(dtype)) == score(net, X, y)
    with pytest.raises(cr.DataError, match="expected a whole number"):
        score(net, X, np.array([0.5, 1.0]))
    with pytest.raises(cr.DataError, match="expected a class from 0 to 1"):
        score(net, X, np.array([0, 2]))


@pytest.mark.parametrize("weights", [None, [2.0, 1, 0.3, 4], [1e-308, 1e-308, 5e-309, 2e-308]])
@pytest.mark.parametrize("unit", [1e-300, 1e-170, 1e153, 1e200, 2e307])
@pytest.mark.filterwarnings("error")
def test_metrics_of_numbers_whose_squares_are_none(unit, weights):
    """Of a target in another unit rmse and mae are in that unit, and r2 is the same."""
    y, p = np.c_[Y, -Y], np.c_[PREDICTED, Y / 2]
    for metric in (metrics.rmse, metrics.mae):
        assert metric(y * unit, p * unit, weights) / unit == pytest.approx(metric(y, p, weights), rel=1e-13)
    assert metrics.r2(y * unit, p * unit, weights) == pytest.approx(metrics.r2(y, p, weights), rel=1e-13)


@pytest.mark.filterwarnings("error")
def test_metrics_up_to_the_largest_number():
    y = np.array([1.5e308, -1.5e308, 0.0, 1.0])
    assert metrics.mae(y, -y) == pytest.approx(1.5e308)
    assert metrics.r2(y, -y) == -3
    assert metrics.r2(Y, Y + 1e300) == -np.inf, "the quotient of squares, which is no number of float64"
    assert metrics.rmse(Y, Y + 1e300) == pytest.approx(1e300)
