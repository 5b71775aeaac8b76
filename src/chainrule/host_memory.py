"""The free memory of the host, and MemoryError as an OutOfMemoryError with figures and a hint."""

from __future__ import annotations

import contextlib
import math
import re
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from chainrule.errors import GENERAL_HINTS, OutOfMemoryError

MIN_CHECKED = 1 << 28  # bytes
CGROUPS = Path("/sys/fs/cgroup")
LIMITS = (("RLIMIT_AS", 0), ("RLIMIT_DATA", 5))  # and the field of statm that counts against it


class Device(Protocol):
    """The part of :class:`~chainrule.backends.contract.backend.Backend` that knows its memory."""

    device: str

    def free_memory(self) -> int | None: ...


class OutOfMemoryHint(contextlib.ContextDecorator):
    """See :func:`out_of_memory_hint`. No generator, whose making takes a small net's prediction longer than a layer."""

    def __init__(self, hint: str | Callable[[], str], doing: str, backend: Device | None) -> None:
        self._hint, self._doing, self._backend = hint, doing, backend

    def __enter__(self) -> None:
        """Nothing is kept, so that calls within calls and threads may share one."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OutOfMemoryError):
            traceback.clear_frames(error.__traceback__)
            if error.hint in GENERAL_HINTS:
                error.hint = self._found() or error.hint
        elif isinstance(error, MemoryError):
            traceback.clear_frames(error.__traceback__)
            raise out_of_memory(error, self._found(), self._doing, self._backend) from error

    def _found(self) -> str:
        return self._hint if isinstance(self._hint, str) else self._hint()


def out_of_memory_hint(
    hint: str | Callable[[], str], *, doing: str = "", backend: Device | None = None
) -> OutOfMemoryHint:
    """Turn a MemoryError of the host into an OutOfMemoryError, and replace a general hint of one by ``hint``.

    Also a decorator. The frames of the failed calls are cleared first: they would hold their arrays for as long as the
    error lives, and making a message takes memory too.

    Parameters
    ----------
    hint : what to do, or a function that finds it out once memory has run out; empty for a general hint
    doing : what the memory is for; "making the net"
    backend : a MemoryError may be of its device instead of the host
    """
    return OutOfMemoryHint(hint, doing, backend)


def out_of_memory(
    error: MemoryError, hint: str = "", doing: str = "", backend: Device | None = None
) -> OutOfMemoryError:
    """The OutOfMemoryError for a MemoryError of NumPy, Python or CuPy, with device and figures."""
    on_device = backend is not None and backend.free_memory() is not None and not hasattr(error, "shape")
    if on_device and backend is not None:  # CuPy's: NumPy's has a shape
        device, free = backend.device, backend.free_memory()
    else:
        device, free = "cpu", free_host_memory()
    return OutOfMemoryError(device, needed=_needed(error), free=free, hint=hint, doing=doing)


def _needed(error: MemoryError) -> int | None:
    """The bytes that were asked for, if the error knows: NumPy's by shape and dtype, CuPy's directly."""
    shape, dtype = getattr(error, "shape", None), getattr(error, "dtype", None)
    if shape is not None and dtype is not None:
        return int(math.prod(shape) * dtype.itemsize)
    size = getattr(error, "_size", None)
    return None if size is None else int(size)


def require_free_memory(needed: int, *, doing: str, hint: str = "") -> None:
    """OutOfMemoryError if fewer than ``needed`` bytes are free: Linux would promise them, and kill who writes to them.

    Less than 256 MB is not checked, for a check takes a tenth of a millisecond.
    """
    if needed < MIN_CHECKED:
        return
    free = free_host_memory()
    if free is not None and needed > free:
        raise OutOfMemoryError("cpu", needed=needed, free=free, hint=hint, doing=doing)


def free_host_memory(at_start: int | None = None) -> int | None:
    """The bytes that this process can still allocate, as Linux knows them; None on other systems.

    The minimum of the machine's available memory (with swap), what the control group of the process may still take (the
    limit of a container), and what the limits of the process leave (``ulimit``). Only the last counts memory that is
    allocated and not yet written to; ``at_start`` is what it left before such allocations.
    """
    limits = [at_start if at_start is not None else free_under_limits(), _free_in_cgroup()]
    with contextlib.suppress(OSError, MemoryError, ValueError):
        found = re.findall(r"^(?:MemAvailable|SwapFree):\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        limits.append(sum(map(int, found)) * 1024 if found else None)
    return min((limit for limit in limits if limit is not None), default=None)


def free_under_limits() -> int | None:
    """The bytes that ``ulimit -v`` and ``ulimit -d`` leave this process; None if neither is set."""
    try:
        import resource  # not on Windows

        limits = [(resource.getrlimit(getattr(resource, name))[0], column) for name, column in LIMITS]
        bounds = [(int(limit), column) for limit, column in limits if limit != resource.RLIM_INFINITY]
        if not bounds:
            return None
        pages = [int(number) for number in Path("/proc/self/statm").read_text().split()]
        return max(0, min(limit - pages[column] * resource.getpagesize() for limit, column in bounds))
    except (ImportError, OSError, MemoryError, ValueError, LookupError):  # a /proc that is not Linux's
        return None


def _free_in_cgroup() -> int | None:
    """The bytes that the control group (version 2) leaves: its limit less its use, reclaimable cache not counted."""
    try:
        found = re.search(r"^0::(/.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)
        group = CGROUPS / found[1].lstrip("/") if found else CGROUPS
        left = [_free_of_group(folder) for folder in (group, *group.parents) if folder.is_relative_to(CGROUPS)]
    except (OSError, MemoryError, ValueError):
        return None
    return min((limit for limit in left if limit is not None), default=None)


def _free_of_group(group: Path) -> int | None:
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit == "max":
            return None
        taken = int((group / "memory.current").read_text())
        cached = re.search(r"^inactive_file (\d+)$", (group / "memory.stat").read_text(), re.MULTILINE)
    except OSError:
        return None
    return max(0, int(limit) - taken + (int(cached[1]) if cached else 0))
