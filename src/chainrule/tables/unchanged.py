"""A file is read several times (encoding, header, rows, doubtful columns): all of it must be the same file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from chainrule.errors import DataError


@contextmanager
def unchanged(source: Any) -> Iterator[None]:
    """DataError if the file ``source`` is another one after the block than before; other sources are not asked.

    What goes wrong within the block then is a consequence, and not what is said.
    """
    before = _state(source)
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        if _state(source) != before:
            raise _changed(source) from error
        raise
    if _state(source) != before:
        raise _changed(source)


def _state(source: Any) -> tuple[int, ...] | None:
    """Which file it is, its size and times; None if there is none. Nobody can set back the time of a status change."""
    if not isinstance(source, str | os.PathLike):
        return None
    try:
        found = Path(source).stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _changed(source: Any) -> DataError:
    return DataError(
        f"{source} changed while it was read: expected the same file from its first row to its last",
        hint="let whoever writes it finish, then run this again",
    )
