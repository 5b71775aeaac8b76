"""Detects a file that changes while it is read: encoding, header, rows and some columns are read one after another."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chainrule.errors import DataError
from chainrule.tables.selection import BUILT_IN


class SameFile:
    """The identity, size and times of a file now, to be compared later.

    Parameters
    ----------
    source : a path; any other source (a DataFrame) counts as unchanged
    """

    def __init__(self, source: Any) -> None:
        self.source, self._state = source, _state(source)

    @property
    def changed(self) -> bool:
        """Whether the path leads to another file by now, or its size or times differ."""
        return _state(self.source) != self._state

    def check(self) -> None:
        """DataError if it has changed."""
        if self.changed:
            raise DataError(
                f"{self.source} changed while it was read: expected the same file from its first row to its last",
                hint="wait until it has been written, then run this again",
            )


@contextmanager
def unchanged(source: Any) -> Iterator[None]:
    """DataError if the file ``source`` has changed by the end of the block.

    It replaces any exception of the block, which is then a mere consequence.
    """
    file = SameFile(source)
    try:
        yield
    except MemoryError:
        raise
    except Exception:
        file.check()
        raise
    file.check()


def _state(source: Any) -> tuple[int, ...] | None:
    """Device, inode, size and times; None if there is no file. The time of a status change cannot be set back."""
    if not isinstance(source, str | os.PathLike) or str(source) in BUILT_IN:
        return None
    try:
        found = Path(source).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
