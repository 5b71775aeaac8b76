"""One process per run directory."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time
from typing import Self

from chainrule.errors import OptionError
from chainrule.files.descriptors import path_in_errors, write_all
from chainrule.files.folder import Folder
from chainrule.files.regular_file import AS_BYTES, NO_LINKS, NO_WAITING, file_type

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]
try:
    import msvcrt
except ImportError:  # everywhere else
    msvcrt = None  # type: ignore[assignment]

LOCK = "lock"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL}  # a file system without locks: nothing is locked
OWNER = b"process "  # how the file of a lock begins
LONGEST = 200  # bytes of it
NOBODY, UNKNOWN = "", "?"  # of an owner
BEYOND = 1 << 30  # the byte that Windows locks: a locked byte cannot be read, and the text should be


class RunLock:
    """Holds ``lock`` in a folder until :meth:`release`, or until the process ends, however it ends.

    The lock is the kernel's, on the open file, so one that was killed leaves nothing behind that must be judged stale.
    What the file says, process and host, is for people.

    Raises
    ------
    OptionError   if another process has it, with what the file says; if the file is not that of a lock.
    FileNotFoundError   if the folder has been removed.
    OSError       if the file cannot be made or locked.
    """

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._number: int | None = None
        while self._number is None:
            number = self._open()
            try:
                self._take(number)
                is_current = self._is_at_its_path(number)
            except BaseException:
                os.close(number)
                raise
            if is_current:
                self._number = number
            else:  # the one before has removed the file between our opening and our locking it
                os.close(number)
        with contextlib.suppress(OSError):  # the lock holds without it, on a full disk too
            if os.fstat(self._number).st_nlink == 1:  # a file with another name besides may be anybody's
                os.ftruncate(self._number, 0)
                os.lseek(self._number, 0, os.SEEK_SET)
                write_all(self._number, f"process {os.getpid()} on {socket.gethostname()}\n".encode())

    def _open(self) -> int:
        path, flags = self._folder.path / LOCK, os.O_RDWR | os.O_CREAT | NO_LINKS | NO_WAITING | AS_BYTES
        facts = self._folder.lstat(LOCK)
        if facts is not None and not stat.S_ISREG(facts.st_mode):
            raise _not_a_lock(path, file_type(facts.st_mode))
        with path_in_errors(path):
            number = self._folder.open_descriptor(LOCK, flags)
        if not stat.S_ISREG(mode := os.fstat(number).st_mode):
            os.close(number)
            raise _not_a_lock(path, file_type(mode))
        return number

    def _take(self, number: int) -> None:
        path = self._folder.path
        try:
            _lock(number)
        except BlockingIOError as error:
            raise OptionError(
                f"{path} is being trained in by {_holder(number) or 'another process'}",
                hint="wait for it, or take another --run-dir",
            ) from error
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise OSError(error.errno, error.strerror, str(path / LOCK)) from error
        text = _text_of(number)
        if not text.startswith(OWNER[: len(text)]):
            raise _not_a_lock(path / LOCK, "a file that says something else")

    def _is_at_its_path(self, number: int) -> bool:
        facts = self._folder.lstat(LOCK)
        return facts is not None and os.path.samestat(os.fstat(number), facts)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let others in, and remove the file."""
        if self._number is not None:
            number, self._number = self._number, None
            if not self._is_at_its_path(number):  # somebody has removed it, and it may be another process's by now
                os.close(number)
                return
            if msvcrt is not None:  # an open file cannot be removed on Windows, and another process may open it first
                os.close(number)
                with contextlib.suppress(PermissionError):
                    self._folder.unlink(LOCK)
                return
            try:
                self._folder.unlink(LOCK)
            finally:
                os.close(number)


def owner_of(folder: Folder) -> str:
    """Who trains in a folder: what the file of its lock says, NOBODY, or UNKNOWN if the file system has no locks.

    Asks by a shared lock, for a moment; whoever comes for the folder just then waits that long.
    """
    try:
        facts = folder.lstat(LOCK)
        if facts is None or not stat.S_ISREG(facts.st_mode):
            return NOBODY
        number = folder.open_descriptor(LOCK, (os.O_RDWR if fcntl is None else os.O_RDONLY) | NO_LINKS | NO_WAITING)
    except FileNotFoundError:
        return NOBODY
    except OSError:
        return UNKNOWN
    try:
        _lock(number, shared=True)
    except BlockingIOError:
        return _holder(number) or "another process"
    except OSError:
        return UNKNOWN
    finally:
        os.close(number)
    return NOBODY


def _not_a_lock(path: object, kind: str) -> OptionError:
    return OptionError(f"{path}: expected the lock of a run, got {kind}", hint="move it away: the run needs this name")


def _lock(number: int, *, shared: bool = False) -> None:
    """BlockingIOError if it is not free within 0.1 s.

    A process that was killed while it started another (``platform`` does) lets go once that one has begun.
    """
    for _ in range(10):
        with contextlib.suppress(BlockingIOError):
            return _lock_at_once(number, shared=shared)
        time.sleep(0.01)
    return _lock_at_once(number, shared=shared)


def _lock_at_once(number: int, *, shared: bool = False) -> None:
    if fcntl is not None:
        return fcntl.flock(number, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    os.lseek(number, BEYOND, os.SEEK_SET)
    try:
        msvcrt.locking(number, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined, unused-ignore]
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EDEADLK}:  # what Windows says of a lock that another has
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN)) from error
        raise
    return None


def _text_of(number: int) -> bytes:
    os.lseek(number, 0, os.SEEK_SET)
    return os.read(number, LONGEST)


def _holder(number: int) -> str:
    """What the file says; who has just locked it may be about to write that."""
    for _ in range(10):
        with contextlib.suppress(OSError):  # on SMB what is locked cannot be read either
            if text := _text_of(number).decode(errors="replace").strip():
                return text
        time.sleep(0.01)
    return ""
