"""Random numbers from counters: the same bits on every backend."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from chainrule.backends.numpy.backend import NumPyBackend
from chainrule.backends.numpy.memory import CHUNK
from chainrule.backends.reference.philox import philox_words
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


def test_uniform_of_more_numbers_than_a_piece_has_the_bits_of_one_drawing(backend, memory, dtype):
    """Numbers depend on the seed and on their own place, in whatever pieces they are drawn."""
    key, counter, count = KEYS[1][0], KEYS[1][1], 2 * CHUNK + 5
    out = memory.output((count,), dtype)
    backend.uniform(key, counter, low=-0.3, high=1.7, out=out)
    u = (philox_words(np, count, counter, key) >> np.uint64(8)).astype(np.float64) * 2.0**-24
    np.testing.assert_array_equal(backend.download(out), (-0.3 + 2.0 * u).astype(dtype), strict=True)


def test_initial_weights_take_little_memory_beside_their_own():
    W = np.empty((1000, 1000), np.float32)
    NumPyBackend().uniform((1, 2), (3, 4, 5), low=-1.0, high=1.0, out=W)  # its buffers are made once
    tracemalloc.start()
    try:
        NumPyBackend().uniform((1, 2), (3, 4, 5), low=-1.0, high=1.0, out=W)
        assert tracemalloc.get_traced_memory()[1] < 1 << 17
    finally:
        tracemalloc.stop()
