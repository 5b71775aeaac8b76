"""Losses and predictions beyond the contract: how rows are divided among blocks, launches, nan and inf, BF16."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from chainrule.backends.contract.backend import BF16, CORRECT, HALTED, LOSS, RUNNING, WEIGHT
from emulation.poisoned_memory import assert_within, launched
from formulas import LOSSES

FUSED = pytest.mark.parametrize("backend", ["emulated", pytest.param("cuda", marks=pytest.mark.gpu)], indirect=True)

U32 = 2.0**-24  # unit roundoff of float32, in which all BF16 kernels compute
U16 = 2.0**-8  # and of BF16, which has 8 bits with the one that is not stored, to which they round at the end

# One block and several; one thread per row, some, a warp, a block; rows that are kept and such as are read again.
ROWS = [(1, 1), (2500, 1), (2100, 2), (1100, 3), (300, 10), (70, 64), (66, 65), (2, 257), (5, 1100)]

# The other elementwise losses are laid out as the squared error is.
LAID_OUT = [name for name, loss in LOSSES.items() if not loss.kind or name == "squared_error"]


@FUSED
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("rows", [9, 300])
def test_launches_of_losses_and_predictions(backend, memory, rng, dtype, rows, weighted):
    z, t = (memory.array(rng.normal(size=(rows, 10)), dtype) for _ in range(2))
    labels, state = memory.array(rng.integers(0, 10, rows), np.int32), memory.state()
    weights = memory.array(rng.uniform(size=rows), dtype) if weighted else None
    totals, out = memory.output((2, 3), np.float64), memory.output((rows, 10), dtype)
    options = {"scale": 1.0, "mean": True, "totals": totals, "dlogits": out}
    half = memory.array(rng.uniform(size=(rows, 5)), dtype)
    for loss in LOSSES.values():
        targets = labels if loss.method in {"softmax_cross_entropy", "focal_loss"} else (half if loss.each != 1 else t)
        step = lambda loss=loss, targets=targets: loss.call(backend, z, targets, weights, state, **options)
        assert launched(backend, step) == (["sum_weights", loss.launches()] if weighted else [loss.launches()])
    for targets in (labels, t):
        step = lambda targets=targets: backend.count_correct(z, targets, weights, state, totals=totals)
        assert launched(backend, step) == ["count_correct"]
    numbers = memory.output((rows, 10), np.int32)
    assert launched(backend, lambda: backend.softmax(z, out=out)) == ["softmax"]
    assert launched(backend, lambda: backend.argmax(z, out=labels)) == ["argmax"]
    assert launched(backend, lambda: backend.positive(z, out=numbers)) == ["positive"]


@FUSED
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", LAID_OUT)
@pytest.mark.parametrize(("n", "k"), ROWS)
def test_losses_are_added_up_by_any_number_of_blocks(backend, memory, rng, monkeypatch, dtype, u, loss, weighted, n, k):
    for multiprocessors, offset in ((1, 1), (3, 0)):
        monkeypatch.setattr(backend, "multiprocessors", multiprocessors)
        z, targets = LOSSES[loss].draw(rng, n, k, dtype)
        w = rng.uniform(0.1, 3, n).astype(dtype) if weighted else np.ones(n)
        totals, dlogits = memory.output((2, 3), np.float64), memory.output(z.shape, dtype, offset=offset)
        state, logits = memory.state(), memory.array(z, offset=offset)
        LOSSES[loss].call(
            backend,
            logits,
            memory.array(targets, offset=offset),
            memory.array(w, offset=offset) if weighted else None,
            state,
            scale=0.7,
            mean=True,
            totals=totals,
            dlogits=dlogits,
        )
        losses, gradient = (np.asarray(a, np.float64) for a in LOSSES[loss].rows(z.astype(np.longdouble), targets))
        w = w.astype(np.float64)
        row = 0.7 * w / w.sum()
        assert_within(memory.read(dlogits), gradient * row[:, None], 32 * u * row[:, None] * (1 + np.abs(gradient)))
        got = memory.read(totals)[1]
        size = 0.7 * (w * (np.abs(losses) + z.shape[1] * np.abs(z).max(axis=1))).sum()
        assert_within(got[LOSS], 0.7 * (w * losses).sum(), 32 * u * size)
        assert_within(got[WEIGHT], w.sum(), 1e-14 * n)
        assert memory.read(state)[HALTED] == RUNNING


@FUSED
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("n", "k"), ROWS)
def test_count_correct_by_any_number_of_blocks(backend, memory, rng, monkeypatch, dtype, weighted, n, k):
    for multiprocessors, has_labels in ((1, True), (3, True), (2, False)):
        monkeypatch.setattr(backend, "multiprocessors", multiprocessors)
        z, w = rng.integers(-3, 4, (n, k)).astype(dtype), rng.uniform(0.1, 3, n).astype(dtype)
        right = rng.integers(0, 2, n).astype(bool)
        if has_labels:
            targets = np.where(right, z.argmax(axis=1), (z.argmax(axis=1) + 1) % k).astype(np.int32)
            right |= k == 1
        else:
            targets = (z > 0).astype(dtype)
            targets[~right, -1] = 1 - targets[~right, -1]
        totals = memory.output((2, 3), np.float64)
        backend.count_correct(
            memory.array(z), memory.array(targets), memory.array(w) if weighted else None, memory.state(), totals=totals
        )
        want = (w if weighted else np.ones(n))[right].sum(dtype=np.float64)
        assert_within(memory.read(totals)[1, CORRECT], want, 1e-12 * n)


@FUSED
@pytest.mark.parametrize(("n", "k"), ROWS)
def test_softmax_argmax_and_positive_by_any_number_of_blocks(backend, memory, rng, monkeypatch, dtype, u, n, k):
    for multiprocessors in (1, 4):
        monkeypatch.setattr(backend, "multiprocessors", multiprocessors)
        z = rng.integers(-9, 10, (n, k)).astype(dtype)
        logits, labels, ones = memory.array(z), memory.output((n,), np.int32), memory.output((n, k), np.int32)
        backend.argmax(logits, out=labels)
        np.testing.assert_array_equal(memory.read(labels), z.argmax(axis=1))
        backend.positive(logits, out=ones)
        np.testing.assert_array_equal(memory.read(ones), z > 0)
        backend.softmax(logits, out=logits)
        want = np.exp(z.astype(np.float64) - z.max(axis=1, keepdims=True))
        want /= want.sum(axis=1, keepdims=True)
        assert_within(memory.read(logits), want, 32 * u * want)


@FUSED
def test_argmax_takes_the_first_nan_as_numpy_does(backend, memory, rng, dtype):
    for n, k in ((50, 2), (50, 10), (5, 300)):
        x = rng.normal(size=(n, k)).astype(dtype)
        x[rng.uniform(size=x.shape) < 1.5 / k] = np.nan
        x[0], x[1], x[2] = np.nan, -np.inf, np.inf
        labels, totals = memory.output((n,), np.int32), memory.output((2, 3), np.float64)
        backend.argmax(memory.array(x), out=labels)
        np.testing.assert_array_equal(memory.read(labels), x.argmax(axis=1))
        backend.count_correct(memory.array(x), labels, None, memory.state(), totals=totals)
        assert memory.read(totals)[1, CORRECT] == n


@FUSED
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("n", "k"), [(1100, 3), (3, 600)])
def test_a_loss_that_is_not_finite_halts_the_run_wherever_the_element_is(backend, memory, rng, loss, n, k):
    for at, value in itertools.product((0, n * k // 2, n * k - 1), (np.nan, np.inf)):
        z, targets = LOSSES[loss].draw(rng, n, k, np.float32)
        z.flat[at] = value
        state, totals = memory.state(), memory.output((2, 3), np.float64)
        LOSSES[loss].call(
            backend,
            memory.array(z),
            memory.array(targets),
            None,
            state,
            scale=1.0,
            mean=True,
            totals=totals,
            dlogits=memory.output(z.shape, np.float32),
        )
        assert memory.read(state).tolist() == [5, 1, 5]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(("n", "k"), [(1, 1), (7, 3), (50, 16), (600, 10), (3, 300)])
def test_a_loss_writes_its_gradient_in_bf16(bf16_memory, rng, loss, weighted, n, k):
    """The logits are float32, and so is all arithmetic: the totals do not change, the gradient is rounded once."""
    memory, backend = bf16_memory, bf16_memory.backend
    z, targets = LOSSES[loss].draw(rng, n, k, np.float32)
    w = rng.uniform(0.1, 3, n).astype(np.float32) if weighted else np.ones(n, np.float32)
    logits, device_targets = memory.array(z), memory.array(targets)
    weights, found = memory.array(w) if weighted else None, {}
    for dtype in (np.dtype(np.float32), BF16):
        totals, dlogits = memory.output((2, 3), np.float64), memory.output(z.shape, dtype)
        LOSSES[loss].call(
            backend,
            logits,
            device_targets,
            weights,
            memory.state(),
            scale=1.0,
            mean=True,
            totals=totals,
            dlogits=dlogits,
        )
        found[dtype] = memory.read(totals)[1, [LOSS, WEIGHT]], memory.read(dlogits)
    np.testing.assert_allclose(found[BF16][0], found[np.dtype(np.float32)][0], rtol=4 * U32)
    row, gradient = (w / w.sum(dtype=np.float64))[:, None], LOSSES[loss].rows(z.astype(np.float64), targets)[1]
    bound = U16 * np.abs(gradient * row) + 33 * U32 * row * (1 + np.abs(gradient))
    assert_within(found[BF16][1], gradient * row, bound)
