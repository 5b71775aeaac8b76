"""Opens regular files only: a named pipe in place of one would block for ever, and a device might do anything."""

from __future__ import annotations

import errno
import io
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypeAlias

FilePath: TypeAlias = str | os.PathLike[str]

# Flags that a platform lacks are left out.
NO_WAITING = getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
NO_LINKS = getattr(os, "O_NOFOLLOW", 0)
AS_BYTES = getattr(os, "O_BINARY", 0)
OPEN_FILES = Path("/proc/self/fd")  # on Linux: a path for each open file
KINDS: tuple[tuple[Callable[[int], bool], str], ...] = (
    (stat.S_ISREG, "a file"),
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a link"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISSOCK, "a socket"),
)


def file_type(mode: int) -> str:
    """The type of file in ``st_mode``, in words."""
    return next((words for is_it, words in KINDS if is_it(mode)), "a device")


def mode_of(path: FilePath) -> int | None:
    """``st_mode`` of a path; None if it does not exist or may not be read: opening it then says why."""
    try:
        return Path(path).stat().st_mode
    except (OSError, ValueError):
        return None


def is_folder(path: FilePath) -> bool:
    """Whether the path is a folder; False also if that cannot be found out."""
    return stat.S_ISDIR(mode_of(path) or 0)


def refuse_irregular(mode: int, path: FilePath) -> None:
    """OSError naming ``path``, unless it is a regular file."""
    if not stat.S_ISREG(mode):
        raise OSError(errno.EEXIST, f"expected a file, got {file_type(mode)}", os.fspath(path))


def open_regular(path: FilePath, *, name: str | None = None, folder: int | None = None) -> io.BufferedReader:
    """Open a file for reading, without ever waiting for the writer of a pipe.

    Parameters
    ----------
    path : of the file, also for messages
    name, folder : the file is opened as ``name`` relative to the descriptor ``folder``; by default as ``path``

    Raises
    ------
    OSError   naming ``path``, if it is missing, unreadable, or a directory, pipe, socket or device.
    """
    where = os.fspath(path) if name is None else name
    try:
        refuse_irregular(os.stat(where, dir_fd=folder).st_mode, path)  # merely opening a device may have effects
        number = os.open(where, os.O_RDONLY | NO_WAITING | AS_BYTES, dir_fd=folder)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.fspath(path)) from error
    try:
        refuse_irregular(os.fstat(number).st_mode, path)  # it may have been replaced in between
        return os.fdopen(number, "rb")
    except BaseException:
        os.close(number)
        raise


def path_of_open(file: IO[bytes], path: FilePath) -> str:
    """A path to the file that is already open, for libraries that take paths; ``path`` if the platform has none."""
    again = OPEN_FILES / str(file.fileno())
    return str(again) if again.exists() else os.fspath(path)
