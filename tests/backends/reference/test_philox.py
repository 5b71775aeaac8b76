"""Philox4x32-10: the known answers of its authors, on every array module, and a look at its statistics."""

from __future__ import annotations

import numpy as np
import pytest

import chainrule as cr
from chainrule.backends.reference.philox import philox4x32, philox_words

ONES = 0xFFFFFFFF
KNOWN = [  # counter, key, words: tests/kat_vectors of Random123
    ((0,) * 4, (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((ONES,) * 4, (ONES, ONES), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_known_answers(backend, counter, key, words):
    with backend.running():
        got = philox4x32(backend.xp, counter, key)
        assert tuple(int(backend.download(word)) for word in got) == words


@pytest.mark.parametrize(("counter", "key", "words"), KNOWN)
def test_the_plain_philox_of_the_tests_knows_them_too(plain_philox, counter, key, words):
    assert plain_philox(counter, key) == words


@pytest.mark.parametrize("count", [0, 1, 3, 4, 5, 11])
def test_words_in_element_order(backend, plain_philox, count):
    counter, key = (7, ONES, 3), (5, 11)
    with backend.running():
        got = backend.download(philox_words(backend.xp, count, counter, key))
    assert got.tolist() == [plain_philox((e // 4, *counter), key)[e % 4] for e in range(count)]


def test_bytes_are_equally_frequent():
    """Chi-square of 256 bins: 255 degrees of freedom, so a value beyond 255 +- 5 * sqrt(510) is no accident."""
    words = philox_words(np, 100_000, (0, 0, 0), (2026, 0)).astype("<u4")
    seen = np.bincount(words.view(np.uint8), minlength=256)
    expected = words.nbytes / 256
    assert abs(((seen - expected) ** 2 / expected).sum() - 255) < 5 * np.sqrt(510)


def test_the_mean_and_the_neighbours_of_uniform_numbers():
    be, n = cr.backend("cpu"), 100_000
    u = be.empty((n,), np.float64)
    be.uniform((1, 2), (3, 4, 5), low=0.0, high=1.0, out=u)
    assert abs(u.mean() - 1 / 2) < 5 / np.sqrt(12 * n)
    assert abs(u.var() - 1 / 12) < 5 / np.sqrt(180 * n)
    assert abs(np.corrcoef(u[:-1], u[1:])[0, 1]) < 5 / np.sqrt(n)


def test_a_shuffle_puts_every_element_everywhere():
    """How often each of 8 elements comes to each of 8 places, over 4,000 shuffles: chi-square, 49 degrees."""
    be, n, rounds = cr.backend("cpu"), 8, 4000
    order = be.empty((n,), np.int64)
    seen = np.zeros((n, n))
    for step in range(rounds):
        be.permutation((9, 9), (step, 0, 2), out=order)
        seen[np.arange(n), order] += 1
    expected = rounds / n
    assert abs(((seen - expected) ** 2 / expected).sum() - 49) < 5 * np.sqrt(98)
