"""A generator of choices that a string of bytes makes, so that a fuzzer that changes the bytes changes the choices."""

from __future__ import annotations

import random


class Choices(random.Random):
    """``random.Random`` whose every draw takes bytes from the front of ``data``; 0 once they are used up.

    What was written for a seeded generator (``campaigns.damage``) can so be steered by a fuzzer, byte by byte.
    """

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0
        super().__init__()

    def seed(self, *_: object) -> None:
        """There is none: the bytes are all that decides."""

    @property
    def left(self) -> int:
        """How many bytes are left."""
        return len(self.data) - self.at

    def take(self, count: int) -> bytes:
        """The next ``count`` bytes, fewer at the end."""
        taken = self.data[self.at : self.at + count]
        self.at += len(taken)
        return taken

    def rest(self) -> bytes:
        """All bytes that are left."""
        return self.take(len(self.data))

    def _randbelow(self, n: int) -> int:
        """In [0, n); random.Random takes every choice, sample and range from here."""
        return int.from_bytes(self.take(((n - 1).bit_length() + 7) // 8), "little") % n

    def random(self) -> float:
        return self._randbelow(1 << 8) / (1 << 8)

    def getrandbits(self, k: int) -> int:
        return self._randbelow(1 << k)

    def randbytes(self, n: int) -> bytes:
        return self.take(n).ljust(n, b"\0")
