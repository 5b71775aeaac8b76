"""Files written by a folder's descriptor: whole or not at all, in that folder, and nobody else's are touched."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from chainrule.errors import DataError
from chainrule.files import descriptors
from chainrule.files.descriptors import flush_to_disk
from chainrule.files.folder import Folder
from chainrule.files.writing import make_folder, remove_empty, write_atomically


def names(path: Path) -> list[str]:
    return sorted(p.name for p in path.iterdir())


@pytest.mark.parametrize("kind", ["link", "hard link", "dangling link", "named pipe"])
def test_append_refuses_links_and_hard_links(opened, tmp_path, kind):
    (tmp_path / "precious").write_text("precious")
    path = opened.path / "a"
    match kind:
        case "link":
            path.symlink_to(tmp_path / "precious")
        case "dangling link":
            path.symlink_to(tmp_path / "nowhere")
        case "hard link":
            os.link(tmp_path / "precious", path)
        case _:
            os.mkfifo(path)
    assert not opened.append("a", b"line\n")
    assert (tmp_path / "precious").read_text() == "precious"
    assert names(tmp_path) == ["home", "precious"]


def test_append(opened):
    assert opened.append("a", b"1\n")
    assert opened.append("a", b"2\n")
    opened.flush_file("a")
    assert (opened.path / "a").read_bytes() == b"1\n2\n"


def test_open_folder_refuses_a_link_to_a_folder(opened, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (opened.path / "checkpoints").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="checkpoints: expected a folder, got a link"):
        opened.open_folder("checkpoints", make=True)
    (opened.path / "file").touch()
    with pytest.raises(DataError, match="expected a folder, got a file"):
        opened.open_folder("file")
    with pytest.raises(FileNotFoundError):
        opened.open_folder("missing")
    with opened.open_folder("made", make=True) as inner:
        inner.write_atomically("a", b"1")
    assert (opened.path / "made" / "a").read_bytes() == b"1"
    assert names(tmp_path / "elsewhere") == []


def test_remove_temporaries_removes_only_our_own(opened):
    ours = [".a.1-2.tmp", ".a.123-00ff12ab.tmp", ".b.c.9-7.tmp"]
    others = [".mine.tmp", ".a.tmp", ".a.x-1.tmp", ".d.1-2.tmp", "a.1-2.tmp", ".a.1-2.tmp.bak"]
    for name in (*ours, *others):
        (opened.path / name).touch()
    (opened.path / ".a.3-4.tmp").symlink_to("a.1-2.tmp")
    (opened.path / ".a.5-6.tmp").mkdir()
    opened.remove_temporaries(["a", "b.c"])
    assert names(opened.path) == sorted([*others, ".a.3-4.tmp", ".a.5-6.tmp"])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_remove_temporaries_keeps_those_of_another_user(opened):
    path = opened.path / ".a.1-2.tmp"
    path.touch()
    os.chown(path, 12345, -1)
    opened.remove_temporaries(["a"])
    assert path.exists()


def test_a_renamed_folder_is_still_written_to(tmp_path):
    (tmp_path / "before").mkdir()
    with Folder(tmp_path / "before") as found:
        (tmp_path / "before").rename(tmp_path / "after")
        (tmp_path / "before").mkdir()
        found.write_atomically("a", b"1")
        assert found.append("b", b"1")
        with found.open_folder("c", make=True) as inner:
            write_atomically(inner / "d", b"1")
        assert not found.is_at(tmp_path / "before")
        assert found.current_path() == tmp_path / "after"
    assert names(tmp_path / "after") == ["a", "b", "c"]
    assert names(tmp_path / "before") == []


def test_writing_into_a_removed_folder_names_the_file(tmp_path):
    (tmp_path / "gone").mkdir()
    with Folder(tmp_path / "gone") as found:
        (tmp_path / "gone").rmdir()
        assert found.current_path() == tmp_path / "gone"
        with pytest.raises(FileNotFoundError) as caught:
            found.write_atomically("a", b"1")
    assert caught.value.filename == str(tmp_path / "gone" / "a")


def test_a_link_to_the_folder_itself_is_followed_once(tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to("home")
    with Folder(tmp_path / "link") as found:
        (tmp_path / "link").unlink()
        found.write_atomically("a", b"1")
    assert names(tmp_path / "home") == ["a"]


def test_make_folder(tmp_path):
    assert make_folder(tmp_path / "a" / "b") == [tmp_path / "a" / "b", tmp_path / "a"]
    assert make_folder(tmp_path / "a" / "b") == []
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(DataError, match="expected a folder, got a link"):
        make_folder(tmp_path / "link")
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="expected a folder, got a file"):
        make_folder(tmp_path / "file")


def test_make_folder_very_deep_or_not_at_all(tmp_path):
    depth = sys.getrecursionlimit() + 100
    with contextlib.chdir(tmp_path):
        made = make_folder(Path("/".join(["d"] * depth)))
        assert (len(made), made[-1]) == (depth, Path("d"))
        remove_empty(made)
        assert names(tmp_path) == []
        with pytest.raises(OSError, match="too long"):
            make_folder(Path("a", "b", "c" * 300))
        assert names(tmp_path) == []


# ---- other platforms ------------------------------------------------------------------------------


@pytest.mark.parametrize("refused", [None, errno.ENOTSUP, errno.EINVAL, errno.ENOTTY])
def test_fsync_on_macos_is_f_fullfsync_if_supported(monkeypatch, refused):
    called = []

    def fcntl(number: int, command: int) -> None:
        called.append((number, command))
        if refused is not None:
            raise OSError(refused, os.strerror(refused))

    monkeypatch.setattr(descriptors, "fcntl", SimpleNamespace(F_FULLFSYNC=51, fcntl=fcntl))
    monkeypatch.setattr(os, "fsync", called.append)
    flush_to_disk(7)
    assert called == ([(7, 51)] if refused is None else [(7, 51), 7])


def test_fsync_errors_of_the_disk_are_raised(monkeypatch):
    def fcntl(number: int, command: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(descriptors, "fcntl", SimpleNamespace(F_FULLFSYNC=51, fcntl=fcntl))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        flush_to_disk(7)


def test_fsync_without_fcntl(monkeypatch):
    called = []
    monkeypatch.setattr(descriptors, "fcntl", None)
    monkeypatch.setattr(os, "fsync", called.append)
    flush_to_disk(7)
    assert called == [7]
