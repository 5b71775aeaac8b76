"""Copies, standardisation, rows of a batch and the step's counters, on every backend against their formulas.

Errors are measured in units of roundoff (``u``) of what goes into a result. Every array is a row slice of a longer
buffer and outputs hold nan before the call: what a kernel leaves out or writes past the end shows.
"""

from __future__ import annotations

import numpy as np
import pytest

from chainrule.backends.contract.backend import BATCH, HALTED, RUNNING, STEP
from comparisons import assert_within
from pairwise import pairwise


@pytest.mark.parametrize("shape", [(1,), (7,), (5, 3)])
def test_fill(backend, memory, dtype, shape):
    out = memory.output(shape, dtype)
    backend.fill(2.5, out=out)
    np.testing.assert_array_equal(memory.read(out), np.full(shape, 2.5))


@pytest.mark.parametrize("source", ["float32", "float64", "uint8", "int64", "bool"])
def test_copy_converts(backend, memory, rng, dtype, source):
    values = rng.integers(0, 2, (5, 3)).astype(source)
    out = memory.output((5, 3), dtype)
    backend.copy(backend.upload(values), out=out)
    np.testing.assert_array_equal(memory.read(out), values.astype(np.float64))


@pairwise(
    source=["float32", "float64", "int64"],
    n_n_in=[(1, 1), (50, 3)],
    dtype=["float32", "float64"],
)
def test_standardize_keeps_the_digits_of_small_differences(backend, memory, rng, dtype, u, source, n_n_in):
    """Time stamps around 2^30 that differ by seconds: in float32 alone all of them would be one number."""
    n, n_in = n_n_in
    mean, scale = 2.0**30 + rng.normal(size=n_in), rng.uniform(0.5, 20, n_in)
    x = (mean + 64 * rng.normal(size=(n, n_in))).astype(source)
    out = memory.output((n, n_in), dtype)
    backend.standardize(memory.array(x), memory.array(mean), memory.array(scale), out=out)
    want = (x.astype(np.longdouble) - mean) / scale
    assert_within(memory.read(out), want.astype(np.float64), 4 * u * np.abs(want).astype(np.float64) + 1e-12)


@pytest.mark.parametrize("limit", [0.5, 4.0, np.inf])
def test_standardize_within_a_limit(backend, memory, dtype, u, limit):
    """z / sqrt(1 + (z / limit)^2): nothing happens near 0, and far out all comes to rest at the limit."""
    x = np.array([[-1e6, -3.0, -1e-3, 0.0, 1e-3, 4.0, 1e6]])
    out, mean, scale = memory.output(x.shape, dtype), np.full(7, 0.25), np.full(7, 0.5)
    backend.standardize(memory.array(x), memory.array(mean), memory.array(scale), limit=limit, out=out)
    z = (x - mean) / scale
    want = z / np.hypot(1, z / limit)
    assert_within(memory.read(out), want, 8 * u * np.abs(want))
    assert np.abs(memory.read(out)).max() <= limit


LARGEST = np.finfo(np.float64).max
ENDS = [0.0, -0.0, 5e-324, 1e-308, 1e-170, 1.0, -1.5, 1e8, 1e9, -1e10, 1e154, 1e155, -1e200, 1e308, LARGEST, -LARGEST]


@pairwise(
    limit=[0.5, 3.0, 1e-300, 1e300, np.inf],
    mean_scale=[
        (0, 1),
        (0, 1e-170),
        (0, 1e-308),
        (0, 1e200),
        (0, 1.7e308),
        (1.2e308, 1.7e308),
        (-1.5e308, 1e308),
        (1e300, 1e299),
    ],
    dtype=["float32", "float64"],
)
def test_standardize_right_up_to_the_largest_number(backend, memory, dtype, u, mean_scale, limit):
    """No difference and no square overflows: what is far out comes to rest at the limit, never at 0 or nan."""
    mean, scale = mean_scale
    x = np.array([ENDS, ENDS[::-1]])
    means, scales = np.full(len(ENDS), float(mean)), np.full(len(ENDS), float(scale))
    out = memory.output(x.shape, dtype)
    with backend.running():
        backend.standardize(memory.array(x), memory.array(means), memory.array(scales), limit=limit, out=out)
        wide = (x.astype(np.longdouble) - mean) / np.longdouble(scale)
        want = (wide / np.hypot(1, wide / np.longdouble(limit))).astype(np.float64)
        want = want.astype(dtype).astype(np.float64)
    got = memory.read(out)
    smallest = {"float32": 1e-37, "float64": 1e-307}[str(dtype)]  # 1 / 1e308 has lost digits
    infinite = np.isinf(want)
    assert (got[infinite] == want[infinite]).all()
    assert_within(got[~infinite], want[~infinite], 8 * u * np.abs(want[~infinite]) + smallest)


@pairwise(
    limit=[3.0, np.inf],
    source=["float64", "float32", "float16", "uint8", "int64", "bool"],
    width=[4, 5],
    dtype=["float32", "float64"],
)
def test_standardize_a_constant_column_to_0_whatever_it_holds(backend, memory, rng, dtype, source, limit, width):
    x = rng.integers(0, 2, (6, width)).astype(source)
    if source == "float64":
        x[:, 2] = [LARGEST, -LARGEST, 0, 5e-324, 1, -1e200]
    mean, scale = rng.normal(size=width), rng.uniform(1, 2, width)
    mean[2], scale[2] = (1.7e308 if source == "float64" else 0.5), np.inf
    out = memory.output(x.shape, dtype)
    with backend.running():
        backend.standardize(backend.upload(x), memory.array(mean), memory.array(scale), limit=limit, out=out)
    got = memory.read(out)
    np.testing.assert_array_equal(got[:, 2], 0)
    assert (np.abs(got) > 0)[:, [0, 1, 3]].all()


@pytest.mark.parametrize("shape", [(1, 1), (7, 3)])
def test_scale_and_shift_rounds_a_product_and_a_sum_in_float64(backend, memory, rng, dtype, shape):
    """Also into the memory it reads, and by a scale of 0."""
    x, scale, shift = rng.normal(size=shape), rng.uniform(1, 20, shape[1]), 1.7e9 + rng.normal(size=shape[1])
    scale[-1] = 0
    source, out = memory.array(x, dtype), memory.output(shape, np.float64)
    backend.scale_and_shift(source, memory.array(scale), memory.array(shift), out=out)
    want = x.astype(dtype).astype(np.float64) * scale + shift
    np.testing.assert_array_equal(memory.read(out), want)
    wide = memory.array(x)
    backend.scale_and_shift(wide, memory.array(scale), memory.array(shift), out=wide)
    np.testing.assert_array_equal(memory.read(wide), x * scale + shift)


@pairwise(
    shape=[(1,), (40,), (8, 5)],
    value=[np.nan, np.inf, -np.inf],
    dtype=["float32", "float64"],
)
def test_first_nonfinite(backend, memory, rng, dtype, shape, value, monkeypatch):
    monkeypatch.setattr("chainrule.backends.numpy.batches.LARGE", 10)  # by parts
    x = rng.normal(size=shape)
    assert backend.first_nonfinite(memory.array(x, dtype)) is None
    for first in {0, x.size // 2, x.size - 1}:
        spoilt = x.copy()
        spoilt.flat[[first, x.size - 1]] = value
        assert backend.first_nonfinite(memory.array(spoilt, dtype)) == first


@pytest.mark.parametrize(("n", "stride"), [(1, 1), (10, 3), (10, 4), (9, 3), (5, 5)])
def test_gather(backend, memory, rng, dtype, n, stride):
    """Every batch, the ragged last one too; features of pixels become floats, labels stay whole numbers."""
    sources = [
        (rng.normal(size=(n, 3)).astype(dtype), dtype),
        (rng.integers(0, 256, (n, 4)).astype(np.uint8), dtype),
        (rng.normal(size=(n, 2)), "float32"),
        (rng.integers(0, 9, n).astype(np.int32), "int32"),
        (rng.integers(0, 9, n), "int32"),
        (rng.uniform(size=n).astype(dtype), dtype),
    ]
    order = rng.permutation(n)
    arrays, device_order = [memory.array(values) for values, _ in sources], memory.array(order, np.int64)
    position = memory.array([0], np.int64)
    for start in range(0, n, stride):
        rows = order[start : start + stride]
        out = [memory.output((len(rows), *values.shape[1:]), kind) for values, kind in sources]
        backend.gather(arrays, device_order, position, stride=stride, out=out)
        for (values, kind), got in zip(sources, out, strict=True):
            want = values[rows].astype(kind)
            np.testing.assert_array_equal(backend.download(got), want, strict=True)
    assert memory.read(position).tolist() == [-(-n // stride)]


@pytest.mark.parametrize("updates", [0, 1])
def test_tick_counts_steps_and_batches(backend, memory, updates):
    for halted in (RUNNING, 0, 5):
        state = memory.state(step=2**40, batch=3, halted=halted)
        backend.tick(state, updates=updates)
        values = memory.read(state)
        assert (values[STEP], values[BATCH], values[HALTED]) == (2**40 + updates, 4, halted)
