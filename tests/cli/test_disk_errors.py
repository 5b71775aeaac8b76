"""What to do about an error of the operating system goes by its number: not every one is a full disk."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from chainrule.cli.disk_errors import FREE_SPACE, hint_of
from chainrule.folder import Folder

WORDS = {
    errno.ENOSPC: FREE_SPACE, errno.EDQUOT: FREE_SPACE, errno.EFBIG: "ulimit -f", errno.EACCES: "permissions",
    errno.EPERM: "permissions", errno.EROFS: "read-only", errno.ENAMETOOLONG: "shorter",
    errno.ENOENT: "moved or removed",
    errno.EIO: "disk", errno.ESTALE: "disk", errno.EMFILE: "ulimit -n", errno.ENFILE: "ulimit -n", errno.ELOOP: "link",
    errno.ENOTDIR: "no folder", errno.EISDIR: "folder", errno.EEXIST: "move it away", errno.EBUSY: "another program",
}  # fmt: skip


@pytest.mark.parametrize("number", WORDS, ids=errno.errorcode.get)
def test_the_hint_goes_by_the_number(run, monkeypatch, number):
    def refuse(self: Folder, name: str, content: bytes) -> None:
        raise OSError(number, os.strerror(number), str(self.path / name))

    monkeypatch.setattr(Folder, "write_whole", refuse)
    found = run("train", "digits", "--device", "cpu", "--epochs", 1, "--quiet", "--run-dir", "out")
    assert (found.code, found.error) == (5, f"out/config.toml: {os.strerror(number)}")
    (hint,) = [line for line in found.err.splitlines() if line.startswith("hint: ")]
    assert WORDS[number] in hint
    assert (FREE_SPACE in hint) == (number in {errno.ENOSPC, errno.EDQUOT})


def test_an_error_without_a_number_has_no_hint():
    assert hint_of(OSError("what was written is not what is read")) == ""


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_may_not_be_written_to(run):
    Path("out").mkdir(mode=0o500)
    found = run("train", "digits", "--run-dir", "out")
    assert (found.code, "hint: this user may not write there" in found.err) == (5, True)
