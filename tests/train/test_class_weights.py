"""Weights of classes: what rows weigh, and what does not make sense."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr

X = np.random.default_rng(3).normal(size=(12, 2))
Y = np.array([0] * 8 + [1] * 3 + [2])


def train(net_y=Y, *, loss="softmax_cross_entropy", n_out=3, stream=False, validation=None, **options):
    net = cr.MLP([2, n_out], loss=loss, dtype="float64")
    run = cr.Trainer(net, cr.SGD(0.5), epochs=3, batch_size=5, stream=stream).fit(
        X, net_y, validation=validation, **options
    )
    return net.parameter_arena.flat.tolist(), run.history


@pytest.mark.parametrize("stream", [False, True])
def test_balanced_is_a_weight_a_row(stream):
    """scikit-learn: compute_class_weight("balanced", ...) gives n / (classes * count)."""
    weights = np.array([12 / (3 * 8), 12 / (3 * 3), 12 / 3])
    got, history = train(class_weight="balanced", stream=stream)
    want, other = train(sample_weight=weights[Y])
    assert got == want
    assert history["loss"] == other["loss"]
    assert got != train()[0]


@pytest.mark.parametrize("stream", [False, True])
def test_classes_by_name_beside_weights_of_rows(stream):
    own = np.random.default_rng(1).uniform(0.5, 2, 12)
    got = train(class_weight={1: 3, np.int64(2): 0.5}, sample_weight=own, stream=stream)[0]
    assert got == train(sample_weight=own * np.array([1, 3, 0.5])[Y])[0]


def test_a_single_yes_or_no():
    yes = (Y == 0).astype(float)
    weights = np.where(yes, 12 / (2 * 8), 12 / (2 * 4))
    options = {"loss": "sigmoid_cross_entropy", "n_out": 1}
    assert train(yes, class_weight="balanced", **options)[0] == train(yes, sample_weight=weights, **options)[0]
    smoothed = {"loss": cr.SigmoidCrossEntropy(label_smoothing=0.1), "n_out": 1}
    assert train(yes, class_weight="balanced", **smoothed)[0] == train(yes, sample_weight=weights, **smoothed)[0]


def test_the_loss_of_validation_rows_has_the_weights_of_the_training():
    held = (X[:6], np.array([0, 1, 2, 0, 1, 1]))
    of_training = np.array([12 / (3 * 8), 12 / (3 * 3), 12 / 3])
    _, history = train(class_weight="balanced", validation=held)
    _, want = train(sample_weight=of_training[Y], validation=(*held, of_training[held[1]]))
    assert history["valid_loss"] == want["valid_loss"]


def test_a_class_that_does_not_occur_does_not_count():
    """Seen in a sum: a mean divides by whatever all weights have in common."""
    two = np.minimum(Y, 1)
    weights = np.where(two == 0, 12 / (2 * 8), 12 / (2 * 4))
    summed = {"loss": cr.SoftmaxCrossEntropy(reduction="sum")}
    assert train(two, class_weight="balanced", **summed)[0] == train(two, sample_weight=weights, **summed)[0]


WRONG = [
    ({"class_weight": "equal"}, cr.OptionError, "class_weight 'equal' came"),
    ({"class_weight": [1, 2, 3]}, cr.OptionError, r"class_weight \[1, 2, 3\] came"),
    ({"class_weight": {3: 1.0}}, cr.OptionError, "class_weight for 3 came, labels are 0 to 2"),
    ({"class_weight": {"a": 1.0}}, cr.OptionError, "class_weight for 'a' came"),
    ({"class_weight": {True: 1.0}}, cr.OptionError, "class_weight for True came"),
    ({"class_weight": {0: -1.0}}, cr.OptionError, "class_weight of 0 -1.0 came"),
    ({"class_weight": {0: np.nan}}, cr.OptionError, "class_weight of 0 nan came"),
    ({"class_weight": "balanced", "sample_weight": np.ones(3)}, cr.ShapeError, r"\(3,\) came, \(12,\) was expected"),
    ({"class_weight": "balanced", "loss": "huber", "n_out": 1}, cr.OptionError, "class_weight came with huber"),
    ({"class_weight": {0: 0.0, 1: 0.0, 2: 0.0}}, cr.DataError, "sample_weight is zero everywhere"),
]


@pytest.mark.parametrize(("options", "error", "message"), WRONG)
def test_what_makes_no_sense(options, error, message):
    with pytest.raises(error, match=message):
        train(**options)


def test_several_questions_have_no_classes():
    with pytest.raises(cr.OptionError, match="sigmoid_cross_entropy of 2 outputs, which has no classes"):
        train(np.ones((12, 2)), loss="sigmoid_cross_entropy", n_out=2, class_weight="balanced")


def test_a_target_between_yes_and_no_has_no_class():
    with pytest.raises(cr.DataError, match=r"a target at row 1 is 0\.5, with class_weight 0 or 1"):
        train(np.array([0, 0.5] * 6), loss="sigmoid_cross_entropy", n_out=1, class_weight="balanced")
