"""Saves whose calls fail: some of them by strace, all of them by exchanged functions of Python."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from campaigns import failing_calls
from chainrule.files import writing
from chainrule.files.folder import Folder


def test_system_calls_that_kill_or_fail(folder):
    if reason := failing_calls.problem():
        pytest.skip(reason)
    counts, findings = failing_calls.run(range(11, 12), folder)
    assert findings == {}
    assert sum(counts.values()) >= 4


class Failing:
    """Counts the calls that a save makes, and lets the ``n``-th (from 1) fail; 0 for none."""

    def __init__(self, n: int, number: int) -> None:
        self.n, self.number, self.calls = n, number, 0

    def __call__(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*args: Any, **kwargs: Any) -> Any:
            self.calls += 1
            if self.calls == self.n:
                raise OSError(self.number, os.strerror(self.number))
            return function(*args, **kwargs)

        return counted


READ_BACK = Folder._read_back


def failing_save(monkeypatch: pytest.MonkeyPatch, save: Callable[[], object], n: int, number: int) -> int:
    """How many calls ``save`` made, of which the ``n``-th failed."""
    failing = Failing(n, number)
    with monkeypatch.context() as patch:
        for name in ("open", "write", "fsync", "close", "read", "replace"):
            patch.setattr(os, name, failing(getattr(os, name)))
        save()
    return failing.calls


@pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
def test_every_call_of_a_save_that_fails_leaves_one_of_two_files(tmp_path, monkeypatch, number):
    path = tmp_path / "model.safetensors"
    old, new = cr.MLP([3, 4, 2], seed=1), cr.MLP([3, 4, 2], seed=2)
    old.save(path)
    calls = failing_save(monkeypatch, lambda: new.save(tmp_path / "other"), 0, number)
    assert calls > 10
    before, after = path.read_bytes(), (tmp_path / "other").read_bytes()
    found = []
    for n in range(1, calls + 1):
        old.save(path)
        with pytest.raises(OSError, match=os.strerror(number)) as caught:
            failing_save(monkeypatch, lambda: new.save(path), n, number)
        assert caught.value.filename == str(path)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["model.safetensors", "other"]
        found.append(path.read_bytes())
    renamed = found.index(after)
    assert found == [before] * renamed + [after] * (calls - renamed), "new once it was renamed"
    assert calls - renamed == 2, "the folder is flushed and closed after that"


def test_the_file_is_on_the_disk_before_it_takes_its_name_and_the_folder_after(tmp_path, monkeypatch):
    said, fsync, replace = [], os.fsync, os.replace

    def flush(number: int) -> None:
        said.append(Path(f"/proc/self/fd/{number}").readlink().suffix or "folder")
        fsync(number)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", lambda *args, **to: (said.append("rename"), replace(*args, **to))[1])
    writing.write_atomically(tmp_path / "a", b"content")
    assert said == [".tmp", "rename", "folder"]


def test_what_is_read_back_otherwise_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    for wrong in (b"contenT", b"conten", b"content."):
        with monkeypatch.context() as patch:
            patch.setattr(
                Folder,
                "_read_back",
                lambda f, name, c, wrong=wrong: ((tmp_path / name).write_bytes(wrong), READ_BACK(f, name, c)),
            )
            with pytest.raises(OSError, match="not what is read") as caught:
                writing.write_atomically(path, b"content")
        assert caught.value.filename == str(path)
        assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_a_file_system_that_cannot_flush_folders(tmp_path, monkeypatch):
    fsync = os.fsync

    def refuse_folders(number: int) -> None:
        if Path(f"/proc/self/fd/{number}").readlink() == tmp_path:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(number)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    net = cr.MLP([2, 1], loss="squared_error")
    net.save(tmp_path / "m")
    np.testing.assert_array_equal(cr.load(tmp_path / "m").predict(np.ones((1, 2))), net.predict(np.ones((1, 2))))


def test_folders_that_are_made_are_flushed_into_those_above(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(Folder, "flush", lambda above: flushed.append(above.path))
    writing.make_folder(tmp_path / "a" / "b")
    assert flushed == [tmp_path / "a", tmp_path]
    writing.make_folder(tmp_path / "a" / "b")
    assert len(flushed) == 2
