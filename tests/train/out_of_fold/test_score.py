"""The score of an ensemble by rows that members never saw, with its standard error."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.nn.inputs.standardization import Standardization
from chainrule.nn.losses.names import find_loss
from chainrule.nn.scores import score
from chainrule.train.out_of_fold.predictions import OutOfFoldPart
from chainrule.train.out_of_fold.score import OutOfFoldScore, jackknife, score_out_of_fold, with_error
from train.out_of_fold.simulated import parts_of


@pytest.mark.parametrize(
    "loss",
    ["squared_error", "poisson", "gamma", "quantile", "gaussian_nll", "softmax_cross_entropy", "sigmoid_cross_entropy"],
)
def test_the_score_of_out_of_fold_rows_is_that_of_the_net_for_them(rng, loss):
    """Of a net whose members are one and the same: as if it had been asked for these rows."""
    outputs = {"softmax_cross_entropy": 3, "quantile": 3, "gaussian_nll": 2}.get(loss, 1)
    targets = None
    X, y = rng.normal(size=(60, 4)), rng.gamma(2.0, size=60)
    if loss in {"squared_error", "quantile", "gaussian_nll"}:
        targets = Standardization(np.array([2.0]), np.array([3.0]))
    if loss in {"softmax_cross_entropy", "sigmoid_cross_entropy"}:
        y = rng.integers(0, 3 if outputs == 3 else 2, 60)
    net = cr.MLP([4, 5, outputs], loss=loss, dtype="float64", seed=2)
    net.preparation = cr.Preparation(targets=targets)
    batch = net.bind(60, training=False)
    with net.backend.running():
        logits = np.array(batch.forward(X))
    kernel_targets = net.loss.check_targets(y if targets is None else (y - 2) / 3)
    parts = parts_of(np.stack([logits] * 4), kernel_targets)
    found = score_out_of_fold(net.loss, parts, members=4, targets=targets)
    order = np.concatenate([part.rows for part in parts])
    want = score(net, X[order], y[order])
    assert found.metrics == pytest.approx(want, rel=1e-9)
    assert found.standard_errors.keys() <= found.metrics.keys()
    assert (found.rows, found.judges, found.members) == (60, (2,), 4)


def test_the_standard_error_of_a_mean_is_that_of_the_mean(rng):
    values = rng.normal(size=1000)
    in_set = rng.permutation(np.arange(1000) % 50)
    ratios = []
    for _ in range(40):
        values = rng.normal(size=1000)
        found = jackknife(lambda rows: {"mean": float(values[rows].mean())}, in_set)  # noqa: B023
        ratios.append(found["mean"] / (values.std(ddof=1) / np.sqrt(1000)))
    assert 0.95 < np.sqrt(np.mean(np.square(ratios))) < 1.05
    each = jackknife(lambda rows: {"mean": float(values[rows].mean())}, np.arange(1000))
    assert each["mean"] == pytest.approx(values.std(ddof=1) / np.sqrt(1000))


@pytest.mark.parametrize("metric", ["accuracy", "roc_auc", "log_loss", "balanced_accuracy"])
def test_the_standard_error_of_a_metric_is_how_much_it_varies_from_table_to_table(metric):
    rng = np.random.default_rng(5)
    scores = []
    for _ in range(60):
        z = rng.normal(size=(1, 300, 1))
        y = (rng.random((300, 1)) < 1 / (1 + np.exp(-2 * z[0] + 1))).astype(float)
        parts = parts_of(np.concatenate([z, z]), y)
        scores.append(score_out_of_fold(find_loss("sigmoid_cross_entropy", 1), parts, members=2))
    truth = np.std([s.metrics[metric] for s in scores])
    assert 0.75 < np.mean([s.standard_errors[metric] for s in scores]) / truth < 1.3


def test_rows_of_a_group_vary_together(rng):
    """Groups of ten equal rows: the error is that of a tenth of the rows."""
    groups = np.repeat(np.arange(60), 10)
    z = np.repeat(rng.normal(size=(2, 60, 1)), 10, axis=1)
    y = np.repeat(rng.normal(size=(60, 1)), 10, axis=0)
    parts, loss = parts_of(z, y), find_loss("squared_error", 1)
    alone = score_out_of_fold(loss, parts, members=2).standard_errors["mae"]
    grouped = score_out_of_fold(loss, parts, members=2, groups=groups).standard_errors["mae"]
    assert 2.2 < grouped / alone < 4.5
    copied = score_out_of_fold(loss, parts, members=2, copies=groups).standard_errors["mae"]
    assert copied == grouped


def test_the_score_of_smoothed_labels_is_that_of_the_labels(rng):
    z, y = rng.normal(size=(2, 50, 1)), rng.integers(0, 2, (50, 1)).astype(float)
    smooth = cr.SigmoidCrossEntropy(label_smoothing=0.2).bind(1)
    plain = score_out_of_fold(find_loss("sigmoid_cross_entropy", 1), parts_of(z, y), members=2)
    found = score_out_of_fold(smooth, parts_of(z, smooth.check_targets(y)), members=2)
    assert found.metrics == pytest.approx(plain.metrics)


def test_a_single_row_has_a_score_without_an_error():
    part = OutOfFoldPart((0,), np.array([3]), np.zeros((1, 1, 1)), np.ones((1, 1)), None)
    found = score_out_of_fold(find_loss("squared_error", 1), [part], members=3)
    assert found.line("mae") == "mae 1 (1 row that 1 of 3 nets never saw)"


def test_the_score_in_one_line():
    found = OutOfFoldScore({"accuracy": 0.86134, "log_loss": 0.4}, {"accuracy": 0.00712}, 612, (2,), 8)
    assert str(found) == "accuracy 0.861 +- 0.007 (612 rows that 2 of 8 nets never saw)"
    assert found.line("log_loss") == "log_loss 0.4 (612 rows that 2 of 8 nets never saw)"
    assert str(OutOfFoldScore({"r2": -0.5}, {"r2": 0.0121}, 9, (2, 3), 5)) == (
        "r2 -0.500 +- 0.012 (9 rows that 2 or 3 of 5 nets never saw)"
    )


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.86134, 0.00712, "0.861 +- 0.007"),
        (0.86134, 0.0142, "0.861 +- 0.014"),
        (0.86134, 0.0197, "0.86 +- 0.02"),
        (1234.5, 13.2, "1234 +- 13"),
        (123456.0, 4321.0, "123000 +- 4000"),
        (-0.004, 4.0, "0 +- 4"),
        (-0.01, 0.3, "0.0 +- 0.3"),
        (-4.56e27, 1.6e27, "-4.6e+27 +- 2e+27"),
        (-0.2, 3.1e16, "-0.2 +- 3e+16"),
        (2.0, 0.0, "2"),
        (2.0, np.nan, "2"),
    ],
)
def test_a_number_with_its_error_has_no_more_digits_than_that_allows(value, error, text):
    assert with_error(value, error) == text
