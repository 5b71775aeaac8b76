"""How many cores may be used: by affinity, by the quotas of control groups, by OMP_NUM_THREADS."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from chainrule import host_cores
from chainrule.host_cores import find_usable_cores, usable_cores


@pytest.fixture(autouse=True)
def machine(tmp_path, monkeypatch) -> Path:
    """Eight processors in four cores, all of which may be used; no control group."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(host_cores, "CPUS", tmp_path / "cpu")
    monkeypatch.setattr(host_cores, "CGROUPS", tmp_path / "cgroup")
    monkeypatch.setattr(host_cores, "OWN_CGROUP", tmp_path / "own")
    for cpu in range(8):
        write(tmp_path / f"cpu/cpu{cpu}/topology/thread_siblings_list", f"{cpu % 4},{cpu % 4 + 4}\n")
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_threads_of_one_core_count_once():
    assert find_usable_cores() == (4, "")


def test_the_affinity_of_the_process(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 2, 5})
    assert find_usable_cores() == (2, "the affinity of the process")


def test_without_knowledge_of_siblings_each_processor_counts(monkeypatch, tmp_path):
    monkeypatch.setattr(host_cores, "CPUS", tmp_path / "nowhere")
    assert usable_cores() == 8


def test_a_system_without_affinity(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity")
    assert find_usable_cores() == (8, "")
    monkeypatch.setattr(os, "cpu_count", lambda: None)
    assert usable_cores() == 1


QUOTA = "the CPU quota of the container"
V1 = {"cpu.cfs_quota_us": "150000\n", "cpu.cfs_period_us": "100000\n"}


@pytest.mark.parametrize(
    ("own", "files", "expected"),
    [
        ("0::/a/b\n", {"a/b/cpu.max": "200000 100000\n"}, (2, QUOTA)),
        ("0::/a/b\n", {"a/b/cpu.max": "150000 100000\n"}, (2, QUOTA)),  # rounded up
        ("0::/a/b\n", {"a/b/cpu.max": "50000 100000\n"}, (1, QUOTA)),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n"}, (4, "")),
        ("0::/a/b\n", {"a/b/cpu.max": "900000 100000\n"}, (4, "")),  # more than there are
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "300000 100000\n"}, (3, QUOTA)),
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000\n", "a/cpu.max": "100000 100000\n"}, (1, QUOTA)),
        ("0::/\n", {"cpu.max": "200000 100000\n"}, (2, QUOTA)),  # a container's own root
        ("0::/a\n", {"other/cpu.max": "100000 100000\n"}, (4, "")),
        ("0::/a\n", {"a/cpu.max": "nonsense\n"}, (4, "")),
        ("0::/a\n", {"a/cpu.max": "100000 0\n"}, (4, "")),
        ("5:cpu,cpuacct:/d\n4:memory:/d\n", {f"cpu,cpuacct/d/{name}": text for name, text in V1.items()}, (2, QUOTA)),
        ("5:cpu:/d/e\n", {f"cpu/d/{name}": text for name, text in V1.items()}, (2, QUOTA)),
        ("5:cpu:/d\n", {"cpu/d/cpu.cfs_quota_us": "-1\n", "cpu/d/cpu.cfs_period_us": "100000\n"}, (4, "")),
        ("4:memory:/d\n", {f"memory/d/{name}": text for name, text in V1.items()}, (4, "")),
        ("no colon\n", {}, (4, "")),
    ],
)
def test_the_quotas_of_control_groups(machine, own: str, files: Mapping[str, str], expected: tuple[int, str]):
    write(machine / "own", own)
    for name, text in files.items():
        write(machine / "cgroup" / name, text)
    assert find_usable_cores() == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("4", (4, "OMP_NUM_THREADS")),
        ("4,2", (4, "OMP_NUM_THREADS")),
        (" 16 ", (16, "OMP_NUM_THREADS")),
        ("x", (4, "")),
        ("0", (4, "")),
        ("-2", (4, "")),
        ("", (4, "")),
        ("²", (4, "")),
    ],
)
def test_what_the_user_has_set_comes_first(monkeypatch, value: str, expected: tuple[int, str]):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert find_usable_cores() == expected
