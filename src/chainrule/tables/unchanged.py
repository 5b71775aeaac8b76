"""A file is read several times (encoding, header, rows, doubtful columns): all of it must be the same file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chainrule.errors import DataError
from chainrule.tables.selection import BUILT_IN


class SameFile:
    """A file as it is now, to be compared with what it is later; nothing is asked of other sources.

    Parameters
    ----------
    source : a path; what else is read (a DataFrame) is the same always
    """

    def __init__(self, source: Any) -> None:
        self.source, self._state = source, _state(source)

    @property
    def changed(self) -> bool:
        """Whether it is another file by now, by place, size and times."""
        return _state(self.source) != self._state

    def check(self) -> None:
        """DataError if it has changed."""
        if self.changed:
            raise DataError(
                f"{self.source} changed while it was read: expected the same file from its first row to its last",
                hint="let whoever writes it finish, then run this again",
            )


@contextmanager
def unchanged(source: Any) -> Iterator[None]:
    """DataError if the file ``source`` is another one after the block than before.

    What goes wrong within the block then is a consequence, and not what is said.
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
    """Which file it is, its size and times; None if there is none. Nobody can set back the time of a status change."""
    if not isinstance(source, str | os.PathLike) or str(source) in BUILT_IN:
        return None
    try:
        found = Path(source).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns
