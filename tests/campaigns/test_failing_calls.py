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
from chainrule import sealed_file


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

    def open(self, path: Path, *args: Any, **kwargs: Any) -> Any:
        return _File(self(OPEN)(path, *args, **kwargs), self)


class _File:
    """A file whose calls are counted too."""

    def __init__(self, file: Any, failing: Failing) -> None:
        self._file = file
        self.fileno = file.fileno
        self.read, self.write, self.flush = (failing(f) for f in (file.read, file.write, file.flush))
        self._close = failing(file.close)

    def __enter__(self) -> _File:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._close()
        finally:
            self._file.close()


OPEN, READ_BACK = Path.open, sealed_file._read_back


def failing_save(monkeypatch: pytest.MonkeyPatch, save: Callable[[], object], n: int, number: int) -> int:
    """How many calls ``save`` made, of which the ``n``-th failed."""
    failing = Failing(n, number)
    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", lambda *args, **kwargs: failing.open(*args, **kwargs))  # noqa: PLW0108 - a method
        patch.setattr(Path, "replace", failing(Path.replace))
        for name in ("fsync", "open", "close"):
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
    assert calls - renamed == 3, "the folder is opened, flushed and closed after that"


def test_the_file_is_on_the_disk_before_it_takes_its_name_and_the_folder_after(tmp_path, monkeypatch):
    said, fsync, replace = [], os.fsync, Path.replace

    def flush(number: int) -> None:
        said.append(Path(f"/proc/self/fd/{number}").readlink().suffix or "folder")
        fsync(number)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(Path, "replace", lambda *args: (said.append("rename"), replace(*args))[1])
    sealed_file.write_whole(tmp_path / "a", b"content")
    assert said == [".tmp", "rename", "folder"]


def test_what_is_read_back_otherwise_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.write_bytes(b"old")
    for wrong in (b"contenT", b"conten", b"content."):
        with monkeypatch.context() as patch:
            patch.setattr(sealed_file, "_read_back", lambda p, c, wrong=wrong: (p.write_bytes(wrong), READ_BACK(p, c)))
            with pytest.raises(OSError, match="not what is read") as caught:
                sealed_file.write_whole(path, b"content")
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
    monkeypatch.setattr(sealed_file, "_flush_folder", flushed.append)
    sealed_file.make_folder(tmp_path / "a" / "b")
    assert flushed == [tmp_path / "a", tmp_path]
    sealed_file.make_folder(tmp_path / "a" / "b")
    assert len(flushed) == 2
