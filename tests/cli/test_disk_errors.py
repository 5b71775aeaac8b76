"""What to do about an error of the operating system goes by its number: not every one is a full disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from chainrule.cli.disk_errors import FREE_SPACE, hint_of, hint_of_folders
from chainrule.files.folder import Folder
from chainrule.nn.network import Network

WORDS = {
    errno.ENOSPC: FREE_SPACE,
    errno.EDQUOT: FREE_SPACE,
    errno.EFBIG: "ulimit -f",
    errno.EACCES: "permissions",
    errno.EPERM: "permissions",
    errno.EROFS: "read-only",
    errno.ENAMETOOLONG: "shorter",
    errno.ENOENT: "moved to",
    errno.EIO: "disk",
    errno.ESTALE: "disk",
    errno.EMFILE: "ulimit -n",
    errno.ENFILE: "ulimit -n",
    errno.ELOOP: "link",
    errno.ENOTDIR: "no folder",
    errno.EISDIR: "folder",
    errno.EEXIST: "move it away",
    errno.EBUSY: "another program",
}


@pytest.mark.parametrize("number", WORDS, ids=errno.errorcode.get)
def test_the_hint_goes_by_the_number(run, monkeypatch, number):
    def refuse(self: Folder, name: str, content: bytes) -> None:
        raise OSError(number, os.strerror(number), str(self.path / name))

    monkeypatch.setattr(Folder, "write_atomically", refuse)
    found = run("train", "digits", "--device", "cpu", "--epochs", 1, "--quiet", "--run-dir", "out")
    assert (found.code, found.error) == (5, f"out/config.toml: {os.strerror(number)}")
    (hint,) = [line for line in found.err.splitlines() if line.startswith("hint: ")]
    assert WORDS[number] in hint
    assert (FREE_SPACE in hint) == (number in {errno.ENOSPC, errno.EDQUOT})


WRITING = {
    "predictions": ("predict", "m", "digits", "-o", "gone/sub/p.csv"),
    "a picture": ("evaluate", "m", "digits", "--plot", "gone/sub/p.svg"),
    "a model for others": ("export", "m", "--onnx", "gone/sub/m.onnx"),
    "a log": (
        "train",
        "digits",
        "--preset",
        "none",
        "--epochs",
        1,
        "--run-dir",
        "again",
        "--log-json",
        "gone/sub/l.jsonl",
    ),
}


@pytest.mark.parametrize("argv", WRITING.values(), ids=WRITING)
def test_a_missing_folder_is_named_and_is_no_full_disk(run, monkeypatch, argv):
    assert run("train", "digits", "--preset", "none", "--epochs", 1, "--run-dir", "m", "--device", "cpu").code == 0
    monkeypatch.setattr(Network, "predict", None)  # nothing is computed for a place that is not there
    found = run(*argv)
    assert (found.code, found.error) == (5, f"{argv[-1]}: {os.strerror(errno.ENOENT)}")
    assert "hint: the folder gone does not exist: make it" in found.err
    Path("gone").write_text("a file in the place of the folder")
    found = run(*argv)
    assert (found.code, found.error) == (5, f"{argv[-1]}: {os.strerror(errno.ENOTDIR)}")
    assert "hint: gone is no folder" in found.err


def test_folders_are_looked_at_from_the_root_down(tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "file").touch()
    assert hint_of_folders(tmp_path / "a" / "b" / "new.csv") == ""
    assert f"{tmp_path}/a/c does not exist" in hint_of_folders(tmp_path / "a" / "c" / "d" / "new.csv")
    assert hint_of_folders(tmp_path / "a" / "file" / "new.csv") == f"{tmp_path}/a/file is no folder"
    assert "c\\x1b" in hint_of_folders(Path("c\x1b/new.csv"))
    assert "moved" in hint_of(FileNotFoundError(errno.ENOENT, "gone", str(tmp_path / "a" / "b" / "new.csv")))


def test_an_error_without_a_number_has_no_hint():
    assert hint_of(OSError("the file does not hold what was written to it")) == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to(run):
    Path("out").mkdir(mode=0o500)
    found = run("train", "digits", "--run-dir", "out")
    assert (found.code, "hint: this user may not read or write there" in found.err) == (5, True)


@pytest.mark.parametrize("refusal", [PermissionError(errno.EACCES, "Permission denied"), None], ids=["folder", "name"])
@pytest.mark.parametrize("command", ["predict", "evaluate", "show", "export", "valid"])
def test_an_input_that_may_not_be_looked_at_cannot_be_read(run, monkeypatch, command, refusal):
    """Of what is only read nothing is said about places to write to, and the exit code is that of data."""
    path = "closed/m.csv" if refusal else f"{'m' * 300}.csv"
    found, stat = str(path), Path.stat

    def refuse(self: Path, **options: bool) -> os.stat_result:
        if refusal and str(self).startswith("closed"):
            raise refusal
        return stat(self, **options)

    Path("t.csv").write_text("a,y\n1,0.5\n2,1.5\n3,2.5\n")
    if refusal:
        Path("closed").write_text("no folder, so that root cannot look into it either")
    monkeypatch.setattr(Path, "stat", refuse)
    argv = {"valid": ("train", "t.csv", "--target", "y", "--quiet", "--valid", path)}.get(command, (command, path))
    argv += {"predict": ("t.csv",), "evaluate": ("t.csv",), "export": ("--onnx", "o.onnx")}.get(command, ())
    outcome = run(*argv)
    assert (outcome.code, "hint: " in outcome.err) == (3, False)
    assert outcome.error.startswith(f"{found} cannot be read: ")
