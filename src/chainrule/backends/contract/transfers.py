"""Copies from the host that run beside the work of a device: what :meth:`Backend.send` returns."""

from __future__ import annotations

import numpy as np

from chainrule.errors import GuardError


class Transfer:
    """A copy from a host buffer to the device. This one, of a device that copies at once, is done already."""

    def join(self) -> None:
        """Work that is asked for from now on finds the values in place. The host does not wait."""

    def wait(self) -> None:
        """The host waits until the copy is done: from now on it may write to its buffer again."""


class DeferredTransfer(Transfer):
    """A copy that is made no sooner than it must be, which is what a test has to reckon with on a GPU.

    Until it is joined the memory on the device holds ``poison``. A host buffer that changes before the wait, which a
    GPU would copy half old and half new, is a GuardError.
    """

    def __init__(self, host: np.ndarray, memory: np.ndarray, poison: object) -> None:
        self.host, self.memory = host, memory
        self._sent = host.copy()
        self.is_joined = self.is_done = False
        memory.fill(poison)

    def join(self) -> None:
        self._refuse_changes()
        if not self.is_joined:
            self.memory[...] = self._sent
        self.is_joined = True

    def wait(self) -> None:
        self._refuse_changes()
        self.is_done = True

    def _refuse_changes(self) -> None:
        if not self.is_done and self.host.tobytes() != self._sent.tobytes():
            raise GuardError(
                "the host wrote to a buffer that is on its way to the device", hint="Transfer.wait() first"
            )
