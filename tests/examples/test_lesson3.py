"""Lesson 3: the published two-layer net, its two faults and their remedies, on every implementation.

Losses are compared to a few digits only: the first steps at these rates magnify rounding.
"""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

import chainrule as cr

EXAMPLE = "lesson3_two_layer_net.py"
NAMES = ("dense0.W", "dense0.b", "dense1.W", "dense1.b")


# ---- fault 1 --------------------------------------------------------------------------------------


def test_the_published_program_stops_at_its_first_product(lesson, backend):
    with pytest.raises(ValueError, match=r"matmul|shape"):
        lesson.train_by_hand(lesson.backward_as_published, lesson.PUBLISHED_RATE, 1, backend)
    message, shapes = lesson.first_fault(backend)
    assert message
    assert shapes == {"h^T": (200, 32), "db2": (10,), "dpred": (32, 10), "W2": (200, 10)}


def test_half_fixed_it_runs_and_check_gradients_names_the_parameter(lesson, backend):
    data = lesson.draw()
    net = lesson.net_with(lesson.backward_half_fixed, backend)
    with pytest.raises(cr.GradientError, match=r"gradient by dense0\.W\[\d+, \d+\]: expected .* by complex step, got"):
        cr.check_gradients(net, data.x[:8], data.t[:8])
    assert "dense0.W" in lesson.judge(lesson.backward_half_fixed, be=backend)


def test_one_row_would_hide_the_fault(lesson, backend):
    """The sum over one row is that row: a gradient is checked on several."""
    assert "central difference" in lesson.judge(lesson.backward_half_fixed, rows=1, be=backend)


def test_fixed_it_passes(lesson, backend):
    data = lesson.draw()
    report = cr.check_gradients(lesson.net_with(lesson.backward_fixed, backend), data.x[:8], data.t[:8])
    assert tuple(report.complex_step) == NAMES
    assert max(report.complex_step.values()) < 1e-14
    assert max(report.central_difference.values()) < 1e-8


def test_fixed_it_is_what_the_library_computes(lesson, backend):
    data, rate = lesson.draw(), 1e-5
    by_hand = lesson.net_with(lesson.backward_fixed, backend).loss_and_gradients(data.x, data.t)
    library = lesson.library_net("he", be=backend, seed=0).loss_and_gradients(data.x, data.t)
    assert by_hand[0] == pytest.approx(library[0], rel=1e-12)
    for name in NAMES:
        mine, theirs = backend.download(by_hand[1][name]), backend.download(library[1][name])
        np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-9 * abs(theirs).max())
    losses = lesson.train_by_hand(lesson.backward_fixed, rate, 5, backend)
    assert losses == pytest.approx(lesson.train(lesson.library_net(be=backend), rate, 5).losses, rel=1e-9)


# ---- fault 2 --------------------------------------------------------------------------------------


def test_by_hand_the_loss_goes_to_nan(lesson, backend):
    losses = lesson.train_by_hand(lesson.backward_fixed, lesson.PUBLISHED_RATE, 8, backend)
    assert losses[0] == pytest.approx(2642718.47, rel=1e-8)
    assert all(later > 1e8 * earlier for earlier, later in itertools.pairwise(losses[:4]))
    assert losses[4] == math.inf
    assert math.isnan(losses[-1])


@pytest.mark.parametrize(("lr", "step"), [(1e-2, 4), (1e-3, 5), (1e-4, 6)])
def test_the_trainer_names_the_step_and_the_place(lesson, backend, lr, step):
    net = lesson.library_net(be=backend)
    losses, _, error = lesson.train(net, lr)
    assert isinstance(error, cr.DivergenceError)
    assert error.step == step == len(losses)
    assert error.epoch == step + 1
    assert error.where == "the loss itself"
    assert f"diverged at step {step}" in str(error)
    assert "lower the learning rate" in error.hint
    assert losses[0] == pytest.approx(2642718.47, rel=1e-8)
    for name, parameter in net.parameters().items():
        assert np.isfinite(backend.download(parameter)).all(), name  # the weights with which the failing step began


@pytest.mark.parametrize(("lr", "step"), [(1e-2, 2), (1e-3, 3), (1e-4, 4)])
def test_float32_overflows_sooner(lesson, backend, lr, step):
    error = lesson.train(lesson.library_net(be=backend, dtype="float32"), lr).error
    assert error.step in {step, step + 1}  # one more if a backend sums the squares in float64


def test_the_trainer_names_a_layer_where_one_overflows(lesson, backend):
    error = lesson.train(lesson.library_net("he", be=backend), lesson.PUBLISHED_RATE).error
    assert (error.step, error.where) == (6, "the output of dense1")


def test_a_thousandth_of_the_published_rate_trains(lesson, backend):
    losses, end, error = lesson.train(lesson.library_net(be=backend), 1e-5)
    assert error is None
    assert len(losses) == 200
    assert max(losses) == pytest.approx(2.64e6, rel=0.01)
    assert 1e-13 < end < 1e-11
    assert lesson.train(lesson.library_net(be=backend, dtype="float32"), 1e-5).end < 1e-5  # as far as float32 goes


def test_he_weights_and_a_mean_train_at_the_published_rate(lesson, backend):
    outcome = lesson.train(lesson.library_net("he", "squared_error", backend), lesson.PUBLISHED_RATE)
    assert outcome.error is None
    assert outcome.losses[0] == pytest.approx(3.981, rel=1e-3)
    assert outcome.end == pytest.approx(0.0435, rel=0.01)
    longer = lesson.train(lesson.library_net("he", "squared_error", backend), lesson.PUBLISHED_RATE, steps=2000)
    assert longer.end < 1e-9


@pytest.mark.parametrize(("weights", "loss", "step"), [("he", "squared_error_sum", 6), ("normal", "squared_error", 9)])
def test_neither_remedy_is_enough_alone(lesson, backend, weights, loss, step):
    assert lesson.train(lesson.library_net(weights, loss, backend), lesson.PUBLISHED_RATE).error.step == step


def test_the_limit_of_the_rate_tells_which_cases_diverge(lesson, backend):
    limits = {
        (weights, loss): lesson.rate_limit(lesson.library_net(weights, loss, backend))
        for weights, loss, _ in lesson.CASES
    }
    assert limits == pytest.approx(
        {
            ("normal", "squared_error_sum"): 9.63e-6,
            ("he", "squared_error_sum"): 4.70e-4,
            ("normal", "squared_error"): 3.08e-3,
            ("he", "squared_error"): 0.150,
        },
        rel=0.01,
    )
    # 1e-5 starts a little above the limit and ends below it: the net has moved to where the loss is less curved.
    net = lesson.library_net(be=backend)
    lesson.train(net, 1e-5)
    assert lesson.rate_limit(net) > 1e-5


def test_other_draws_tell_the_same(lesson):
    outcomes = lesson.survey(range(4))
    steps = {case: {o.error and o.error.step for o in found} for case, found in outcomes.items()}
    assert steps["normal", "squared_error_sum", 1e-2] == {4}
    assert steps["normal", "squared_error_sum", 1e-3] == {5}
    assert steps["normal", "squared_error_sum", 1e-4] == {6}
    assert steps["he", "squared_error_sum", 1e-2] <= {5, 6}
    assert steps["normal", "squared_error", 1e-2] <= {7, 8, 9}
    assert all(2e6 < o.losses[0] < 5e6 for o in outcomes["normal", "squared_error_sum", 1e-5])
    assert all(o.end < 1e-8 for o in outcomes["normal", "squared_error_sum", 1e-5])
    assert all(o.end < 0.06 for o in outcomes["he", "squared_error", 1e-2])


def test_as_a_script(script):
    assert script.returncode == 0, script.stderr


def test_the_documentation_shows_what_it_prints(script, documented, assert_same_output):
    assert_same_output(script.stdout, documented)
