"""The lock without fcntl, with a module that does what that of Windows does: not tried on Windows itself."""

from __future__ import annotations

import errno
import os
from types import SimpleNamespace

import pytest

from chainrule.cli.runs import lock
from chainrule.cli.runs.lock import BEYOND, LOCK, RunLock
from chainrule.errors import OptionError
from chainrule.files import folder
from chainrule.files.folder import Folder


@pytest.fixture
def locked(monkeypatch):
    """What is locked, as (device, inode, offset)."""
    held: dict[tuple[int, int, int], int] = {}

    def locking(number: int, mode: int, count: int) -> None:
        assert (mode, count) == (2, 1)
        facts = os.fstat(number)
        place = (facts.st_dev, facts.st_ino, os.lseek(number, 0, os.SEEK_CUR))
        if refusal:
            raise OSError(refusal[0], os.strerror(refusal[0]))
        if place in held and held[place] != number:
            raise OSError(errno.EACCES, os.strerror(errno.EACCES))
        held[place] = number

    close = os.close

    def close_and_unlock(number: int) -> None:
        for place in [place for place, holder in held.items() if holder == number]:
            del held[place]
        close(number)

    refusal: list[int] = []
    monkeypatch.setattr(lock, "fcntl", None)
    monkeypatch.setattr(lock, "msvcrt", SimpleNamespace(locking=locking, LK_NBLCK=2))
    monkeypatch.setattr(os, "close", close_and_unlock)
    monkeypatch.setattr(folder, "HAS_DESCRIPTORS", False)
    return SimpleNamespace(held=held, refusal=refusal)


def test_a_second_process_is_refused_and_told_who_has_it(tmp_path, locked):
    with Folder(tmp_path) as home:
        first = RunLock(home)
        assert [offset for _, _, offset in locked.held] == [BEYOND], "what is locked cannot be read there"
        with pytest.raises(OptionError, match=f"process {os.getpid()} on"):
            RunLock(home)
        first.release()
        assert not (tmp_path / LOCK).exists()
        assert not locked.held
        RunLock(home).release()


def test_a_lock_file_that_another_process_has_opened_stays(tmp_path, locked, monkeypatch):
    """Windows removes no file that is open; who has opened it locks it then."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with Folder(tmp_path) as home:
        held = RunLock(home)
        with monkeypatch.context() as patch:
            patch.setattr(os, "unlink", refuse)
            held.release()
        assert (tmp_path / LOCK).exists()
        RunLock(home).release()


def test_an_error_that_is_no_lock_of_another_is_named(tmp_path, locked):
    locked.refusal.append(errno.EIO)
    with Folder(tmp_path) as home, pytest.raises(OSError, match=os.strerror(errno.EIO)) as caught:
        RunLock(home)
    assert caught.value.filename == str(tmp_path / LOCK)


def test_a_run_from_start_to_end(run, locked):
    assert (
        run("train", "digits", "--device", "cpu", "--hidden", 4, "--epochs", 1, "--quiet", "--run-dir", "out").code == 0
    )
    assert run("resume", "out", "--quiet").code == 0
    assert not locked.held
