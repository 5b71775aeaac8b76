"""What a command needs of its environment only to look well or to be quick: without it, it runs all the same."""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import shlex
import subprocess
import sys
import threading
import warnings

import pytest

from chainrule.cli import spare_threads
from chainrule.cli.console import output
from chainrule.cli.main import main
from chainrule.cli.runs.record import system
from chainrule.errors import CompiledLoopsWarning


class Ascii(io.TextIOWrapper):
    """A stdout of an old locale."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), encoding="ascii", errors="strict", write_through=True)

    @property
    def written(self) -> str:
        buffer = self.buffer
        assert isinstance(buffer, io.BytesIO)
        return buffer.getvalue().decode("ascii")


def test_results_on_a_stdout_of_ascii_have_escapes():
    with contextlib.redirect_stdout(Ascii()) as stdout:
        output.result("größe")
        output.result_table([["größe", "1"]])
        output.result_json({"größe": "日本"})
    lines = stdout.written.splitlines()
    assert lines[:2] == [r"gr\xf6\xdfe", r"gr\xf6\xdfe  1"]
    assert json.loads(lines[2]) == {"größe": "日本"}


def test_predictions_that_stdout_cannot_say_are_an_error_that_says_so(tmp_path, capsys):
    (tmp_path / "rows.csv").write_text("a,kind\n" + "1,groß\n2,klein\n" * 20, encoding="utf-8")
    options = ["--target", "kind", "--epochs", "1", "--device", "cpu", "--quiet", "--run-dir", str(tmp_path / "run")]
    assert main(["train", str(tmp_path / "rows.csv"), *options]) == 0
    with contextlib.redirect_stdout(Ascii()) as stdout:
        assert main(["predict", str(tmp_path / "run"), str(tmp_path / "rows.csv"), "--device", "cpu"]) == 5
    assert stdout.written == ""
    assert r"error: stdout: its encoding, ascii, has no '\xdf': set PYTHONIOENCODING=utf-8" in capsys.readouterr().err


def test_a_platform_that_cannot_be_found_out_ends_nothing(monkeypatch):
    monkeypatch.setattr(platform, "platform", lambda: (_ for _ in ()).throw(UnicodeDecodeError("utf-8", b"", 0, 1, "")))
    assert system() == sys.platform


@pytest.mark.parametrize("left", [0, 3, 7])
def test_without_threads_for_each_core_products_take_one(left, monkeypatch, capsys):
    """OpenBLAS would send the process SIGINT."""
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if len(started) == left:
            raise RuntimeError("can't start new thread")
        started.append(thread)
        start(thread)

    monkeypatch.delitem(sys.modules, "numpy")
    for name in spare_threads.SETTINGS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(spare_threads, "_cores", lambda: 8)
    monkeypatch.setattr(threading.Thread, "start", limited)
    spare_threads.settle_for_one_thread()
    assert os.environ.pop("OPENBLAS_NUM_THREADS", None) == ("1" if left < 7 else None)
    assert ("products take one" in capsys.readouterr().err) == (left < 7)
    assert not any(thread.is_alive() for thread in started)


def test_who_has_chosen_a_number_of_threads_keeps_it(monkeypatch):
    monkeypatch.delitem(sys.modules, "numpy")
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "5")
    monkeypatch.setattr(spare_threads, "_can_start", lambda count: False)
    spare_threads.settle_for_one_thread()
    assert os.environ["OPENBLAS_NUM_THREADS"] == "5"


@pytest.mark.skipif(os.name == "nt", reason="Windows does not remove the folder that a process is in")
def test_training_in_a_folder_that_has_been_removed(tmp_path):
    (tmp_path / "gone").mkdir()
    options = ["--epochs", "1", "--device", "cpu", "--quiet", "--run-dir", str(tmp_path / "run")]
    command = shlex.join([sys.executable, "-m", "chainrule", "train", "digits", *options])
    subprocess.run(["sh", "-c", f"rmdir ../gone && exec {command}"], cwd=tmp_path / "gone", check=True)
    assert (tmp_path / "run" / "model.safetensors").exists()


def test_what_the_library_warns_of_is_a_note_of_every_command(monkeypatch, capsys):
    from chainrule.cli.commands import doctor

    def run(_: object) -> int:
        warnings.warn("compiled loops: given up", CompiledLoopsWarning, stacklevel=2)
        return 0

    monkeypatch.setattr(doctor, "run", run)
    assert main(["doctor"]) == 0
    assert capsys.readouterr().err == "note     compiled loops: given up\n"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("CHAINRULE_COMPILED", "on", "CHAINRULE_COMPILED: expected 0 or 1, got 'on'"),
        ("CHAINRULE_DEVICE", "gpu", "CHAINRULE_DEVICE: expected auto, cpu, cuda or cuda:N, got 'gpu'"),
    ],
)
def test_a_setting_that_means_nothing_is_refused_by_name(name, value, said, monkeypatch, tmp_path, capsys):
    monkeypatch.setenv(name, value)
    assert main(["train", "digits", "--epochs", "1", "--run-dir", str(tmp_path / "run")]) == 2
    assert f"error: {said}" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


CLOSED = """
import os, sys
for number in (0, 1, 2):
    os.close(number)
sys.stdout = sys.stderr = None
from chainrule.cli.console import output
output.open_closed()
opened = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
os.write(2, b"a library in C complains")
os._exit(0 if opened > 2 and os.path.getsize(sys.argv[1]) == 0 else 1)
"""


def test_what_c_libraries_say_on_a_closed_stderr_is_written_into_no_file(tmp_path):
    assert subprocess.run([sys.executable, "-c", CLOSED, str(tmp_path / "model")], check=False).returncode == 0
