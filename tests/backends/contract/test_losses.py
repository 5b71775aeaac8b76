"""Every loss with its gradient, label smoothing and sample weights among them, on every backend against its formula.

The formulas stand in ``formulas.py``. Errors are measured in units of roundoff (``u``) of what goes into a result.
Every array is a row slice of a longer buffer and outputs hold nan before the call: what a kernel leaves out or writes
past the end shows.
"""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.contract.backend import CORRECT, HALTED, LOSS, RUNNING, WEIGHT
from chainrule.backends.contract.losses import LossBatch
from comparisons import assert_within
from formulas import LOSSES
from kernel_cases import SHAPES, WEIGHTINGS, weights_of
from pairwise import pairwise


@pairwise(
    loss=LOSSES,
    weighting=WEIGHTINGS,
    mean=[True, False],
    scale=[0.3, 1.0],
    in_place=[False, True],
    dtype=["float32", "float64"],
)
def test_loss_and_gradient(backend, memory, rng, dtype, u, loss, weighting, mean, scale, in_place):
    for n, k in SHAPES:
        z, targets = LOSSES[loss].draw(rng, n, k, dtype)
        weights = weights_of(weighting, rng, n, dtype)
        logits, totals, state = memory.array(z), memory.output((5, 3), np.float64), memory.state(step=9, batch=2)
        dlogits = logits if in_place else memory.output(z.shape, dtype)
        LOSSES[loss].call(
            backend,
            logits,
            memory.array(targets),
            None if weights is None else memory.array(weights),
            state,
            scale=scale,
            mean=mean,
            totals=totals,
            dlogits=dlogits,
        )

        losses, gradient = LOSSES[loss].rows(z.astype(np.float64), targets)
        w = np.ones(n) if weights is None else weights.astype(np.float64)
        row = scale * w / (w.sum() or 1.0) if mean else scale * w
        bound = 32 * u * np.abs(row)[:, None] * (1 + np.abs(gradient))
        assert_within(memory.read(dlogits), gradient * row[:, None], bound, (n, k))

        got = memory.read(totals)
        size = scale * (w * (np.abs(losses) + z.shape[1] * np.abs(z).max(axis=1))).sum()
        assert_within(got[2, LOSS], scale * (w * losses).sum(), 32 * u * size, (n, k))
        assert_within(got[2, WEIGHT], w.sum(), 1e-14 * n)
        got[2, [LOSS, WEIGHT]] = np.nan
        assert np.isnan(got).all(), "the loss wrote elsewhere in totals"
        assert memory.read(state).tolist() == [9, 2, RUNNING]
        if not in_place:
            np.testing.assert_array_equal(memory.read(logits), z, "the logits changed")


@pytest.mark.parametrize("weighted", [False, True])
def test_losses_are_added_up_in_double_precision(backend, memory, dtype, weighted):
    """2^24 + 1: the sum over an epoch's rows is more than float32 can count."""
    weights, totals = memory.array(np.ones(2), dtype) if weighted else None, memory.output((1, 3), np.float64)
    logits, targets = memory.array([[4096.0], [1.0]], dtype), memory.array(np.zeros((2, 1)), dtype)
    batch = LossBatch(logits, targets, weights, memory.state(), totals, memory.output((2, 1), dtype))
    backend.elementwise_loss(batch, "squared_error", scale=1.0, mean=True)
    assert memory.read(totals)[0, :2].tolist() == [2**24 + 1, 2]


HUGE = 1e4
EXTREMES = [  # loss, logits, targets, loss of the row, gradient of the row
    ("softmax_cross_entropy", [HUGE, -HUGE, 0], 0, 0.0, [0, 0, 0]),
    ("softmax_cross_entropy", [HUGE, -HUGE, 0], 1, 2 * HUGE, [1, -1, 0]),
    ("softmax_cross_entropy", [-HUGE, -HUGE, -HUGE], 2, np.log(3), [1 / 3, 1 / 3, -2 / 3]),
    ("softmax_cross_entropy", [HUGE, HUGE, 0], 1, np.log(2), [1 / 2, -1 / 2, 0]),
    ("sigmoid_cross_entropy", [HUGE, -HUGE, 0], [1, 0, 1], np.log(2), [0, 0, -1 / 2]),
    ("sigmoid_cross_entropy", [HUGE, -HUGE, 0], [0, 1, 0], 2 * HUGE + np.log(2), [1, -1, 1 / 2]),
    ("squared_error", [HUGE, -HUGE, 0], [HUGE, HUGE, 0], 4 * HUGE**2, [0, -4 * HUGE, 0]),
    ("label_smoothing", [HUGE, -HUGE, 0], 0, 0.1 * HUGE, [0.2 / 3, -0.1 / 3, -0.1 / 3]),
    ("focal", [HUGE, -HUGE, 0], 0, 0.0, [0, 0, 0]),
    ("focal", [HUGE, -HUGE, 0], 1, 2 * HUGE, [1, -1, 0]),
    ("focal", [HUGE, HUGE, -HUGE], 1, np.log(2) / 4, [0.125 + np.log(2) / 4, -0.125 - np.log(2) / 4, 0]),
    ("absolute_error", [HUGE, -HUGE, 0], [HUGE, HUGE, 0], 2 * HUGE, [0, -1, 0]),
    ("huber", [HUGE, -HUGE, 0], [HUGE, HUGE, 0], 1.5 * (2 * HUGE - 0.75), [0, -1.5, 0]),
    ("poisson", [-HUGE, -HUGE, 0], [0, 2, 0], 2 * HUGE + 1, [0, -2, 1]),
    ("gamma", [HUGE, 0, 0], [1, 1, 2], HUGE + 3, [1, 0, -1]),
    ("quantile", [0, HUGE, -HUGE], [0], 0.5 * HUGE + 0.25 * HUGE, [0.5, 0.75, 0]),
    (
        "quantile",
        [0, HUGE, HUGE],
        [1.5 * HUGE],
        0.25 * 1.5 * HUGE + 0.5 * 0.5 * HUGE + 0.25 * 0.5 * HUGE,
        [-0.5, -0.25, 0.25],
    ),
    ("gaussian_nll", [HUGE, 0, HUGE, 0], [0, 2], HUGE / 2 + 2, [0, -2, 0.5, -1.5]),
]


@pytest.mark.parametrize(("loss", "z", "target", "value", "gradient"), EXTREMES)
def test_huge_logits(backend, memory, dtype, u, loss, z, target, value, gradient):
    targets = np.array([target], dtype if isinstance(target, list) else np.int32)
    totals, dlogits, state = memory.output((1, 3), np.float64), memory.output((1, len(z)), dtype), memory.state()
    LOSSES[loss].call(
        backend,
        memory.array([z], dtype),
        memory.array(targets),
        None,
        state,
        scale=1.0,
        mean=True,
        totals=totals,
        dlogits=dlogits,
    )
    assert_within(memory.read(totals)[0, LOSS], value, 4 * u * abs(value) + 4 * u)
    # A smoothed gradient is a difference of two numbers below 1.
    size = np.ones((1, len(z))) if loss == "label_smoothing" else np.abs([gradient])
    assert_within(memory.read(dlogits), [gradient], 4 * u * size)
    assert memory.read(state)[HALTED] == RUNNING


@pairwise(
    loss=LOSSES,
    value=[np.nan, np.inf],
    weighted=[False, True],
    dtype=["float32", "float64"],
)
def test_a_loss_that_is_not_finite_halts_the_run_here(backend, memory, rng, dtype, loss, value, weighted):
    n, k = 4, 3
    z, targets = LOSSES[loss].draw(rng, n, k, dtype)
    z[2, 1] = value
    weights = memory.array(np.ones(n), dtype) if weighted else None
    for before, after in [(RUNNING, 7), (0, 0), (3, 3)]:
        state, totals = memory.state(step=7, batch=1, halted=before), memory.output((2, 3), np.float64)
        LOSSES[loss].call(
            backend,
            memory.array(z, dtype),
            memory.array(targets),
            weights,
            state,
            scale=1.0,
            mean=True,
            totals=totals,
            dlogits=memory.output(z.shape, dtype),
        )
        assert not np.isfinite(memory.read(totals)[1, LOSS])
        assert memory.read(state).tolist() == [7, 1, after]


@pairwise(
    kind=["labels", "columns"],
    weighting=WEIGHTINGS,
    dtype=["float32", "float64"],
)
def test_count_correct(backend, memory, rng, dtype, kind, weighting):
    for n, k in SHAPES:
        # Few distinct values, so that ties are common: the first of equals is what was predicted.
        z = rng.integers(-1, 2, (n, k)).astype(dtype)
        if kind == "labels":
            targets = rng.integers(0, k, n).astype(np.int32)
            right = [int(targets[i]) == z[i].tolist().index(max(z[i])) for i in range(n)]
        else:
            targets = rng.choice([0, 0.4, 0.5, 0.6, 1], (n, k)).astype(dtype)
            right = [all((z[i, j] > 0) == (targets[i, j] > 0.5) for j in range(k)) for i in range(n)]
        weights = weights_of(weighting, rng, n, dtype)
        w = np.ones(n) if weights is None else weights.astype(np.float64)
        totals, state = memory.output((3, 3), np.float64), memory.state(batch=1)
        backend.count_correct(
            memory.array(z),
            memory.array(targets),
            None if weights is None else memory.array(weights),
            state,
            totals=totals,
        )
        got = memory.read(totals)
        assert_within(got[1, CORRECT], (w * right).sum(), 1e-12 * n, (n, k))
        got[1, CORRECT] = np.nan
        assert np.isnan(got).all(), "written elsewhere in totals"
