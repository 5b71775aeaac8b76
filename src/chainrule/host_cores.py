"""How many cores this process may use: by affinity, by the quota of a container, and by what the user has set."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

CPUS: Final = Path("/sys/devices/system/cpu")
CGROUPS: Final = Path("/sys/fs/cgroup")
OWN_CGROUP: Final = Path("/proc/self/cgroup")


class UsableCores(NamedTuple):
    """How many there are, and what limits them; ``limit`` is empty if nothing does but the machine."""

    cores: int
    limit: str


def usable_cores() -> int:
    """Threads that can compute at the same time, at least 1; those of one core count once, as they share its units."""
    return find_usable_cores().cores


def find_usable_cores() -> UsableCores:
    """The same with its reason."""
    set_by_user = _number(os.environ.get("OMP_NUM_THREADS"))  # as joblib sets it in its workers
    if set_by_user is not None:
        return UsableCores(set_by_user, "OMP_NUM_THREADS")
    cores, quota = max(1, _cores()), min(_quotas(), default=None)
    if quota is not None and quota < cores:
        return UsableCores(max(1, quota), "the CPU quota of the container")
    return UsableCores(cores, "the affinity of the process" if _is_bound() else "")


def _is_bound() -> bool:
    return hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) < (os.cpu_count() or 1)


def _number(text: str | None) -> int | None:
    """The first of OpenMP's numbers for each level of nesting; None if it is none from 1 up."""
    first = (text or "").partition(",")[0].strip()
    return int(first) if first.isascii() and first.isdigit() and int(first) > 0 else None


def _cores() -> int:
    if not hasattr(os, "sched_getaffinity"):  # macOS and Windows
        return os.cpu_count() or 1
    allowed = os.sched_getaffinity(0)
    try:
        return len({(CPUS / f"cpu{cpu}/topology/thread_siblings_list").read_text() for cpu in allowed})
    except OSError:
        return len(allowed)


def _quotas() -> Iterator[int]:
    """Of the control groups that this process is in, and of those around them: whole cores, rounded up."""
    try:
        lines = OWN_CGROUP.read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and "cpu" not in controllers.split(","):
            continue
        root = CGROUPS / controllers if controllers else CGROUPS
        folder = root / path.strip("/")
        for place in (folder, *folder.parents):
            if (cores := _quota(place)) is not None:
                yield cores
            if place == root:
                break


def _quota(folder: Path) -> int | None:
    """None if there is none."""
    try:
        if (folder / "cpu.max").exists():  # version 2
            quota, period = (folder / "cpu.max").read_text().split()[:2]
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        return math.ceil(int(quota) / int(period)) if int(quota) > 0 else None
    except (OSError, ValueError, ZeroDivisionError):  # "max"
        return None
