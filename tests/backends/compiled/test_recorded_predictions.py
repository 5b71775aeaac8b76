"""Predictions, of one net, of members and of an ensemble, as launches: the bits of NumPy, called and recorded."""

from __future__ import annotations

import itertools
import random
import typing

import numpy as np
import pytest

from chainrule.backends.contract.ensembles import MemberMeanName
from same_bits import apart, assert_same_bits

pytest.importorskip("numba", reason="numba is not installed")

DTYPES = ["float32", "float64"]
SHAPES = [(1, 1), (1, 6), (2, 8), (7, 9), (9, 127), (127, 2), (128, 1), (129, 128), (3, 129), (1030, 4), (4, 1000)]
COUNTS = {"quantiles": 3, "one quantile": 1}


def draw(rng, shape, dtype, *, special):
    values = (3 * rng.normal(size=shape)).astype(dtype)
    if special:
        for first, value in enumerate((np.nan, np.inf, -np.inf, 0.0, -0.0)):
            values.flat[first :: max(1, values.size // (5 + first))] = value
    return values


def settings(*parts):
    """Every dtype, with and without numbers that are not finite, in place or not, members or one net; and a seed."""
    draws = random.Random(str(parts))
    for case in itertools.product(DTYPES, [False, True], [False, True], [False, True]):
        yield *case, np.random.default_rng(draws.randrange(1000))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kernel", ["softmax", "exp", "quantiles", "one quantile", "mean_and_variance"])
def test_predictions_have_the_bits_of_numpy(kernel, shape):
    n, k = shape
    count = COUNTS.get(kernel, 1)
    k *= 2 if kernel == "mean_and_variance" else count
    name, options = ("quantiles", {"count": count}) if kernel in COUNTS else (kernel, {})
    for dtype, special, in_place, has_members, rng in settings(kernel, shape):
        x = draw(rng, (3, n, k) if has_members else (n, k), dtype, special=special)
        x = apart(x) if has_members else x

        def step(backend, arrays, in_place=in_place):
            getattr(backend, name)(arrays["x"], **options, out=arrays["x" if in_place else "out"])

        assert_same_bits(name, {"x": x, "out": np.zeros_like(x)}, step, writes_over=in_place)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kernel", ["argmax", "positive"])
def test_classes_are_those_of_numpy(kernel, shape):
    for dtype, special, has_ties, has_members, rng in settings(kernel, shape):
        x = draw(rng, (3, *shape) if has_members else shape, dtype, special=special)
        x = x.round() if has_ties else x
        out = np.full(x.shape[:-1] if kernel == "argmax" else x.shape, -9, np.int32)

        def step(backend, arrays):
            getattr(backend, kernel)(arrays["x"], out=arrays["out"])

        assert_same_bits(kernel, {"x": apart(x) if has_members else x, "out": out}, step, writes_over=False)


@pytest.mark.parametrize("members", [1, 2, 7, 8, 9, 130])
@pytest.mark.parametrize("kind", typing.get_args(MemberMeanName))
def test_means_of_members_have_the_bits_of_numpy(kind, members):
    """Single numbers included, which NumPy adds up in another order than rows."""
    for shape in [(1, 2), (1, 6), (5, 6), (1, 1), (3, 1), (130, 8), (2, 258)]:
        counts = [count for count in (1, 2, 3) if shape[1] % count == 0] if kind == "quantiles" else [1]
        if kind == "mean_and_variance" and shape[1] % 2:
            continue
        for count, (dtype, special, are_apart, has_small_gaps, rng) in itertools.product(counts, settings(kind, shape)):
            z = draw(rng, (members, *shape), dtype, special=special)
            z = (20 * np.float32(2) * z - 40).astype(dtype) if has_small_gaps else z

            def step(backend, arrays, count=count):
                backend.mean_of_members(arrays["z"], kind, count=count, out=arrays["out"])

            arrays = {"z": apart(z) if are_apart else z, "out": np.zeros(shape, dtype)}
            assert_same_bits("mean_of_members", arrays, step, writes_over=False)
