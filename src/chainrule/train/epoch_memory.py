"""What the host tells the device for an epoch: rates and counters in one piece, sent while the host continues."""

from __future__ import annotations

from typing import Final

import numpy as np

from chainrule.backends.contract.backend import BATCH, HALTED, RUNNING, STEP, Backend
from chainrule.backends.contract.transfers import Transfer

WORD: Final = np.dtype(np.int64)  # of the counters; a learning rate has as many bytes
LINE: Final = 8  # words: threads that write to different counters share no cache line
STATE, POSITION, RATES = slice(0, 3), slice(LINE, LINE + 1), 2 * LINE


def state_at(step: int, batch: int = 0) -> list[int]:
    """``state`` before update ``step`` and batch ``batch`` of its epoch."""
    state = [0, 0, 0]
    state[STEP], state[BATCH], state[HALTED] = step, batch, RUNNING
    return state


def words(batches: int) -> int:
    """How many the device keeps for an epoch of so many batches."""
    return RATES + batches


class EpochMemory:
    """The arrays that the steps of an epoch read and that the host writes before the first of them.

    They are one array on the device, so that one copy fills them all. It is asynchronous, from page-locked memory. The
    host has two such buffers, used in turn, and writes to one only after its last copy is done.

    Parameters
    ----------
    batches : per epoch

    Attributes
    ----------
    lr : (batches,) float64, state : (3,) int64; see :mod:`chainrule.backends.contract.backend`
    position : (1,) int64, the counter of ``gather``
    """

    def __init__(self, backend: Backend, batches: int) -> None:
        self._backend = backend
        self._words = backend.empty((words(batches),), WORD)
        self.state, self.position = self._words[STATE], self._words[POSITION]
        self.lr = self._words[RATES:].view(np.float64)
        self._hosts = [backend.host_buffer((words(batches),), WORD) for _ in "01"]
        self._copies: list[Transfer | None] = [None, None]
        for host in self._hosts:
            host.fill(0)
        self.send(np.zeros(batches), updates=0, batch=0)

    def send(self, rates: np.ndarray, *, updates: int, batch: int) -> None:
        """Before batch ``batch`` of an epoch, after so many updates; ``rates`` has one number per batch.

        The copy takes its place in the order of work.
        """
        if (copy := self._copies[0]) is not None:
            copy.wait()
        host = self._hosts[0]
        host[STATE] = state_at(updates, batch)
        host[POSITION] = batch
        host[RATES:].view(np.float64)[:] = rates
        with self._backend.running():
            copy = self._backend.send(host, out=self._words)
            copy.join()
        self._copies = [self._copies[1], copy]
        self._hosts.reverse()
