"""Predictions, of one net, of members and of an ensemble, as launches: the bits of NumPy, called and recorded."""

from __future__ import annotations

import itertools
import random
import typing

import numpy as np
import pytest

from chainrule.backends.contract.ensembles import MemberMeanName
from replays import apart, check_kernel

pytest.importorskip("numba", reason="numba is not installed")

DTYPES = ["float32", "float64"]
SHAPES = [(1, 1), (1, 6), (2, 8), (7, 9), (9, 127), (127, 2), (128, 1), (129, 128), (3, 129), (1030, 4), (4, 1000)]
COUNTS = {"quantiles": 3, "one quantile": 1}


def draw(seed, shape, dtype, *, special):
    values = (3 * np.random.default_rng(seed).normal(size=shape)).astype(dtype)
    if special:
        for first, value in enumerate((np.nan, np.inf, -np.inf, 0.0, -0.0)):
            values.flat[first :: max(1, values.size // (5 + first))] = value
    return values


def settings(*parts):
    """Every dtype, with and without numbers that are not finite, and two choices more; and a seed."""
    draws = random.Random(str(parts))
    for case in itertools.product(DTYPES, [False, True], [False, True], [False, True]):
        yield *case, draws.randrange(1000)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kernel", ["softmax", "exp", "quantiles", "one quantile", "mean_and_variance"])
def test_predictions_have_the_bits_of_numpy(kernel, shape):
    n, k = shape
    count = COUNTS.get(kernel, 1)
    k *= 2 if kernel == "mean_and_variance" else count
    name, options = ("quantiles", {"count": count}) if kernel in COUNTS else (kernel, {})
    of_input = "x" if kernel == "exp" else "logits"
    for dtype, special, in_place, has_members, seed in settings(kernel, shape):

        def make(_, dtype=dtype, special=special, in_place=in_place, has_members=has_members, seed=seed):
            x = draw(seed, (3, n, k) if has_members else (n, k), dtype, special=special)
            x = apart(x) if has_members else x
            return {of_input: x, **options, "out": x if in_place else np.zeros_like(x)}

        check_kernel(name, make, (), dtype)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kernel", ["argmax", "positive"])
def test_classes_are_those_of_numpy(kernel, shape):
    for dtype, special, has_ties, has_members, seed in settings(kernel, shape):

        def make(_, dtype=dtype, special=special, has_ties=has_ties, has_members=has_members, seed=seed):
            x = draw(seed, (3, *shape) if has_members else shape, dtype, special=special)
            x = x.round() if has_ties else x
            out = np.full(x.shape[:-1] if kernel == "argmax" else x.shape, -9, np.int32)
            return {"x": apart(x) if has_members else x, "out": out}

        check_kernel(kernel, make, (), dtype)


@pytest.mark.parametrize("members", [1, 2, 9, 130])
@pytest.mark.parametrize("kind", typing.get_args(MemberMeanName))
def test_means_of_members_have_the_bits_of_numpy(kind, members):
    """Single numbers included, which NumPy adds up in another order than rows."""
    shapes = [(1, 1), (1, 2), (1, 6), (5, 6), (3, 1), (129, 8), (2, 258)]
    for shape in shapes[:2] if members > 9 else shapes:
        counts = [count for count in (1, 2, 3) if shape[1] % count == 0] if kind == "quantiles" else [1]
        if kind == "mean_and_variance" and shape[1] % 2:
            continue
        for count, case in itertools.product(counts, settings(kind, shape)):

            def make(_, shape=shape, count=count, case=case):
                dtype, special, are_apart, has_small_gaps, seed = case
                z = draw(seed, (members, *shape), dtype, special=special)
                z = (40 * z - 40).astype(dtype) if has_small_gaps else z
                return {
                    "logits": apart(z) if are_apart else z,
                    "kind": kind,
                    "count": count,
                    "out": np.zeros(shape, dtype),
                }

            check_kernel("mean_of_members", make, (), "")
