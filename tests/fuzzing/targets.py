"""What is fuzzed, by name."""

from __future__ import annotations

import abc
from pathlib import Path

from fuzzing.limits import Outcome


class Target(abc.ABC):
    """A reader of files, and what is done with what it has read.

    Parameters
    ----------
    folder : an empty one for its files
    """

    good: frozenset[str]  # what may come of an input

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @abc.abstractmethod
    def seeds(self) -> list[bytes]:
        """Inputs to begin with."""

    @abc.abstractmethod
    def outcome(self, data: bytes) -> Outcome:
        """The outcome of the file that ``data`` decides; depends on ``data`` alone."""

    def is_good(self, outcome: Outcome) -> bool:
        return outcome.said in self.good
