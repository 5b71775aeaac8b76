"""Random numbers from counters: the same bits on every backend."""

from __future__ import annotations

import numpy as np
import pytest

from pairwise import pairwise

KEYS = [((0, 0), (0, 0, 0)), ((1, 2), (3, 4, 5)), ((2**32 - 1, 7), (2**32 - 1, 0, 1))]


@pairwise(
    words=KEYS,
    shape=[(1,), (7,), (5, 3)],
    dtype=["float32", "float64"],
)
def test_uniform_has_the_bits_of_the_formula(backend, memory, plain_philox, dtype, words, shape):
    key, counter = words
    low, high = -0.3, 1.7
    out = memory.output(shape, dtype)
    backend.uniform(key, counter, low=low, high=high, out=out)
    drawn = [plain_philox((e // 4, *counter), key)[e % 4] for e in range(np.prod(shape))]
    want = np.array([low + (high - low) * ((word >> 8) / 2**24) for word in drawn]).astype(dtype).reshape(shape)
    np.testing.assert_array_equal(backend.download(out), want, strict=True)


def test_uniform_stays_within_its_range(backend, memory, dtype):
    out = memory.output((5000,), dtype)
    backend.uniform((1, 2), (3, 4, 5), low=-2.0, high=3.0, out=out)
    got = memory.read(out)
    assert -2.0 <= got.min() < -1.9
    assert 2.9 < got.max() <= 3.0
    assert len(set(got.tolist())) > 4900


@pytest.mark.parametrize(("key", "counter"), KEYS)
@pytest.mark.parametrize("n", [1, 2, 7, 1000])
def test_permutation_sorts_by_the_words(backend, memory, plain_philox, key, counter, n):
    out = memory.output((n,), np.int64)
    backend.permutation(key, counter, out=out)
    words = [plain_philox((e // 4, *counter), key)[e % 4] for e in range(n)]
    assert memory.read(out).tolist() == sorted(range(n), key=lambda e: (words[e], e))
