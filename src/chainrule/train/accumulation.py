"""Gradient accumulation: several batches, one update."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from chainrule.backends.contract.backend import Array
from chainrule.nn.network import Network
from chainrule.train.feeding.batches import Batches


class Accumulation:
    """The gradient of ``group`` batches, put together from those of each: an arena beside that of the gradients."""

    def __init__(self, net: Network, group: int) -> None:
        self.gradients = net.gradient_arena.like()
        self._newest, self._backend = net.gradient_arena.flat, net.backend
        self._mean, self._group = net.loss.mean, group

    def add(self, totals: Array, state: Array) -> None:
        """Take in the gradient of the newest batch; part of a step, between the backward pass and the update."""
        group = min(self._group, len(totals))  # no larger than an epoch: bodies take memory for each batch of a group
        self._backend.accumulate(self._newest, totals, state, group=group, mean=self._mean, out=self.gradients.flat)


class Piece(NamedTuple):
    """Batches of one kind that follow one another: ``times`` replays of one recorded step."""

    start: int  # number of the first batch
    times: int
    updates: bool  # whether each ends with an update, or only adds to the gradient of its group
    ragged: bool


class Groups:
    """The batches of an epoch in groups of ``size``, each an update; the last one may be smaller.

    Every step belongs to one batch. The update of a group is part of the step of its last batch, so there are at most
    three kinds of step, whatever the size of the group, and a block of streamed rows may end within a group.
    """

    def __init__(self, batches: Batches, size: int) -> None:
        self.size, self._batches = min(size, batches.count), batches
        self.updates = -(-batches.count // self.size)  # an epoch

    def updates_before(self, batch: int) -> int:
        """How many updates of the epoch are done once the batches before this one are."""
        return self.updates if batch == self._batches.count else batch // self.size

    @property
    def collects(self) -> bool:
        """Whether there are batches without an update of their own."""
        return self.updates < self._batches.count

    def pieces(self, block: range, most: Callable[[int], int]) -> Iterator[Piece]:
        """The batches of ``block`` in order, from number i on at most ``most(i)`` at a time."""
        full, count = self._batches.full, self._batches.count
        number = block.start
        while number < block.stop:
            last = min(number - number % self.size + self.size, count) - 1  # of the group, the batch with the update
            if number == full:
                piece = Piece(number, 1, updates=True, ragged=True)  # the ragged batch is the last of all
            elif self.size == 1:
                piece = Piece(number, min(most(number), block.stop - number, full - number), updates=True, ragged=False)
            elif number == last:
                piece = Piece(number, 1, updates=True, ragged=False)
            else:
                piece = Piece(
                    number, min(most(number), last - number, block.stop - number), updates=False, ragged=False
                )
            yield piece
            number += piece.times

    def spread(self, rates: np.ndarray) -> np.ndarray:
        """One rate an update as one rate a batch: each batch has that of its group's update."""
        return rates if self.size == 1 else np.repeat(rates, self.size)[: self._batches.count]
