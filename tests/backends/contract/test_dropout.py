"""Dropout on every backend: the mask is that of Philox at the step's counter, and the backward pass draws it again."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from chainrule.backends.reference.philox import philox_words
from chainrule.backends.reference.random import threshold

KEY, COUNTER = (5, 2**32 - 3), (7, 3)


def dropped(
    backend: Any,
    memory: Any,
    x: np.ndarray,
    rate: float,
    *,
    step: int = 0,
    batch: int = 0,
    key: tuple[int, int] = KEY,
    counter: tuple[int, int] = COUNTER,
    in_place: bool = False,
) -> np.ndarray:
    array, state = memory.array(x), memory.state(step=step, batch=batch)
    out = array if in_place else memory.output(x.shape, x.dtype)
    backend.dropout(array, state, key=key, counter=counter, rate=rate, out=out)
    return backend.download(out)


@pytest.mark.parametrize(("step", "batch"), [(0, 0), (11, 5), (2**32 + 11, 5), (3, 2**16 + 1)])
def test_the_mask_of_dropout_is_that_of_plain_philox(backend, memory, rng, plain_philox, dtype, step, batch):
    """Counters beyond 32 bits wrap; the batch's number stands above the layer's."""
    for shape in [(1, 1), (1, 7), (5, 3), (3, 8)]:
        counter = (step % 2**32, (COUNTER[0] + 2**16 * batch) % 2**32, COUNTER[1])
        words = np.array([plain_philox((e // 4, *counter), KEY)[e % 4] for e in range(np.prod(shape))]).reshape(shape)
        x = rng.normal(size=shape).astype(dtype)
        for rate in (0.1, 0.5, 0.99):
            want = np.where(words >= rate * 2.0**32, x * np.dtype(dtype).type(1 / (1 - rate)), 0)
            for in_place in (False, True):
                got = dropped(backend, memory, x, rate, step=step, batch=batch, in_place=in_place)
                np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("size", [4096, 20_003])
def test_a_large_mask_too(backend, memory, rng, dtype, size):
    x = rng.normal(size=(size, 1)).astype(dtype)
    words = philox_words(np, size, (2, COUNTER[0] + 2**16, COUNTER[1]), KEY)[:, None]
    want = np.where(words >= threshold(0.3), x * np.dtype(dtype).type(1 / 0.7), 0)
    np.testing.assert_array_equal(dropped(backend, memory, x, 0.3, step=2, batch=1), want)


def test_dropout_draws_anew_where_anything_changes(backend, memory):
    x = np.ones((40, 5), np.float32)
    masks = [dropped(backend, memory, x, 0.5)]
    masks += [dropped(backend, memory, x, 0.5, **{what: 1}) for what in ("step", "batch")]
    masks += [dropped(backend, memory, x, 0.5, **{what: (9, 9)}) for what in ("key", "counter")]
    assert len({mask.tobytes() for mask in masks}) == len(masks)
    assert dropped(backend, memory, x, 0.5).tobytes() == masks[0].tobytes(), "the backward pass must draw the same"


@pytest.mark.parametrize("rate", [0.0, 0.1, 0.5, 0.9])
def test_the_share_of_what_is_dropped(backend, memory, rate):
    n = 40_000
    got = dropped(backend, memory, np.ones((n, 1), np.float32), rate)
    assert abs((got == 0).mean() - rate) <= 5 * np.sqrt(rate * (1 - rate) / n)
    assert set(np.unique(got)) <= {0, np.float32(1 / (1 - rate))}


def test_a_nan_that_is_dropped_is_gone_and_one_that_is_kept_stays(backend, memory, dtype):
    one = dropped(backend, memory, np.ones((8, 6), dtype), 0.5)
    for bad in (np.nan, np.inf):
        got = dropped(backend, memory, np.full((8, 6), bad, dtype), 0.5)
        np.testing.assert_array_equal(got, np.where(one == 0, 0, bad))
