"""The losses around their kernels: which targets they take, and how batches add up."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.contract.losses import LossBatch
from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.nn.evaluation import metrics_of
from chainrule.nn.losses.names import KINDS, LOSSES, Loss, find_loss
from chainrule.nn.passes import new_state
from chainrule.verify.explain import random_rows
from printed_formulas import evaluate

LABELS = np.array([0, 2, 1], np.int32)
ACCEPTED = [  # loss, outputs, targets as given, targets for the kernels
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


@pytest.mark.parametrize(("name", "n_out", "given", "want"), ACCEPTED)
def test_targets_that_are_accepted(name, n_out, given, want):
    got = find_loss(name, n_out).check_targets(np.asarray(given))
    assert got.dtype.kind == want.dtype.kind or name != "softmax_cross_entropy"
    np.testing.assert_array_equal(got, want)
    assert got.shape == want.shape


# Targets that are refused are a table in test_rows.py, beside the rows that are.


@pytest.mark.parametrize("name", LOSSES)
def test_the_value_over_batches_is_the_value_over_all(name):
    """Batches of 5 rows and of 2: a mean is weighted by them, a sum is added."""
    loss = find_loss(name, LOSSES[name].outputs_for(2))
    totals = np.array([[10.0, 5.0, np.nan], [8.0, 2.0, np.nan]])
    if not loss.mean:
        totals[:, 1] = 1.0
    assert loss.value(totals) == (18.0 if name == "squared_error_sum" else 18 / 7)
    assert loss.value(np.array([[0.0, 0.0, np.nan]])) == 0.0, "all weights zero"


# The loss of each if every logit is 1/2 and every target 1 (or class 0): of 2 and of 4 outputs or columns.
EACH = {
    "softmax_cross_entropy": (np.log(2), np.log(4)),
    "focal": (np.log(2) / 4, np.log(4) * 9 / 16),
    "sigmoid_cross_entropy": (np.log1p(np.exp(-0.5)),) * 2,
    "squared_error": (0.25, 0.25),
    "squared_error_sum": (2.0, 4.0),
    "absolute_error": (0.5, 0.5),
    "huber": (0.125, 0.125),
    "poisson": (np.exp(0.5) - 0.5,) * 2,
    "gamma": (0.5 + np.exp(-0.5),) * 2,
    "gaussian_nll": ((0.5 + 0.25 * np.exp(-0.5)) / 2,) * 2,
}
STEP = np.log1p(np.exp(0.5))  # from a quantile to the next
EACH["quantile"] = ((0.05 + 0.5 * (STEP - 0.5) + 0.1 * (2 * STEP - 0.5)) / 3,) * 2


@pytest.mark.parametrize("name", LOSSES)
def test_the_mean_is_over_rows_and_outputs(name):
    """Twice the outputs, each as wrong as before: the same loss, so that the learning rate need not change."""

    def loss_of(columns: int) -> float:
        net = cr.MLP([1, LOSSES[name].outputs_for(columns)], loss=name, dtype="float64")
        net.parameters()["dense0.W"][:] = 0.0
        net.parameters()["dense0.b"][:] = 0.5
        y = np.zeros(4, int) if LOSSES[name].task == "classify" else np.ones((4, columns))
        return net.loss_and_gradients(np.ones((4, 1)), y)[0]

    assert (loss_of(2), loss_of(4)) == pytest.approx(EACH[name], rel=1e-14)


@pytest.mark.parametrize("name", LOSSES)
def test_a_sample_weight_of_k_is_a_row_given_k_times(name, rng):
    net = cr.MLP([3, 4, LOSSES[name].outputs_for(2)], loss=name, dtype="float64", activation="tanh")
    X, y = random_rows(net, 6, rng)
    times = np.array([1, 0, 3, 2, 1, 1])
    value, gradients = net.loss_and_gradients(X, y, times)
    again, same = net.loss_and_gradients(X.repeat(times, axis=0), y.repeat(times, axis=0))
    assert value == pytest.approx(again, rel=1e-12)
    for key, gradient in gradients.items():
        np.testing.assert_allclose(gradient, same[key], rtol=1e-9, atol=1e-15)


# ---- PyTorch's and scikit-learn's numbers: benchmarks/golden/make_torch_losses.py ------------------------------------

GOLDEN = json.loads((Path(__file__).parent / "torch_losses.json").read_text(encoding="utf-8"))


def loss_of(case: dict[str, Any]) -> tuple[Loss, list[np.ndarray | None]]:
    logits = np.array(case["logits"])
    loss = KINDS[case["name"]](**case["options"]).bind(logits.shape[1])
    weights = None if case["weights"] is None else np.array(case["weights"])
    return loss, [logits, loss.check_targets(np.array(case["targets"])), weights]


def totals_of(backend: cr.Backend, case: dict[str, Any]) -> tuple[Loss, np.ndarray, np.ndarray]:
    loss, (logits, targets, weights) = loss_of(case)
    targets = targets if loss.task == "classify" else targets.astype(float)
    z, t = backend.upload(logits), backend.upload(targets)
    w = None if weights is None else backend.upload(weights)
    totals, dlogits = backend.empty((1, 3), np.float64), backend.empty(logits.shape, np.float64)
    with backend.running():
        loss(backend, LossBatch(z, t, w, new_state(backend), totals, dlogits))
    return loss, backend.download(totals), backend.download(dlogits)


@pytest.mark.parametrize("case", GOLDEN["losses"], ids=lambda c: f"{c['name']} {c['options']}")
def test_a_loss_and_its_gradient_are_those_of_pytorch(backend, case):
    loss, totals, gradient = totals_of(backend, case)
    assert float(loss.value(totals)) == pytest.approx(case["loss"], rel=1e-10)
    want = np.array(case["gradient"])
    assert np.abs(gradient - want).max() <= 1e-10 * np.abs(want).max()


@pytest.mark.parametrize("case", GOLDEN["scores"], ids=lambda c: c["name"])
def test_the_metric_is_that_of_scikit_learn(case):
    loss, totals, _ = totals_of(NumPyBackend(), case)
    _, (_, targets, weights) = loss_of(case)
    found = metrics_of(loss, totals, loss.baseline(targets, weights))
    assert set(found) == {"loss", "r2" if case["name"] == "squared_error" else "d2"}
    assert found[loss.metric] == pytest.approx(case["score"], rel=1e-10)


@pytest.mark.parametrize("delta", [0.01, 0.5, 100.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_no_constant_has_a_smaller_huber_loss_than_the_baseline(rng, delta, weighted):
    t, w = rng.normal(size=(40, 2)) ** 3, rng.uniform(0.1, 2, 40) if weighted else np.ones(40)
    found = find_loss(cr.Huber(delta=delta), 2).baseline(t, w if weighted else None)
    each = []
    for column in t.T:
        error = np.abs(np.linspace(column.min(), column.max(), 20_001)[:, None] - column)
        rows = np.where(error <= delta, error**2 / 2, delta * (error - delta / 2))
        each.append(np.average(rows, axis=1, weights=w).min())
    assert sum(each) * (1 - 1e-5) <= found.constant <= sum(each) * (1 + 1e-12)


# ---- options -----------------------------------------------------------------------------------------------------

WRONG = [
    (lambda: cr.SquaredError(reduction="median"), r"reduction: expected mean or sum, got 'median'"),
    (lambda: cr.Huber(delta=0), "delta: expected a finite number above 0"),
    (lambda: cr.Huber(delta="1"), "delta: expected a finite number above 0, got '1'"),
    (lambda: cr.Focal(gamma=-1), "gamma: expected a finite number from 0 up, got -1"),
    (lambda: cr.SoftmaxCrossEntropy(label_smoothing=1.0), "label_smoothing: expected .* to below 1"),
    (lambda: cr.SigmoidCrossEntropy(label_smoothing=-0.1), "label_smoothing: expected .*, got -0.1"),
    (lambda: cr.Quantile([]), r"levels: expected numbers between 0 and 1, got \[\]"),
    (lambda: cr.Quantile("median"), "levels: expected numbers between 0 and 1, got 'median'"),
    (lambda: cr.Quantile([0.5, 0.5]), "each is above the one before"),
    (lambda: cr.Quantile([0.9, 0.1]), "each is above the one before"),
    (lambda: cr.Quantile([0.0, 0.5]), "a level: expected a finite number above 0 to below 1"),
    (lambda: cr.Quantile([0.5, 1.0]), "a level: expected .*, got 1.0"),
    (lambda: cr.MLP([3, 4], loss="quantile"), "expected a multiple of 3 outputs"),
    (lambda: cr.MLP([3, 1], loss="gaussian_nll"), "expected a multiple of 2 outputs"),
    (lambda: cr.MLP([3, 1], loss=cr.Focal()), "expected 2 classes or more for focal, got 1"),
    (lambda: cr.MLP([3, 1], loss=cr.Focal), "expected a loss, got the class Focal"),
]


@pytest.mark.parametrize(("make", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_options(make, message):
    with pytest.raises(cr.OptionError, match=message):
        make()


REFUSED = [  # loss, outputs, targets, what is said
    ("poisson", 1, [0, 3, -1], "a target at row 2, column 0: expected a number from 0 up, got -1"),
    ("gamma", 2, [[1.0, 2.0], [0.5, 0.0]], "a target at row 1, column 1: expected a number above 0, got 0.0"),
    ("quantile", 3, [1.0, np.inf], "row 1, column 0: expected a finite number, got inf"),
    ("huber", 1, [np.nan], "row 0, column 0: expected a finite number, got nan"),
    ("focal", 3, [0, 1, 3], "a label at row 2: expected a class from 0 to 2, got 3"),
    (cr.SigmoidCrossEntropy(label_smoothing=0.1), 1, [0, 2], "row 1, column 0: expected a number from 0 to 1, got 2"),
]


@pytest.mark.parametrize(("loss", "n_out", "y", "message"), REFUSED)
def test_bad_targets_are_refused_by_row(loss, n_out, y, message):
    with pytest.raises(cr.DataError, match=message):
        find_loss(loss, n_out).check_targets(np.array(y))


@pytest.mark.parametrize(
    ("loss", "n_out", "expected"), [("gaussian_nll", 4, r"\(n, 2\)"), ("quantile", 3, r"\(n, 1\) or \(n,\)")]
)
def test_targets_have_a_column_for_each_group_of_outputs(loss, n_out, expected):
    with pytest.raises(cr.ShapeError, match=expected):
        find_loss(loss, n_out).check_targets(np.ones((5, n_out)))


def test_loss_name_is_the_short_one_if_all_options_are_at_their_defaults():
    assert cr.MLP([2, 1], loss=cr.Huber(delta=1.0)).loss_name == "huber"
    assert cr.MLP([2, 1], loss=cr.SquaredError(reduction="sum")).loss_name == "squared_error_sum"


def test_label_smoothing_of_softmax_cross_entropy_spreads_the_target_over_all_classes(rng):
    z, labels, s, k = rng.normal(size=(6, 4)), np.arange(6) % 4, 0.1, 4
    net = cr.Network([cr.Dense(k)], k, loss=cr.SoftmaxCrossEntropy(label_smoothing=s), dtype="float64")
    net.assign_parameters({"dense0.W": np.eye(k)})  # logits are the rows themselves
    q = (1 - s) * np.eye(k)[labels] + s / k
    log_softmax = z - np.logaddexp.reduce(z, axis=1)[:, None]
    assert net.loss_and_gradients(z, labels)[0] == pytest.approx(-(q * log_softmax).sum(axis=1).mean(), rel=1e-14)


def test_label_smoothing_of_sigmoid_cross_entropy_is_that_of_a_softmax_of_two():
    """(1 - s) t + s / 2: what the softmax of two classes has for k = 2."""
    loss = find_loss(cr.SigmoidCrossEntropy(label_smoothing=0.2), 1)
    np.testing.assert_allclose(loss.check_targets(np.array([0, 1, 1])), [[0.1], [0.9], [0.9]], rtol=1e-15)
    X, y = np.array([[1.0], [2.0]]), np.array([0, 1])
    one = cr.MLP([1, 1], loss=cr.SigmoidCrossEntropy(label_smoothing=0.2), dtype="float64")
    two = cr.MLP([1, 2], loss=cr.SoftmaxCrossEntropy(label_smoothing=0.2), dtype="float64")
    one.assign_parameters({"dense0.W": [[0.7]]})
    two.assign_parameters({"dense0.W": [[0.0, 0.7]]})
    assert one.loss_and_gradients(X, y)[0] == pytest.approx(two.loss_and_gradients(X, y)[0], rel=1e-14)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    "loss", [cr.SquaredError, cr.AbsoluteError, cr.Huber, cr.Poisson, cr.Gamma, cr.SigmoidCrossEntropy]
)
def test_the_printed_formula_and_gradient_of_a_loss_are_what_is_computed(rng, loss, reduction):
    """Evaluated as they stand: with their parentheses, z the logits and t the targets."""
    n, k = 5, 3
    z, t = rng.normal(size=(n, k)), rng.uniform(0.1, 0.9, (n, k))
    net = cr.Network([cr.Dense(k)], k, loss=loss(reduction=reduction), dtype="float64")
    net.assign_parameters({"dense0.W": np.eye(k)})  # logits are the rows themselves
    value, gradients = net.loss_and_gradients(z, t)
    names = {"z": z, "t": t, "n": n, "k": k, "mean_ij": np.mean, "sum_ij": np.sum}
    names["sigmoid"] = lambda z: 1 / (1 + np.exp(-z))
    assert value == pytest.approx(evaluate(net.loss.formula, names), rel=1e-12)
    np.testing.assert_allclose(gradients["dense0.b"], evaluate(net.loss.gradient, names).sum(axis=0), rtol=1e-12)
