"""What is free of the host's memory, when the host does not say so as Linux does."""

from __future__ import annotations

from pathlib import Path

import pytest

from chainrule import host_memory


@pytest.mark.parametrize("content", ["", "nonsense", "MemAvailable: lots kB\n0::/\n", "0::/group\n"])
def test_free_memory_is_unknown_with_another_proc(content, monkeypatch):
    resource = pytest.importorskip("resource", reason="there is no resource module on this system")
    monkeypatch.setattr(resource, "getrlimit", lambda which: (1 << 30, 1 << 30))
    monkeypatch.setattr(Path, "read_text", lambda path, **_: content)
    assert host_memory.free_host_memory() is None
    assert host_memory.free_under_limits() is None


@pytest.mark.parametrize("error", [PermissionError(13, "Permission denied"), MemoryError()])
def test_free_memory_is_unknown_if_proc_may_not_be_read(error, monkeypatch):
    def refuse(path: Path, **_: object) -> str:
        raise error

    monkeypatch.setattr(Path, "read_text", refuse)
    assert host_memory.free_host_memory() is None
