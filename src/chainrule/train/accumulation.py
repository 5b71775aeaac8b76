"""Gradient accumulation: several batches, one update."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.nn.network import Network
from chainrule.train.feeding.batches import Batches


class Accumulation:
    """The gradient of ``group`` batches, put together from those of each, in an arena of its own."""

    def __init__(self, net: Network, group: int) -> None:
        self.gradients = net.gradient_arena.like()
        self._newest, self._sum, self._backend = net.gradient_arena.by_member, self.gradients.by_member, net.backend
        self._mean, self._group = net.loss.mean, group

    def add(self, totals: Array, state: Array) -> None:
        """Take in the gradient of the newest batch; part of a step, between the backward pass and the update."""
        group = min(self._group, totals.shape[-2])  # at most an epoch: backends take memory for each batch of a group
        self._backend.accumulate(self._newest, totals, state, group=group, mean=self._mean, out=self._sum)


class Replay(NamedTuple):
    """Successive batches of one kind: a recorded step is replayed ``times`` times."""

    start: int  # number of the first batch
    times: int
    updates: bool  # whether each ends with an update, or only adds to the gradient of its group
    ragged: bool


class UpdateGroups:
    """The batches of an epoch in groups of ``size``, one update for each; the last group may be smaller.

    Every step belongs to one batch. The update of a group is part of the step of its last batch, so there are at most
    three kinds of step, whatever the size of the group, and a block of streamed rows may end within a group.
    """

    def __init__(self, batches: Batches, size: int) -> None:
        self.size, self._batches = min(size, batches.count), batches
        self.updates = -(-batches.count // self.size)  # per epoch

    def updates_before(self, batch: int) -> int:
        """How many updates of the epoch are done before batch ``batch``."""
        return self.updates if batch == self._batches.count else batch // self.size

    @property
    def collects(self) -> bool:
        """Whether there are batches without an update of their own."""
        return self.updates < self._batches.count

    def replays(self, block: range, most: Callable[[int], int]) -> Iterator[Replay]:
        """The batches of ``block`` in order, from number i on at most ``most(i)`` at a time."""
        full, count = self._batches.full, self._batches.count
        number = block.start
        while number < block.stop:
            last = min(number - number % self.size + self.size, count) - 1  # of the group, the batch with the update
            if number == full:
                replay = Replay(number, 1, updates=True, ragged=True)  # the ragged batch is the last of all
            elif self.size == 1:
                times = min(most(number), block.stop - number, full - number)
                replay = Replay(number, times, updates=True, ragged=False)
            elif number == last:
                replay = Replay(number, 1, updates=True, ragged=False)
            else:
                times = min(most(number), last - number, block.stop - number)
                replay = Replay(number, times, updates=False, ragged=False)
            yield replay
            number += replay.times

    def spread(self, rates: np.ndarray) -> np.ndarray:
        """One rate per update as one rate per batch: each batch has that of its group's update."""
        return rates if self.size == 1 else np.repeat(rates, self.size)[: self._batches.count]
