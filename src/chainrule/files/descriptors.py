"""What is done with an open file: errors that name it, bytes to its end and to the disk, what is known of it."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from chainrule.errors import DataError
from chainrule.files.regular_file import FilePath, kind_of

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LONGEST_NAME = 255  # bytes
PART = 1 << 20  # bytes read back at a time
NO_FLUSH = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY}  # what a file system says that cannot


@contextlib.contextmanager
def naming(path: FilePath) -> Iterator[None]:
    """An OSError from within names ``path``: a write or a flush that fails knows a number alone."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), os.fspath(path)) from error


def write_all(number: int, content: bytes) -> None:
    """Write to a descriptor, to the last byte."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(number, rest) :]


def holds(number: int, content: bytes) -> bool:
    """Whether what is read from a descriptor is this, to the last byte."""
    rest = memoryview(content)
    while part := os.read(number, PART):
        if part != rest[: len(part)]:
            return False
        rest = rest[len(part) :]
    return not rest


def path_of_descriptor(number: int) -> Path | None:
    """Where an open file or folder is now, if the platform says so."""
    with contextlib.suppress(OSError, AttributeError):
        if sys.platform == "darwin":
            return Path(os.fsdecode(fcntl.fcntl(number, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0")))
        return Path(f"/proc/self/fd/{number}").readlink()
    return None


def to_disk(number: int) -> None:
    """Bring a file to the disk: on macOS past the disk's own cache too, at which ``fsync`` stops."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        try:
            fcntl.fcntl(number, full)
            return
        except OSError as error:  # a file system that does not know it
            if error.errno not in NO_FLUSH:
                raise
    os.fsync(number)


def shortened(name: str, longest: int) -> str:
    """``name``, and of one that has more than ``longest`` bytes the beginning, in whole characters."""
    kept = os.fsencode(name)
    while len(kept) > longest:
        name = name[: -max(1, (len(kept) - longest) // 4)]
        kept = os.fsencode(name)
    return name


def readable(mode: int) -> int:
    """The permissions of a file, and that its owner may read it, for it is read back."""
    return (mode & 0o777) | stat.S_IRUSR


def take_permissions(number: int, mode: int) -> None:
    """Give a new file the permissions that the umask took from it."""
    if hasattr(os, "fchmod") and stat.S_IMODE(os.fstat(number).st_mode) != mode:
        with contextlib.suppress(PermissionError, NotImplementedError):  # a file system that has none
            os.fchmod(number, mode)


def is_here_alone(facts: os.stat_result) -> bool:
    """Whether it is a regular file with this one name."""
    return stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1


def is_mine(facts: os.stat_result) -> bool:
    """Whether this user owns it; True on a system whose files have no owners."""
    return not hasattr(os, "geteuid") or facts.st_uid == os.geteuid()


def not_a_folder(path: Path, mode: int) -> DataError:
    """The error for something else in the place of a folder."""
    return DataError(f"{path}: expected a folder, got {kind_of(mode)}", hint="move it away, or take another folder")
