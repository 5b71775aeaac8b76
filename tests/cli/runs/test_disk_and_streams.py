"""What a command does when its files or its streams cannot be written: found by the campaigns, each fixed since."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import pytest

from chainrule.cli.runs.directory import RunDirectory
from chainrule.cli.runs.files import CHECKPOINTS, CONFIG, METRICS, MODEL
from chainrule.cli.runs.lock import LOCK, RunLock
from chainrule.cli.runs.record import RECORD
from chainrule.cli.runs.signals import Stopped
from chainrule.files import folder
from chainrule.files.descriptors import path_in_errors
from chainrule.files.folder import Folder
from chainrule.train.checkpoints.writer import LAST

if sys.platform != "linux":
    pytest.skip("full disks and closed streams are tried with Linux's /dev/full and /proc", allow_module_level=True)
fcntl = pytest.importorskip("fcntl", reason="this system has no locks of this kind")

TRAIN = ("train", "digits", "--device", "cpu", "--hidden", "4", "--epochs", 2, "--run-dir", "out")
FULL = os.strerror(errno.ENOSPC)


def no_room_for(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Files of this name cannot be flushed."""
    fsync = os.fsync

    def flush(number: int) -> None:
        if Path(f"/proc/self/fd/{number}").readlink().name.startswith(f".{name}"):
            raise OSError(errno.ENOSPC, FULL)
        fsync(number)

    monkeypatch.setattr(os, "fsync", flush)


@pytest.mark.parametrize("name", [CONFIG, RECORD, f"{CHECKPOINTS}/{LAST}", "history.csv", "curves.svg", MODEL])
def test_a_file_for_which_there_is_no_room_is_named(run, monkeypatch, name):
    whole = run(*TRAIN[:-1], "whole", "--quiet")
    assert whole.code == 0
    with monkeypatch.context() as patch:
        no_room_for(patch, Path(name).name)
        found = run(*TRAIN)
        assert (found.code, found.error) == (5, f"out/{name}: {FULL}")
        assert "hint: free some space" in found.err
    begun = Path("out", RECORD).exists()
    assert begun == (name not in {CONFIG, RECORD}), "what can be gone on with has a run.json, what cannot has none"
    kept = Path("out", CHECKPOINTS, LAST).exists()
    assert ("next     chainrule resume out" in found.err) == kept
    if begun:
        assert json.loads(Path("out", RECORD).read_text())["status"] == "failed"
    again = run("resume", "out", "--quiet") if begun else run(*TRAIN, "--overwrite")
    assert again.code == 0, again.err
    assert Path("out", MODEL).read_bytes() == Path("whole", MODEL).read_bytes()


@pytest.mark.parametrize("options", [(), ("--log-json", "log")], ids=["metrics", "log"])
def test_a_line_for_which_there_is_no_room(run, monkeypatch, options):
    """/dev/full takes what is buffered and fails when it is flushed, with an error that names no file."""
    if options:
        Path(options[1]).symlink_to("/dev/full")
    else:

        def append(self: folder.Folder, name: str, content: bytes) -> bool:
            with path_in_errors(self.path / name):
                raise OSError(errno.ENOSPC, FULL)

        monkeypatch.setattr(folder.Folder, "append", append)
    found = run(*TRAIN, *options)
    assert (found.code, found.error) == (5, f"{options[1] if options else f'out/{METRICS}'}: {FULL}")


def test_what_is_overwritten_loses_its_record_first(run, monkeypatch):
    """Else a kill in between left a run that says that it is done, without a model."""
    assert run(*TRAIN, "--quiet").code == 0
    removed, unlink = [], os.unlink
    monkeypatch.setattr(os, "unlink", lambda name, **options: (removed.append(name), unlink(name, **options))[1])
    assert run(*TRAIN, "--quiet", "--overwrite").code == 0
    assert removed[0] == RECORD


def test_what_a_run_that_is_done_says_is_on_the_disk(run, monkeypatch):
    """Lines of metrics are appended without waiting for the disk; the record is not to be there before them."""
    flushed, fsync = [], os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda number: (flushed.append(Path(f"/proc/self/fd/{number}").readlink().name), fsync(number))
    )
    assert run(*TRAIN, "--quiet").code == 0
    record = next(name for name in reversed(flushed) if name.startswith(f".{RECORD}"))
    assert flushed.index(METRICS) < len(flushed) - 1 - flushed[::-1].index(record)


def test_a_run_that_never_began_says_what_to_do(run):
    Path("out").mkdir()
    Path("out", CONFIG).touch()
    found = run("resume", "out")
    assert (found.code, found.error) == (3, "out: expected a run directory, got a folder without run.json")
    assert "--overwrite" in found.err
    assert not Path("out", LOCK).exists()


def test_a_run_that_is_about_to_begin_has_an_owner(run):
    """Between its lock and its run.json."""
    Path("out").mkdir()
    with Folder("out") as out, RunLock(out):
        found = run("resume", "out")
    assert found.code == 2
    assert f"process {os.getpid()}" in found.error
    assert run("resume", "out").code == 3


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks(run, monkeypatch, number):
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert run(*TRAIN, "--quiet").code == 0
    assert not Path("out", LOCK).exists()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fcntl, "flock", lambda *_: (_ for _ in ()).throw(OSError(errno.EIO, os.strerror(errno.EIO))))
        assert run("resume", "out").error == f"out/lock: {os.strerror(errno.EIO)}"


def test_a_lock_that_is_let_go_in_a_moment_is_waited_for(tmp_path):
    """A child that a killed owner was about to start holds it until it has begun."""
    number = os.open(tmp_path / LOCK, os.O_RDWR | os.O_CREAT)
    fcntl.flock(number, fcntl.LOCK_EX)
    timer = threading.Timer(0.03, os.close, [number])
    timer.start()
    with Folder(tmp_path) as folder:
        RunLock(folder).release()
    timer.join()


def test_a_lock_needs_no_room(tmp_path, monkeypatch):
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, FULL)

    monkeypatch.setattr(os, "write", refuse)
    with Folder(tmp_path) as folder:
        RunLock(folder).release()


# ---- streams --------------------------------------------------------------------------------------


def shell(tmp_path: Path, command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"CHAINRULE": f"{sys.executable} -m chainrule"}
    return subprocess.run(
        ["sh", "-c", command], cwd=tmp_path, env=environment, check=False, capture_output=True, text=True
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_stop_nothing(tmp_path, closed):
    argv = " ".join(map(str, TRAIN))
    found = shell(tmp_path, f"$CHAINRULE {argv} --json {closed}")
    assert found.returncode == 0
    assert json.loads((tmp_path / "out" / RECORD).read_text())["status"] == "done"


def test_a_result_that_cannot_be_written(tmp_path):
    found = shell(tmp_path, f"$CHAINRULE {' '.join(map(str, TRAIN))} --quiet --json > /dev/full")
    assert found.returncode == 5
    assert found.stderr.splitlines() == [f"error: stdout: {FULL}", "hint: free some space, or write to another place"]
    assert json.loads((tmp_path / "out" / RECORD).read_text())["status"] == "done"


@pytest.mark.parametrize("nobody", ["2> /dev/full", "2>&-", "> /dev/full 2>&1 --json"])
def test_an_error_that_nobody_reads_keeps_its_exit_code(tmp_path, nobody):
    assert shell(tmp_path, f"$CHAINRULE resume nowhere {nobody}").returncode == 3


# ---- signals --------------------------------------------------------------------------------------


@pytest.mark.parametrize("names", [("INT", "INT"), ("TERM", "INT"), ("HUP", "TERM")], ids=str)
def test_the_second_signal_ends_the_process_at_once(names):
    code = """
import os, signal, sys, time
from types import SimpleNamespace
from chainrule.cli.runs.signals import LeftBehind, Signals
with Signals(lambda: LeftBehind("nothing", "try again")) as signals:
    signals.on_start(SimpleNamespace(stop=lambda: print("asked to stop", flush=True)))
    for name in sys.argv[1:]:
        os.kill(os.getpid(), signal.Signals["SIG" + name])
        print("goes on", flush=True)
"""
    found = subprocess.run([sys.executable, "-c", code, *names], check=False, capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (128 + signal.Signals[f"SIG{names[1]}"], "asked to stop\ngoes on\n")
    assert found.stderr == "error: ended at once by a second signal: nothing\nhint: try again\n"


def test_a_signal_whose_exception_nobody_heard_of_stops_the_run_all_the_same(run, monkeypatch):
    """Within a weakref's callback, in the middle of an import say, an exception is printed and forgotten."""

    class Thing:
        pass

    def describe(self: RunDirectory, **_: object) -> None:
        thing = Thing()
        callback = weakref.ref(thing, lambda _: os.kill(os.getpid(), signal.SIGTERM))
        with monkeypatch.context() as patch:
            patch.setattr(sys, "unraisablehook", lambda unraisable: forgotten.append(unraisable.exc_type))
            del thing
        assert callback() is None
        DESCRIBE(self, **_)  # type: ignore[arg-type]

    forgotten: list[object] = []
    monkeypatch.setattr(RunDirectory, "describe", describe)
    assert run(*TRAIN[:-3], 10_000, "--run-dir", "out", "--quiet").code == 143
    assert forgotten == [Stopped]
    assert json.loads(Path("out", RECORD).read_text())["status"] == "interrupted"


DESCRIBE = RunDirectory.describe
