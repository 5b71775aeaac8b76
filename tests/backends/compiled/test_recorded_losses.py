"""Losses as launches: the bits of NumPy, called and recorded, for one net and for members."""

from __future__ import annotations

import functools
import itertools
import random

import numpy as np
import pytest

from chainrule.backends.capture.captured_step import NotRecordableError
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.compiled.state import LOOPS
from chainrule.backends.contract.backend import BATCH, HALTED, RUNNING, STEP
from chainrule.backends.contract.losses import LossBatch
from kernel_cases import WEIGHTINGS, weights_of
from replays import Arguments, apart, check_kernel

pytest.importorskip("numba", reason="numba is not installed")

DTYPES = ["float32", "float64"]
SHAPES = [(1, 1), (1, 7), (2, 8), (7, 9), (9, 127), (127, 2), (128, 1), (129, 128), (3, 129), (1030, 3), (9001, 1)]
SHAPES += [(4, 1000)]
LEVELS = (0.1, 0.5, 0.9)
MEMBERS = 3

# What is called: its name, and its options.
LOSSES = {
    "softmax_cross_entropy": ("softmax_cross_entropy", {}),
    "smoothed": ("softmax_cross_entropy", {"label_smoothing": 0.1}),
    **{f"focal {gamma}": ("focal_loss", {"gamma": gamma}) for gamma in (0.5, 1.0, 2.0, 2.7)},
    **{
        kind: ("elementwise_loss", {"kind": kind, "parameter": 0.7})
        for kind in ("sigmoid_cross_entropy", "squared_error", "absolute_error", "huber", "poisson", "gamma")
    },
    "quantile_loss": ("quantile_loss", {"levels": LEVELS}),
    "one quantile": ("quantile_loss", {"levels": (0.3,)}),
    "gaussian_nll": ("gaussian_nll", {}),
    "count_correct": ("count_correct", {}),
    "count_correct of numbers": ("count_correct", {}),
}
OUTPUTS = {"quantile_loss": len(LEVELS), "gaussian_nll": 2}  # of a net, for each column of targets
OF_CLASSES = {"softmax_cross_entropy", "smoothed", "count_correct", *(name for name in LOSSES if "focal" in name)}


def arrays_of(seed, name, shape, dtype, *, weighting="unweighted", axis="one net", special=False, halted=RUNNING):
    """All arrays of a LossBatch. ``axis``: members whose targets and weights are their own, or shared; or one net."""
    rng, (n, k), m = np.random.default_rng(seed), shape, MEMBERS
    logits = (3 * rng.normal(size=(m, n, k * OUTPUTS.get(name, 1)))).astype(dtype)
    if name in OF_CLASSES:
        targets = rng.integers(0, k, (m, n)).astype(np.int32)
    else:
        targets = rng.uniform(0, 1, (m, n, k)).round(2 if n % 2 else 0).astype(dtype)
    if special:
        logits.flat[:: max(1, logits.size // 11)] = np.nan
        logits.flat[1 :: max(1, logits.size // 9)] = np.inf
        logits.flat[2 :: max(1, logits.size // 8)] = -np.inf
        logits.flat[3 :: max(1, logits.size // 5)] = -0.0
    drawn = [weights_of(weighting, rng, n, dtype) for _ in range(m)]
    weights = None if drawn[0] is None else np.stack(drawn)
    totals = np.full((m, 3, 3), -7.0)
    if axis == "one net":
        logits, targets, totals = logits[0].copy(), targets[0].copy(), totals[0].copy()
        weights = None if weights is None else weights[0].copy()
    else:
        logits, totals = apart(logits), apart(totals)
        if axis == "shared":
            targets, weights = targets[0].copy(), None if weights is None else weights[0].copy()
    state = np.zeros(3, np.int64)
    state[STEP], state[BATCH], state[HALTED] = 5, 2, halted
    return {
        "logits": logits, "targets": targets, "weights": weights, "state": state, "totals": totals,
        "dlogits": logits.copy(),
    }  # fmt: skip


def check(name, make_arrays, *, scale=1.0, mean=True, in_place=False):
    kernel, options = LOSSES[name]

    def make(_) -> Arguments:
        batch = LossBatch(**make_arrays())
        if kernel == "count_correct":
            return {name: value for name, value in batch._asdict().items() if name != "dlogits"}
        batch = batch._replace(dlogits=batch.logits) if in_place else batch
        return {"batch": batch, **options, "scale": scale, "mean": mean}

    check_kernel(kernel, make, (), "")


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", LOSSES)
def test_losses_have_the_bits_of_numpy(name, shape):
    draws = random.Random(f"{name} {shape}")
    for dtype, axis, in_place in itertools.product(DTYPES, ["one net", "own", "shared"], [False, True]):
        weighting, special = draws.choice(WEIGHTINGS), draws.random() < 0.3
        make_arrays = functools.partial(
            arrays_of, draws.randrange(1000), name, shape, dtype, weighting=weighting, axis=axis, special=special
        )
        check(name, make_arrays, scale=draws.choice([1.0, 0.3]), mean=draws.choice([True, False]), in_place=in_place)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["softmax_cross_entropy", "squared_error", "count_correct"])
def test_many_rows_are_added_up_in_the_buffers_of_numpy(name, dtype):
    """float32 becomes float64 8192 numbers at a time."""
    check(name, lambda: arrays_of(3, name, (3 * 8192 + 17, 2), dtype, weighting="sample_weight"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_run_that_has_halted_keeps_the_step_at_which_it_did(dtype):
    check("squared_error", lambda: arrays_of(3, "squared_error", (8, 2), dtype, special=True, halted=3))


def test_weights_of_another_dtype_are_left_to_numpy():
    arrays = arrays_of(3, "squared_error", (8, 2), "float32", weighting="sample_weight")
    arrays["weights"] = arrays["weights"].astype(np.float64)
    be, batch = compiled.loaded(), LossBatch(**arrays)
    with pytest.raises(NotRecordableError, match="elementwise_loss of arrays of dtype float32, float64"):
        LOOPS.programs.StepRecorder().record(lambda: be.elementwise_loss(batch, "squared_error", scale=1.0, mean=True))
