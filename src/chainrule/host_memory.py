"""What is free of the host's memory, and its MemoryError as an error that says so."""

from __future__ import annotations

import contextlib
import math
import re
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from chainrule.errors import GENERAL_ADVICE, OutOfMemoryError

WORTH_ASKING = 1 << 28  # bytes
CGROUPS = Path("/sys/fs/cgroup")
LIMITS = (("RLIMIT_AS", 0), ("RLIMIT_DATA", 5))  # and which number of statm counts against it


class Device(Protocol):
    """What a :class:`~chainrule.backends.contract.backend.Backend` says of its memory."""

    device: str

    def free_memory(self) -> int | None: ...


@contextlib.contextmanager
def out_of_memory_hint(
    hint: str | Callable[[], str], *, doing: str = "", backend: Device | None = None
) -> Iterator[None]:
    """Make an OutOfMemoryError of the host's MemoryError, and give one that has none but general advice
    the ``hint``.

    Also a decorator. What the calls that failed held is given back first: their frames would keep it for as long as
    the error lives, and words take memory too.

    Parameters
    ----------
    hint : what to do, or a function that finds it out once memory has run out; empty for general advice
    doing : in words; "making the net"
    backend : whose device a MemoryError may be of, where it is not the host's
    """
    try:
        yield
    except OutOfMemoryError as error:
        traceback.clear_frames(error.__traceback__)
        if error.hint in GENERAL_ADVICE:
            error.hint = (hint if isinstance(hint, str) else hint()) or error.hint
        raise
    except MemoryError as error:
        traceback.clear_frames(error.__traceback__)
        raise out_of_memory(error, hint if isinstance(hint, str) else hint(), doing, backend) from error


def out_of_memory(
    error: MemoryError, hint: str = "", doing: str = "", backend: Device | None = None
) -> OutOfMemoryError:
    """A MemoryError of NumPy, Python or CuPy, with device and figures."""
    on_device = backend is not None and backend.free_memory() is not None and not hasattr(error, "shape")
    if on_device and backend is not None:  # CuPy's: NumPy's has a shape
        device, free = backend.device, backend.free_memory()
    else:
        device, free = "cpu", free_on_host()
    return OutOfMemoryError(device, needed=_needed(error), free=free, hint=hint, doing=doing)


def _needed(error: MemoryError) -> int | None:
    """Bytes that were asked for, where the error says so: NumPy's by shape and dtype, CuPy's in bytes."""
    shape, dtype = getattr(error, "shape", None), getattr(error, "dtype", None)
    if shape is not None and dtype is not None:
        return int(math.prod(shape) * dtype.itemsize)
    size = getattr(error, "_size", None)
    return None if size is None else int(size)


def refuse_what_is_not_free(needed: int, *, doing: str, hint: str = "") -> None:
    """OutOfMemoryError where the host has fewer bytes than that: Linux would promise them, and end who writes to them.

    Below 256 MB nobody asks, which takes a tenth of a millisecond.
    """
    if needed < WORTH_ASKING:
        return
    free = free_on_host()
    if free is not None and needed > free:
        raise OutOfMemoryError("cpu", needed=needed, free=free, hint=hint, doing=doing)


def free_on_host(at_start: int | None = None) -> int | None:
    """Bytes that this process could still have of the host, by Linux's account; None on other systems.

    The least of what the machine has available (with swap), what the control group of the process may still take (the
    limit of a container) and what its own limits leave. What has been laid out and never written to counts as taken
    only by the last, so it is enough to ask once memory has run out: so much was left ``at_start``.
    """
    limits = [at_start if at_start is not None else left_of_limits(), _left_of_group()]
    with contextlib.suppress(OSError, MemoryError, ValueError):
        found = re.findall(r"^(?:MemAvailable|SwapFree):\s*(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
        limits.append(sum(map(int, found)) * 1024 if found else None)
    return min((limit for limit in limits if limit is not None), default=None)


def left_of_limits() -> int | None:
    """Bytes that ``ulimit -v`` and ``ulimit -d`` leave this process; None where neither is set."""
    try:
        import resource  # not on Windows

        limits = [(resource.getrlimit(getattr(resource, name))[0], column) for name, column in LIMITS]
        bounds = [(int(limit), column) for limit, column in limits if limit != resource.RLIM_INFINITY]
        if not bounds:
            return None
        pages = [int(number) for number in Path("/proc/self/statm").read_text().split()]
        return max(0, min(limit - pages[column] * resource.getpagesize() for limit, column in bounds))
    except (ImportError, OSError, MemoryError, ValueError, LookupError):  # another /proc than Linux has
        return None


def _left_of_group() -> int | None:
    """Bytes that the control group leaves: what it may take, less what it has and could not give back (version 2)."""
    try:
        found = re.search(r"^0::(/.*)$", Path("/proc/self/cgroup").read_text(), re.MULTILINE)
        group = CGROUPS / found[1].lstrip("/") if found else CGROUPS
        left = [_left_of(folder) for folder in (group, *group.parents) if folder.is_relative_to(CGROUPS)]
    except (OSError, MemoryError, ValueError):
        return None
    return min((limit for limit in left if limit is not None), default=None)


def _left_of(group: Path) -> int | None:
    try:
        limit = (group / "memory.max").read_text().strip()
        if limit == "max":
            return None
        taken = int((group / "memory.current").read_text())
        cached = re.search(r"^inactive_file (\d+)$", (group / "memory.stat").read_text(), re.MULTILINE)
    except OSError:
        return None
    return max(0, int(limit) - taken + (int(cached[1]) if cached else 0))
