"""Regular files opened for reading: a named pipe in place of one would block for ever, a device might do anything."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeAlias

FilePath: TypeAlias = str | os.PathLike[str]

# Not all platforms have all of these; what one lacks is not asked for.
NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
AS_BYTES = getattr(os, "O_BINARY", 0)
OPEN_FILES = Path("/proc/self/fd")  # where Linux has a path for each open file
KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISREG, "a file"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def file_type(mode: int) -> str:
    """What ``st_mode`` says that a path is, in words."""
    return next((words for is_it, words in KINDS if is_it(mode)), "a device")


def mode_of(path: FilePath) -> int | None:
    """``st_mode``; None if there is nothing, or it may not be looked at: why is said when it is opened."""
    try:
        return Path(path).stat().st_mode
    except (OSError, ValueError):
        return None


def is_folder(path: FilePath) -> bool:
    """Whether this is known to be a folder."""
    return stat.S_ISDIR(mode_of(path) or 0)


def refuse_irregular(mode: int, path: FilePath) -> None:
    """OSError that names ``path``, if it is no regular file."""
    if not stat.S_ISREG(mode):
        raise OSError(errno.EEXIST, f"expected a file, got {file_type(mode)}", os.fspath(path))


def open_regular(path: FilePath, *, name: str | None = None, folder: int | None = None) -> io.BufferedReader:
    """Open a file for reading; never waits for whoever may write to a pipe.

    Parameters
    ----------
    path : of the file, in messages too
    name, folder : where it is opened, relative to the descriptor of a folder; by default at ``path``

    Raises
    ------
    OSError   naming ``path``: there is none, it may not be read, or it is a directory, a pipe, a socket, a device.
    """
    where = os.fspath(path) if name is None else name
    try:
        refuse_irregular(os.stat(where, dir_fd=folder).st_mode, path)  # opening a device may do something already
        number = os.open(where, os.O_RDONLY | NO_WAITING | AS_BYTES, dir_fd=folder)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    try:
        refuse_irregular(os.fstat(number).st_mode, path)  # it may have been exchanged in between
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def path_of_open(file: IO[bytes], path: FilePath) -> str:
    """A path that opens the very file that is open, for libraries that take paths; ``path`` if there is none."""
    again = OPEN_FILES / str(file.fileno())
    return str(again) if again.exists() else os.fspath(path)
