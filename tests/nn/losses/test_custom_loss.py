"""Custom losses: trained on every backend, checked before they are used, remembered by name."""

from __future__ import annotations

import re

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import GradientError, ModelFileError, OptionError


def log_cosh(xp, z, t):
    return xp.log(xp.cosh(z - t)).sum(axis=-1)


def tanh_of_error(xp, z, t):
    return xp.tanh(z - t)


LOG_COSH = cr.CustomLoss("log_cosh", log_cosh, tanh_of_error)
SQUARE = cr.CustomLoss("square", lambda xp, z, t: ((z - t) ** 2).sum(axis=-1), lambda xp, z, t: 2 * (z - t))


def cross_entropy(xp, z, t):
    shifted = z - z.max(axis=-1, keepdims=True)
    return xp.log(xp.exp(shifted).sum(axis=-1)) - shifted[xp.arange(len(t)), t]


def softmax_minus_onehot(xp, z, t):
    e = xp.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True) - (xp.arange(z.shape[-1]) == t[:, None])


CLASSES = cr.CustomLoss("my cross-entropy", cross_entropy, softmax_minus_onehot, task="classify")


@pytest.fixture
def rows(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return rng.normal(size=(37, 4)), rng.normal(size=(37, 2)), rng.uniform(0, 2, 37)


def test_gradients(backend, rows):
    X, y, w = rows
    report = cr.check_gradients(cr.MLP([4, 6, 2], activation="tanh", loss=LOG_COSH, backend=backend), X, y, w)
    assert not report.complex_step
    assert max(report.central_difference.values()) <= 1e-6


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("ours", "theirs"), [(SQUARE, "squared_error_sum"), (CLASSES, "softmax_cross_entropy")], ids=["numbers", "classes"]
)
def test_custom_loss_trains_as_the_built_in_one(backend, rows, ours, theirs, weighted):
    """Ragged batches, row weights, validation: loss, metric and weights."""
    X, y, w = rows
    y, k, w = (np.arange(37) % 3, 3, w) if ours is CLASSES else (y, 2, w)
    found = []
    for loss in (ours if ours is CLASSES else cr.CustomLoss(ours.name, ours.value_of_rows, ours.gradient_of_rows,
                                                           reduction="sum"), theirs):  # fmt: skip
        net = cr.MLP([4, 9, k], loss=loss, backend=backend, dtype="float64", seed=1)
        run = cr.Trainer(net, cr.SGD(1e-3), batch_size=8, epochs=3).fit(
            X, y, sample_weight=w if weighted else None, validation=(X, y)
        )
        found.append((run.history, net.parameter_arena.download(), np.asarray(net.predict(X))))
    (history, weights, predicted), (expected_history, expected, expected_predictions) = found
    for name in expected:
        np.testing.assert_allclose(weights[name], expected[name], rtol=1e-10, atol=1e-13)
    names = ("loss", "valid_loss", "accuracy", "valid_accuracy") if ours is CLASSES else ("loss", "valid_loss")
    for name in names:
        np.testing.assert_allclose(history[name], expected_history[name], rtol=1e-10)
    np.testing.assert_allclose(predicted, expected_predictions, rtol=1e-9)


def test_a_mean_is_over_rows(rows):
    X, y, w = rows
    net = cr.MLP([4, 2], loss=SQUARE, dtype="float64")
    loss, gradients = net.loss_and_gradients(X, y, w)
    twice, same = net.loss_and_gradients(np.repeat(X, 2, axis=0), np.repeat(y, 2, axis=0), np.repeat(w, 2))
    assert loss == pytest.approx(twice)
    np.testing.assert_allclose(gradients["dense0.W"], same["dense0.W"])


def test_custom_loss_with_a_wrong_gradient_is_refused_by_its_entry():
    def wrong(xp, z, t):
        return xp.where(xp.arange(z.shape[-1]) == 1, 1.01, 1.0) * xp.tanh(z - t)

    expected = r"gradient of log_cosh by output 1 at .*: expected (\S+) by central difference .*, got (\S+)"
    with pytest.raises(GradientError, match=expected) as caught:
        cr.MLP([4, 3], loss=cr.CustomLoss("log_cosh", log_cosh, wrong))
    numeric, analytic = (float(x) for x in re.search(expected, str(caught.value).splitlines()[0]).groups())
    assert analytic == pytest.approx(1.01 * numeric, rel=1e-4)
    with pytest.raises(GradientError, match="by output 0"):
        cr.MLP([4, 2], loss=cr.CustomLoss("divided", log_cosh, lambda xp, z, t: xp.tanh(z - t) / len(z)))


@pytest.mark.parametrize(
    ("value", "gradient", "message"),
    [
        (lambda xp, z, t: z, tanh_of_error, r"value_of_rows of f: .*expected an array of shape \(9,\), got \(9, 2\)"),
        (log_cosh, log_cosh, r"gradient_of_rows of f: .*expected an array of shape \(9, 2\), got \(9,\)"),
        (log_cosh, lambda xp, z: z, "gradient_of_rows of f fails: TypeError"),
    ],
)
def test_custom_loss_functions_that_fail_are_refused(value, gradient, message):
    with pytest.raises(OptionError, match=message):
        cr.MLP([4, 2], loss=cr.CustomLoss("f", value, gradient))


def test_custom_loss_refuses_wrong_options():
    with pytest.raises(OptionError, match="gradient_of_rows of f: expected a function"):
        cr.CustomLoss("f", log_cosh, None)
    with pytest.raises(OptionError, match=r"task: expected one of .*, got 'rank'"):
        cr.CustomLoss("f", log_cosh, tanh_of_error, task="rank")
    with pytest.raises(OptionError, match="name: expected a string, got 3"):
        cr.CustomLoss(3, log_cosh, tanh_of_error)


def test_custom_loss_checks_targets_by_its_task(rows):
    with pytest.raises(cr.DataError, match="a label at row 1: expected a class from 0 to 2, got 7"):
        cr.Trainer(cr.MLP([4, 3], loss=CLASSES)).fit(rows[0][:2], [0, 7])
    with pytest.raises(cr.ShapeError, match=r"expected targets of shape .*, got \(37,\)"):
        cr.Trainer(cr.MLP([4, 2], loss=SQUARE)).fit(rows[0], rows[1][:, 0])


def test_load_asks_for_the_custom_loss_of_a_net(tmp_path, rows):
    X = rows[0]
    net = cr.MLP([4, 2], loss=LOG_COSH)
    net.save(tmp_path / "m")
    again = cr.load(tmp_path / "m", device="cpu", custom=[SQUARE, LOG_COSH])
    np.testing.assert_array_equal(again.predict(X), net.predict(X))
    assert again.loss == net.loss
    with pytest.raises(ModelFileError, match="a custom loss, 'log_cosh'"):
        cr.load(tmp_path / "m", device="cpu")
    assert "log_cosh" in repr(net)
