"""Streams of random numbers by purpose: none equals another."""

from __future__ import annotations

import itertools

import pytest

from chainrule.errors import OptionError
from chainrule.random import Purpose, check_seed, stream


def test_every_purpose_index_step_and_seed_has_its_own_numbers():
    seeds = [0, 1, 2**32 - 1, 2**32, 2**63, 2**64 - 1]
    streams = [
        stream(seed, purpose, index=index, step=step)
        for seed, purpose, index, step in itertools.product(seeds, Purpose, (0, 1, 7), (0, 1, 10**6))
    ]
    assert len(set(streams)) == len(streams)
    for key, counter in streams:
        assert all(0 <= word < 2**32 for word in (*key, *counter))


def test_the_key_is_the_seed_and_the_counter_says_what_for():
    assert stream(3 * 2**32 + 5, Purpose.SHUFFLE, index=7, step=9) == ((5, 3), (9, 7, 2))


def test_the_numbers_of_the_purposes_never_change():
    """They decide the bits of every run that was ever recorded."""
    numbers = {"WEIGHTS": 1, "SHUFFLE": 2, "DROPOUT": 3, "SPLIT": 4, "EMBEDDING": 6, "SAMPLE": 7, "BIASES": 8}
    assert {p.name: p.value for p in Purpose} == numbers


@pytest.mark.parametrize("seed", [0, 1, 2**64 - 1])
def test_seeds(seed):
    check_seed(seed)


@pytest.mark.parametrize("seed", [-1, 2**64, 1.0, "1", None, True])
def test_what_is_no_seed(seed):
    with pytest.raises(OptionError, match=r"expected a whole number from 0 to below 2\^64"):
        check_seed(seed)
