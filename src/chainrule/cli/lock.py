"""One process a run directory."""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path

from chainrule.errors import OptionError

try:
    import fcntl
except ImportError:  # not on Windows, where nothing is locked
    fcntl = None  # type: ignore[assignment]

LOCK = "lock"


class RunLock:
    """Holds ``folder/lock`` until :meth:`release`, or until the process ends, however it ends.

    The lock is the kernel's, on the open file, so one that was killed leaves nothing behind that must be judged stale.
    What the file says, process and host, is for people.

    Raises
    ------
    OptionError   where another process has it, with what the file says.
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
                fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = os.pread(number, 200, 0).decode(errors="replace").strip()
                os.close(number)
                raise OptionError(
                    f"{folder} is being trained in by {holder or 'another process'}",
                    hint="wait for it, or take another --run-dir",
                ) from error
            if self._is_at_its_path(number):
                self._number = number
            else:  # the one before has removed the file between our opening and our locking it
                os.close(number)
        os.ftruncate(self._number, 0)
        os.pwrite(self._number, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def _is_at_its_path(self, number: int) -> bool:
        with contextlib.suppress(FileNotFoundError):
            return os.path.samestat(os.fstat(number), self.path.stat())
        return False

    def release(self) -> None:
        """Let others in; the file goes."""
        if self._number is not None:
            self.path.unlink(missing_ok=True)
            os.close(self._number)
            self._number = None
