"""Atomic writes: temporaries, permissions, flushes to the disk, links and names, by descriptor and by path."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule.files import atomic_write
from chainrule.files.descriptors import cut_name
from chainrule.files.folder import Folder
from chainrule.files.writing import make_folder, write_atomically


def names(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir())


def test_a_link_is_replaced_but_not_its_target(opened, tmp_path):
    (tmp_path / "precious").write_text("precious")
    (opened.path / "a").symlink_to(tmp_path / "precious")
    os.link(tmp_path / "precious", opened.path / "b")
    for name in ("a", "b"):
        opened.write_atomically(name, b"new")
        assert (opened.path / name).read_bytes() == b"new"
        assert not (opened.path / name).is_symlink()
    assert (tmp_path / "precious").read_text() == "precious"
    assert names(opened.path) == ["a", "b"]


def test_an_existing_temporary_is_not_written_to(opened, tmp_path, monkeypatch):
    """Somebody who may write into the folder guessed its name, and put a link there."""
    (tmp_path / "precious").write_text("precious")
    drawn = iter([b"\0\0\0\1", b"\0\0\0\2"])
    monkeypatch.setattr(os, "urandom", lambda _: next(drawn))
    (opened.path / f".a.{os.getpid()}-00000001.tmp").symlink_to(tmp_path / "precious")
    opened.write_atomically("a", b"new")
    assert (tmp_path / "precious").read_text() == "precious"
    assert (opened.path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o666, 0o444])
def test_permissions_of_a_replaced_file_are_kept(opened, mode):
    opened.write_atomically("a", b"old")
    (opened.path / "a").chmod(mode)
    opened.write_atomically("a", b"new")
    assert stat.S_IMODE((opened.path / "a").stat().st_mode) == mode
    assert (opened.path / "a").read_bytes() == b"new"


def test_permissions_of_a_private_file_are_never_wider_while_it_is_replaced(opened, monkeypatch):
    opened.write_atomically("a", b"old")
    (opened.path / "a").chmod(0o600)
    modes, write = [], os.write
    monkeypatch.setattr(os, "fchmod", lambda *_: pytest.fail("it was made with other permissions"))
    monkeypatch.setattr(os, "write", lambda n, c: (modes.append(stat.S_IMODE(os.fstat(n).st_mode)), write(n, c))[1])
    opened.write_atomically("a", b"new")
    assert modes == [0o600]


def test_permissions_of_a_new_file_follow_the_umask(opened):
    before = os.umask(0o027)
    try:
        opened.write_atomically("a", b"new")
        opened.append("b", b"new")
    finally:
        os.umask(before)
    assert [stat.S_IMODE((opened.path / name).stat().st_mode) for name in "ab"] == [0o640, 0o640]


@pytest.mark.parametrize(
    "name", ["x" * 255, "字" * 85, "\udcff" * 255, "-", " ", "a\nb", "ä" * 120 + ".csv"], ids=ascii
)
def test_file_names_of_any_characters(opened, name):
    opened.write_atomically(name, b"1")
    opened.write_atomically(name, b"2")
    assert names(opened.path) == [name]
    assert (opened.path / name).read_bytes() == b"2"


def test_file_names_that_are_too_long_are_refused(opened):
    with pytest.raises(OSError, match="too long") as caught:
        opened.write_atomically("x" * 256, b"1")
    assert caught.value.errno == errno.ENAMETOOLONG
    assert names(opened.path) == []


@pytest.mark.parametrize(
    ("name", "longest", "kept"), [("abc", 3, "abc"), ("abcd", 3, "abc"), ("字字", 5, "字"), ("", 0, "")]
)
def test_cut_name_keeps_whole_characters(name, longest, kept):
    assert cut_name(name, longest) == kept


@pytest.mark.parametrize("kind", ["directory", "named pipe"])
def test_directories_and_pipes_are_not_replaced(tmp_path, kind):
    path = tmp_path / "a"
    path.mkdir() if kind == "directory" else os.mkfifo(path)
    with pytest.raises(OSError, match=f"expected a file, got a {kind}") as caught:
        write_atomically(path, b"1")
    assert caught.value.filename == str(path)
    assert names(tmp_path) == ["a"]


def test_a_device_is_not_replaced():
    with pytest.raises(OSError, match="expected a file, got a device"):
        write_atomically("/dev/null", b"1")


def test_fsync_of_the_file_before_the_rename_and_of_the_folder_after(tmp_path, monkeypatch):
    said, fsync, replace = [], os.fsync, os.replace

    def flush(number: int) -> None:
        said.append(Path(f"/proc/self/fd/{number}").readlink().suffix or "folder")
        fsync(number)

    monkeypatch.setattr(os, "fsync", flush)
    monkeypatch.setattr(os, "replace", lambda *args, **to: (said.append("rename"), replace(*args, **to))[1])
    write_atomically(tmp_path / "a", b"content")
    assert said == [".tmp", "rename", "folder"]


def test_a_disk_that_returns_other_bytes_is_an_error(tmp_path, monkeypatch):
    path, read_back = tmp_path / "a", atomic_write._read_back
    path.write_bytes(b"old")
    for wrong in (b"contenT", b"conten", b"content."):
        with monkeypatch.context() as patch:
            patch.setattr(
                atomic_write,
                "_read_back",
                lambda at, c, fd, wrong=wrong: (at.write_bytes(wrong), read_back(at, c, fd)),
            )
            with pytest.raises(OSError, match="does not hold what was written") as caught:
                write_atomically(path, b"content")
        assert caught.value.filename == str(path)
        assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"old"]


def test_a_file_written_part_by_part_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "a"
    write_atomically(path, (part for part in (b"con", b"", b"tent")))
    assert path.read_bytes() == b"content"

    def half():
        yield b"half"
        raise MemoryError

    with pytest.raises(MemoryError):
        write_atomically(path, half())
    read_back = atomic_write._read_back
    monkeypatch.setattr(atomic_write, "_read_back", lambda at, c, fd: (at.write_bytes(b"newer"), read_back(at, c, fd)))
    with pytest.raises(OSError, match="does not hold what was written"):
        write_atomically(path, iter([b"new"]))
    assert [p.read_bytes() for p in tmp_path.iterdir()] == [b"content"]


def test_a_file_system_that_cannot_fsync_folders(tmp_path, monkeypatch):
    fsync = os.fsync

    def refuse_folders(number: int) -> None:
        if Path(f"/proc/self/fd/{number}").readlink() == tmp_path:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(number)

    monkeypatch.setattr(os, "fsync", refuse_folders)
    net = cr.MLP([2, 1], loss="squared_error")
    net.save(tmp_path / "m")
    np.testing.assert_array_equal(cr.load(tmp_path / "m").predict(np.ones((1, 2))), net.predict(np.ones((1, 2))))


def test_fsync_of_the_parents_of_folders_that_are_made(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(Folder, "flush", lambda above: flushed.append(above.path))
    make_folder(tmp_path / "a" / "b")
    assert flushed == [tmp_path / "a", tmp_path]
    make_folder(tmp_path / "a" / "b")
    assert len(flushed) == 2
