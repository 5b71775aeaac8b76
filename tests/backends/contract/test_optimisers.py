"""Optimisers, clipping, penalty, accumulated gradients and averages, on every backend against their formulas.

Errors are measured in units of roundoff (``u``) of what goes into a result. Every array is a row slice of a longer
buffer and outputs hold nan before the call: what a kernel leaves out or writes past the end shows.
"""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from chainrule.backends.contract.backend import LOSS, RUNNING
from chainrule.backends.numpy.memory import CHUNK
from comparisons import assert_within
from kernel_cases import SIZES
from pairwise import pairwise

RATES = [0.1, 0.0, 0.03]  # of batches 0, 1 and 2 and of all later ones
STEPS = 5
FIRST_STEP = 3


def plain_sgd(p, g, moments, rate, t, *, momentum, nesterov, weight_decay):
    g = g + weight_decay * p
    v = momentum * moments[0] + g
    return p - rate * (g + momentum * v if nesterov else v), [v]


def plain_adam(p, g, moments, rate, t, *, beta1, beta2, eps, weight_decay, decoupled, eps_hat=False):
    if decoupled:
        p = p - rate * weight_decay * p
    else:
        g = g + weight_decay * p
    m, v = beta1 * moments[0] + (1 - beta1) * g, beta2 * moments[1] + (1 - beta2) * g**2
    eps = eps / np.sqrt(1 - beta2**t) if eps_hat else eps
    return p - rate * (m / (1 - beta1**t)) / (np.sqrt(v / (1 - beta2**t)) + eps), [m, v]


SGD = {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0}
ADAM = {"beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0, "decoupled": False}
OPTIMISERS = {
    "sgd": ("sgd", plain_sgd, 0, SGD),
    "sgd, decay": ("sgd", plain_sgd, 0, SGD | {"weight_decay": 0.2}),
    "momentum": ("sgd", plain_sgd, 1, SGD | {"momentum": 0.8}),
    "momentum, decay": ("sgd", plain_sgd, 1, SGD | {"momentum": 0.8, "weight_decay": 0.2}),
    "nesterov": ("sgd", plain_sgd, 1, SGD | {"momentum": 0.8, "nesterov": True, "weight_decay": 0.2}),
    "adam": ("adam", plain_adam, 2, ADAM),
    "adam, other betas": ("adam", plain_adam, 2, ADAM | {"beta1": 0.5, "beta2": 0.9, "eps": 1e-2}),
    "adam, no betas": ("adam", plain_adam, 2, ADAM | {"beta1": 0.0, "beta2": 0.0, "eps": 1.0}),
    "adam, eps hat": ("adam", plain_adam, 2, ADAM | {"eps": 1e-2, "eps_hat": True}),
    "adam, decay": ("adam", plain_adam, 2, ADAM | {"weight_decay": 0.2}),
    "adamw": ("adam", plain_adam, 2, ADAM | {"weight_decay": 0.2, "decoupled": True}),
}


@pairwise(
    name=OPTIMISERS,
    size=SIZES,
    dtype=["float32", "float64"],
)
def test_optimiser(backend, memory, rng, dtype, u, name, size):
    kernel, plain, n_moments, options = OPTIMISERS[name]
    p = rng.normal(size=size).astype(dtype).astype(np.float64)
    moments = [np.zeros(size)] * max(1, n_moments)
    params, arenas = memory.array(p, dtype), [memory.array(np.zeros(size), dtype) for _ in range(n_moments)]
    lr, state, lr_factor = memory.array(RATES), memory.state(step=FIRST_STEP), 0.5
    for step in range(STEPS):
        g = rng.normal(size=size).astype(dtype)
        getattr(backend, kernel)(
            params,
            memory.array(g),
            *(arenas or ([None] if kernel == "sgd" else [])),
            lr,
            state,
            lr_factor=lr_factor,
            **options,
        )
        backend.tick(state)
        rate = lr_factor * RATES[min(step, len(RATES) - 1)]
        p, moments = plain(p, g.astype(np.float64), moments, rate, FIRST_STEP + step + 1, **options)
        for arena, moment in zip(arenas, moments, strict=False):
            assert_within(memory.read(arena), moment, 32 * u * (1 + np.abs(moment)), (name, step))
        assert_within(memory.read(params), p, 64 * u * (1 + np.abs(p)), (name, step))


@pytest.mark.parametrize("halted", [RUNNING, 4])
@pytest.mark.parametrize("name", OPTIMISERS)
def test_factors_are_kept_those_of_the_parameters(backend, memory, rng, dtype, name, halted):
    """In a run that has halted too; and the update is bit for bit the one without them."""
    kernel, _, n_moments, options = OPTIMISERS[name]
    for size in (7, CHUNK + 1):
        p, g = (rng.normal(size=size).astype(dtype) for _ in range(2))
        both = []
        for storage in (None, backend.storage(dtype)):
            params, moments = memory.array(p), [memory.array(np.zeros(size), dtype) for _ in range(n_moments)]
            factors = None if storage is None else memory.array(p, storage)
            arrays = [params, memory.array(g), *(moments or ([None] if kernel == "sgd" else []))]
            lr, state = memory.array(RATES), memory.state(step=4, halted=halted)
            getattr(backend, kernel)(*arrays, lr, state, lr_factor=1.0, factors=factors, **options)
            both.append([memory.read(params), *map(memory.read, moments)])
        np.testing.assert_array_equal(both[1], both[0])
        np.testing.assert_array_equal(memory.read(factors), both[1][0])
        assert (halted == RUNNING) == bool((both[1][0] != p).any())


@pytest.mark.parametrize("name", OPTIMISERS)
def test_a_run_that_has_halted_moves_no_parameter(backend, memory, rng, dtype, name):
    kernel, _, n_moments, options = OPTIMISERS[name]
    for size, gradient in itertools.product((7, CHUNK + 1), (1.0, np.nan, np.inf)):
        p = rng.normal(size=size).astype(dtype)
        params, moments = memory.array(p), [memory.array(np.zeros(size), dtype) for _ in range(n_moments)]
        getattr(backend, kernel)(
            params,
            memory.array(np.full(size, gradient), dtype),
            *(moments or ([None] if kernel == "sgd" else [])),
            memory.array(RATES),
            memory.state(step=4, halted=4),
            lr_factor=1.0,
            **options,
        )
        np.testing.assert_array_equal(backend.download(params), p)


@pairwise(
    size=SIZES,
    norm=[0.0, 1e-6, 0.99, 1.0, 1.01, 50.0, 1e12],
    dtype=["float32", "float64"],
)
def test_clip_by_global_norm(backend, memory, rng, dtype, u, size, norm):
    g = rng.normal(size=size)
    g = (norm * g / np.sqrt((g**2).sum())).astype(dtype)
    grads = memory.array(g)
    backend.clip_by_global_norm(grads, max_norm=1.0)
    exact = np.sqrt((g.astype(np.float64) ** 2).sum())
    want = g * (min(1.0, exact) / exact if exact else 1.0)
    assert_within(memory.read(grads), want, (8 + size**0.5) * u * np.abs(want))
    if norm < 0.999:
        np.testing.assert_array_equal(backend.download(grads), g, "a small gradient changed")


@pairwise(
    mean=[True, False],
    size=SIZES,
    weight=[0.0, 1.0, 12.5],
    dtype=["float32", "float64"],
)
def test_penalize(backend, memory, rng, dtype, u, size, weight, mean):
    p, g = (rng.normal(size=size).astype(dtype) for _ in range(2))
    rows = np.array([[1.0, 2.0, 3.0], [4.0, weight, 5.0]])
    totals, grads, params = memory.array(rows), memory.array(g), memory.array(p)
    backend.penalize(params, grads, totals, memory.state(step=7, batch=1), alpha=0.3, mean=mean)
    exact = p.astype(np.float64)
    rows[1, LOSS] += 0.15 * (exact**2).sum()
    assert_within(memory.read(totals), rows, 1e-12 * rows)
    want = g + 0.3 / (weight if mean and weight else 1.0) * exact
    assert_within(memory.read(grads), want, 4 * u * (np.abs(g) + np.abs(exact)))
    np.testing.assert_array_equal(backend.download(params), p)


@pairwise(
    mean=[True, False],
    size_group=[(1, 1), (7, 3), (1000, 4), (2 * CHUNK + 5, 2), (5, 11)],
    dtype=["float32", "float64"],
)
def test_accumulate(backend, memory, rng, dtype, u, size_group, mean):
    """Two groups and a smaller third one, a batch without weight among them; what is not a number before is gone."""
    size, group = size_group
    count = 2 * group + max(1, group - 1)
    weights = rng.integers(0, 5, count).astype(float)
    weights[0] = 0.0
    totals = memory.array(np.column_stack([np.full(count, np.nan), weights, np.full(count, np.nan)]))
    out, grads = memory.output((size,), dtype), rng.normal(size=(count, size)).astype(dtype)
    grads[weights == 0] = 0.0  # as a loss without weight leaves it
    for batch in range(count):
        first = batch - batch % group
        newest = memory.array(grads[batch])
        backend.accumulate(newest, totals, memory.state(step=9, batch=batch), group=group, mean=mean, out=out)
        seen, w = grads[first : batch + 1].astype(np.float64), weights[first : batch + 1, None]
        want = (w * seen).sum(axis=0) / (w.sum() or 1) if mean else seen.sum(axis=0)
        bound = 8 * u * (batch - first + 1) * np.abs(seen).sum(axis=0)
        assert_within(memory.read(out), want, bound, batch)
        np.testing.assert_array_equal(backend.download(newest), grads[batch])


@pairwise(
    size=SIZES,
    decay=[0.0, 0.3, 0.999],
    dtype=["float32", "float64"],
)
def test_average(backend, memory, rng, dtype, u, size, decay):
    want = rng.normal(size=size).astype(dtype).astype(np.float64)
    out = memory.array(want, dtype)
    for step in (0, 1, 2, 40, 10**7):
        p = rng.normal(size=size).astype(dtype)
        backend.average(memory.array(p), memory.state(step=step, batch=1), decay=decay, out=out)
        d = min(decay, (2 + step) / (11 + step))
        want = d * want + (1 - d) * p
        assert_within(memory.read(out), want, 16 * u * (1 + np.abs(want) + np.abs(p)), step)


def test_the_average_of_what_does_not_move_does_not_move(backend, memory, rng, dtype):
    p = rng.normal(size=50).astype(dtype)
    out = memory.array(p)
    backend.average(memory.array(p), memory.state(step=3), decay=0.9, out=out)
    np.testing.assert_array_equal(backend.download(out), p)


def test_a_run_that_has_halted_keeps_its_averages(backend, memory, rng, dtype):
    before = rng.normal(size=50).astype(dtype)
    out = memory.array(before)
    for value in (1.0, np.nan, np.inf):
        backend.average(memory.array(np.full(50, value, dtype)), memory.state(step=4, halted=4), decay=0.5, out=out)
    np.testing.assert_array_equal(backend.download(out), before)


@pytest.mark.parametrize(("size", "clipped"), [(1e-25, [3e-25, 4e-25]), (1e20, [0.6, 0.8])])
def test_clip_by_global_norm_of_gradients_whose_squares_leave_float32(backend, size, clipped):
    gradients = backend.upload(np.float32([3, 4]) * np.float32(size)) * 1
    with backend.running():
        backend.clip_by_global_norm(gradients, max_norm=1.0)
    np.testing.assert_allclose(backend.download(gradients), clipped, rtol=1e-6)
