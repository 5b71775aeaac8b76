"""One process a run directory."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from pathlib import Path
from typing import Self

from chainrule.errors import OptionError

try:
    import fcntl
except ImportError:  # not on Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]

LOCK = "lock"
NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EINVAL}  # a file system without locks: nothing is locked


class RunLock:
    """Holds ``folder/lock`` until :meth:`release`, or until the process ends, however it ends.

    The lock is the kernel's, on the open file, so one that was killed leaves nothing behind that must be judged stale.
    What the file says, process and host, is for people.

    Raises
    ------
    OptionError   where another process has it, with what the file says.
    OSError       where the file cannot be made or locked.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / LOCK
        self._number: int | None = None
        if fcntl is None:
            return
        while self._number is None:
            # A link would be written through, to whatever it leads to.
            number = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            try:
                _lock(number)
            except BlockingIOError as error:
                holder = _holder(number)
                os.close(number)
                raise OptionError(
                    f"{folder} is being trained in by {holder or 'another process'}",
                    hint="wait for it, or take another --run-dir",
                ) from error
            except OSError as error:
                if error.errno not in NO_LOCKS:
                    os.close(number)
                    raise OSError(error.errno, error.strerror, str(self.path)) from error
            if self._is_at_its_path(number):
                self._number = number
            else:  # the one before has removed the file between our opening and our locking it
                os.close(number)
        with contextlib.suppress(OSError):  # the lock holds without it, on a full disk too
            os.ftruncate(self._number, 0)
            os.pwrite(self._number, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def _is_at_its_path(self, number: int) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(number), self.path.stat())
        return False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Let others in; the file goes."""
        if self._number is not None:
            self.path.unlink(missing_ok=True)
            os.close(self._number)
            self._number = None


def _lock(number: int) -> None:
    """BlockingIOError where it is not free within a moment.

    A process that was killed while it started another (``platform`` does) lets go once that one has begun.
    """
    for _ in range(10):
        with contextlib.suppress(BlockingIOError):
            return fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(0.01)
    return fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _holder(number: int) -> str:
    """What the file says; who has just locked it may be about to write that."""
    for _ in range(10):
        with contextlib.suppress(OSError):  # on SMB what is locked cannot be read either
            if text := os.pread(number, 200, 0).decode(errors="replace").strip():
                return text
        time.sleep(0.01)
    return ""
