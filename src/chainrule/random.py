"""Random numbers by purpose: a draw is a function of the seed and of its purpose, never of earlier draws.

philox(key = seed, counter = (element / 4, step, index, purpose + 2^16 member)): the same seed gives the same weights,
shuffles and masks on every backend, in any order, at any step. Nothing about randomness needs to be saved but the seed.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from chainrule.backends.contract.random import MEMBER_SHIFT
from chainrule.options import whole_number

MOST_MEMBERS = 4096  # of an ensemble


class Purpose(enum.IntEnum):
    """The end of the counter's last word. The numbers are part of a run's file format: never reuse one (5 was one)."""

    WEIGHTS = 1
    SHUFFLE = 2
    DROPOUT = 3
    SPLIT = 4
    EMBEDDING = 6
    SAMPLE = 7
    BIASES = 8


class Stream(NamedTuple):
    """Arguments for ``Backend.uniform`` and ``Backend.permutation``."""

    key: tuple[int, int]
    counter: tuple[int, int, int]


def stream(seed: int, purpose: Purpose, *, index: int = 0, step: int = 0, member: int = 0) -> Stream:
    """The numbers of one purpose: ``index`` counts layers, ``step`` steps or epochs. ``seed`` in [0, 2^64).

    ``member`` counts the nets of an ensemble, which have one seed: each draws as it would alone.
    """
    seed = check_seed(seed)
    return Stream((seed & 0xFFFFFFFF, seed >> 32), (step, index, int(purpose) + (member << MEMBER_SHIFT)))


def check_seed(seed: int) -> int:
    """``seed`` as an int; OptionError unless it is an integer in [0, 2^64)."""
    return whole_number("seed", seed, low=0, below=2**64)
