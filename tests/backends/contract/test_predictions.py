"""From logits to predictions, on every backend against their formulas.

Errors are measured in units of roundoff (``u``) of what goes into a result. Every array is a row slice of a longer
buffer and outputs hold nan before the call: what a kernel leaves out or writes past the end shows.
"""

from __future__ import annotations

import numpy as np
import pytest

from comparisons import assert_within
from kernel_cases import SHAPES
from pairwise import pairwise

HUGE = 1e4


@pytest.mark.parametrize("in_place", [False, True])
def test_softmax(backend, memory, rng, dtype, u, in_place):
    for values in [[[HUGE, -HUGE, 0.0]], [[-HUGE] * 4], *(5 * rng.normal(size=shape) for shape in SHAPES)]:
        z = np.asarray(values, dtype)
        logits = memory.array(z)
        out = logits if in_place else memory.output(z.shape, dtype)
        backend.softmax(logits, out=out)
        want = np.exp(z.astype(np.float64) - z.max(axis=1, keepdims=True))
        want /= want.sum(axis=1, keepdims=True)
        assert_within(memory.read(out), want, 32 * u * want)
        assert_within(memory.read(out).sum(axis=1), np.ones(len(z)), 32 * u)


def test_argmax_takes_the_first_of_equals(backend, memory, rng, dtype):
    for n, k in SHAPES:
        x = rng.integers(-2, 2, (n, k)).astype(dtype)
        out = memory.output((n,), np.int32)
        backend.argmax(memory.array(x), out=out)
        assert memory.read(out).tolist() == [row.tolist().index(max(row)) for row in x]


def test_positive(backend, memory, dtype):
    x = np.array([[1e-30, -1e-30, 0.0], [-0.0, 3.0, np.inf]])
    out = memory.output(x.shape, np.int32)
    backend.positive(memory.array(x, dtype), out=out)
    assert memory.read(out).tolist() == [[1, 0, 0], [0, 1, 1]]


@pytest.mark.parametrize("in_place", [False, True])
def test_exp(backend, memory, rng, dtype, u, in_place):
    for x in [np.array([[0.0, -0.0, 1e4, -1e4, -np.inf]]), *(3 * rng.normal(size=shape) for shape in SHAPES)]:
        array = memory.array(x, dtype)
        out = array if in_place else memory.output(x.shape, dtype)
        backend.exp(array, out=out)
        want = np.exp(x.astype(dtype).astype(np.float64))
        np.testing.assert_array_equal(np.isinf(memory.read(out)), np.isinf(want))
        assert_within(np.nan_to_num(memory.read(out)), np.nan_to_num(want), 4 * u * np.nan_to_num(want))


@pairwise(
    in_place=[False, True],
    shape=[(1, 1, 1), (5, 1, 3), (4, 2, 3), (600, 3, 2)],
    dtype=["float32", "float64"],
)
def test_quantiles(backend, memory, rng, dtype, u, in_place, shape):
    n, columns, count = shape
    z = (3 * rng.normal(size=(n, columns * count))).astype(dtype)
    z[0, -1] = -1e4 if count > 1 else z[0, -1]
    logits = memory.array(z)
    out = logits if in_place else memory.output(z.shape, dtype)
    backend.quantiles(logits, count=count, out=out)
    steps = z.astype(np.float64).reshape(n, columns, count)
    steps[..., 1:] = np.logaddexp(0, steps[..., 1:])
    got = memory.read(out).reshape(n, columns, count)
    assert_within(got, np.cumsum(steps, axis=-1), 4 * count * u * (1 + np.abs(steps).sum(axis=-1, keepdims=True)))
    assert (np.diff(got, axis=-1) >= 0).all()


@pairwise(
    in_place=[False, True],
    shape=[(1, 1), (5, 3), (700, 2)],
    dtype=["float32", "float64"],
)
def test_mean_and_variance(backend, memory, rng, dtype, u, in_place, shape):
    n, columns = shape
    z = (3 * rng.normal(size=(n, 2 * columns))).astype(dtype)
    logits = memory.array(z)
    out = logits if in_place else memory.output(z.shape, dtype)
    backend.mean_and_variance(logits, out=out)
    want = np.hstack([z[:, :columns], np.exp(z[:, columns:].astype(np.float64))])
    assert_within(memory.read(out), want, 4 * u * np.abs(want))
