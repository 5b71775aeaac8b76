"""What is no file in the place of one is refused at once; nothing waits."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

import chainrule as cr
from chainrule.errors import ModelFileError
from chainrule.files import model_file
from chainrule.files.regular_file import open_regular, path_of_open
from chainrule.files.sealed_file import is_of_format
from chainrule.train.checkpoints.checkpoint import Checkpoint

KINDS = ["a named pipe", "a socket", "a directory", "a device"]


def make(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Something of this kind."""
    monkeypatch.chdir(folder)  # a socket's path may not be long
    match kind:
        case "a named pipe":
            os.mkfifo("it")
        case "a socket":
            with socket.socket(socket.AF_UNIX) as listener:
                listener.bind("it")
        case "a directory":
            Path("it").mkdir()
        case _:
            Path("it").symlink_to("/dev/zero")
    return folder / "it"


@pytest.mark.parametrize("kind", KINDS)
def test_pipes_sockets_directories_and_devices_are_refused_by_name(tmp_path, monkeypatch, kind):
    path = make(kind, tmp_path, monkeypatch)
    with pytest.raises(OSError, match=f"expected a file, got {kind}") as caught:
        open_regular(path)
    assert caught.value.filename == str(path)
    for read in (cr.load, Checkpoint.read):
        is_run = read is cr.load and kind == "a directory"  # of which the model is meant
        expected = (
            "it/model.safetensors does not exist" if is_run else f"it cannot be read: expected a file, got {kind}"
        )
        with pytest.raises(ModelFileError, match=expected):
            read(path)
    assert not is_of_format(path, model_file.FORMAT)


def test_a_named_pipe_that_replaces_a_file_before_it_is_opened(tmp_path, monkeypatch):
    path = tmp_path / "a"
    path.touch()
    facts = path.stat()
    path.unlink()
    os.mkfifo(path)
    numbers = len(list(Path("/proc/self/fd").iterdir()))
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", lambda *_, **__: facts)
        with pytest.raises(OSError, match="got a named pipe"):
            open_regular(path)
    assert len(list(Path("/proc/self/fd").iterdir())) == numbers


def test_a_file_that_is_replaced_after_it_was_opened_is_still_read(tmp_path):
    cr.MLP([2, 1], loss="squared_error", seed=5).save(tmp_path / "m")
    with open_regular(tmp_path / "m") as opened:
        (tmp_path / "m").unlink()
        os.mkfifo(tmp_path / "m")
        with Path(path_of_open(opened, tmp_path / "m")).open("rb") as again:
            assert again.read() == opened.read() != b""


def test_links_to_files_are_read(tmp_path):
    cr.MLP([2, 1], loss="squared_error", seed=5).save(tmp_path / "m")
    (tmp_path / "link").symlink_to("m")
    assert cr.load(tmp_path / "link").seed == 5
    with pytest.raises(ModelFileError, match="does not exist"):
        cr.load(tmp_path / "missing")
