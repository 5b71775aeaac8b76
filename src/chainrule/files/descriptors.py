"""Work on open files: errors that name the path, complete writes, flushes to the disk, permissions and owners."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

from chainrule.errors import DataError
from chainrule.files.regular_file import FilePath, file_type

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# The content of a file: its bytes, or parts of them in order; or parts that are made one by one.
InMemory: TypeAlias = bytes | Sequence[bytes | memoryview]
Content: TypeAlias = InMemory | Iterable[bytes]

LONGEST_NAME = 255  # bytes
PART = 1 << 20  # bytes read back at a time
FLUSH_UNSUPPORTED = {errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOTTY}  # of a file system that cannot


@contextlib.contextmanager
def path_in_errors(path: FilePath) -> Iterator[None]:
    """Add ``path`` to an OSError of the block: a write or a flush that fails knows only a descriptor."""
    try:
        yield
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), os.fspath(path)) from error


def write_all(number: int, content: InMemory) -> None:
    """Write all of ``content`` to a descriptor: one call of ``os.write`` may take a part only."""
    for part in parts_of(content):
        rest = part
        while rest:
            rest = rest[os.write(number, rest) :]


def write_parts(number: int, parts: Iterable[bytes]) -> bytes:
    """Write one part after the other to a descriptor; returns the SHA-256 of all of them."""
    digest = hashlib.sha256()
    for part in parts:
        write_all(number, part)
        digest.update(part)
    return digest.digest()


def has_sha256(number: int, expected: bytes) -> bool:
    """Whether what is left to read from a descriptor has this SHA-256."""
    digest = hashlib.sha256()
    while part := os.read(number, PART):
        digest.update(part)
    return digest.digest() == expected


def has_content(number: int, content: InMemory) -> bool:
    """Whether what is left to read from a descriptor is exactly ``content``."""
    for part in parts_of(content):
        rest = part
        while rest:
            found = os.read(number, min(PART, len(rest)))
            # Bytes with bytes: a memoryview compares number by number, which takes twenty times as long.
            if not found or found != rest[: len(found)].tobytes():
                return False
            rest = rest[len(found) :]
    return not os.read(number, 1)


def parts_of(content: InMemory) -> Iterator[memoryview]:
    """The bytes of ``content``, part by part."""
    return map(memoryview, [content] if isinstance(content, bytes) else content)


def path_of_descriptor(number: int) -> Path | None:
    """The current path of an open file or folder; None if the platform does not say."""
    with contextlib.suppress(OSError, AttributeError):
        if sys.platform == "darwin":
            return Path(os.fsdecode(fcntl.fcntl(number, fcntl.F_GETPATH, bytes(1024)).rstrip(b"\0")))
        return Path(f"/proc/self/fd/{number}").readlink()
    return None


def flush_to_disk(number: int) -> None:
    """Flush a file to the disk; on macOS also the cache of the disk itself, at which ``fsync`` stops."""
    full = getattr(fcntl, "F_FULLFSYNC", None)
    if full is not None:
        try:
            fcntl.fcntl(number, full)
            return
        except OSError as error:  # a file system without it
            if error.errno not in FLUSH_UNSUPPORTED:
                raise
    os.fsync(number)


def cut_name(name: str, longest: int) -> str:
    """``name``, cut to at most ``longest`` bytes without splitting a character."""
    kept = os.fsencode(name)
    while len(kept) > longest:
        name = name[: -max(1, (len(kept) - longest) // 4)]
        kept = os.fsencode(name)
    return name


def owner_readable(mode: int) -> int:
    """The permissions of ``mode`` plus read by the owner: a file is read back after it is written."""
    return (mode & 0o777) | stat.S_IRUSR


def set_permissions(number: int, mode: int) -> None:
    """Give a new file exactly these permissions, whatever the umask."""
    if hasattr(os, "fchmod") and stat.S_IMODE(os.fstat(number).st_mode) != mode:
        with contextlib.suppress(PermissionError, NotImplementedError):  # a file system that has none
            os.fchmod(number, mode)


def is_singly_linked_file(facts: os.stat_result) -> bool:
    """Whether it is a regular file with no other name (hard link)."""
    return stat.S_ISREG(facts.st_mode) and facts.st_nlink == 1


def is_owned_by_user(facts: os.stat_result) -> bool:
    """Whether this user owns it; True on a system whose files have no owners."""
    return not hasattr(os, "geteuid") or facts.st_uid == os.geteuid()


def not_a_folder(path: Path, mode: int) -> DataError:
    """The error for something else in the place of a folder."""
    return DataError(f"{path}: expected a folder, got {file_type(mode)}", hint="move it away, or take another folder")
