"""What is said of a run that trains now, was killed, was interrupted, failed, diverged or is complete."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from chainrule.cli.runs import lock
from chainrule.cli.runs.files import CHECKPOINTS
from chainrule.cli.runs.record import RECORD
from chainrule.cli.runs.state import RunState
from chainrule.files.model_file import MODEL
from chainrule.train.checkpoints.writer import BEST, LAST
from chainrule.train.fit import Fit

FAST = ("--device", "cpu", "--hidden", "4", "--quiet")
ENDLESS = ("train", "digits", *FAST, "--epochs", "100000", "--checkpoint-every", "40", "--run-dir", "out")

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals end a process in another way on Windows")


@pytest.fixture
def training(run, tmp_path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that trains in the folder ``out`` and has written a checkpoint of an epoch."""
    del run  # it has changed to the folder
    process = subprocess.Popen([sys.executable, "-m", "chainrule", *ENDLESS])
    deadline = time.monotonic() + 60
    while (
        not all(Path("out", CHECKPOINTS, name).exists() for name in (BEST, LAST))
        and process.poll() is None
        and time.monotonic() < deadline
    ):
        time.sleep(0.01)
    assert process.poll() is None
    yield process
    process.kill()
    process.wait()


def row(out: str, name: str) -> str:
    """The row of this name of ``show``."""
    (line,) = [line for line in out.splitlines() if line.startswith(f"{name} ")]
    return line.removeprefix(name).strip()


def test_a_run_that_trains_says_so_with_its_process(run, training):
    shown = run("show", "out")
    assert shown.code == 0
    assert row(shown.out, "status").startswith(f"running now: process {training.pid} on ")
    assert " ended; out/checkpoints/best.safetensors has the weights" in row(shown.out, "so far")
    assert not [line for line in shown.out.splitlines() if line.startswith("next ")]
    assert "did not come" not in shown.out
    assert f"no model yet: process {training.pid} on " in shown.out
    facts = run("show", "out", "--json").json
    assert (facts["state"], facts["owner"].startswith(f"process {training.pid} ")) == ("running", True)
    assert training.poll() is None, "to look at a run does not disturb it"


@pytest.mark.parametrize("command", [("evaluate", "out", "digits"), ("predict", "out", "digits")], ids=lambda c: c[0])
def test_a_model_that_is_trained_now_is_to_be_waited_for(run, training, command):
    found = run(*command)
    assert found.code == 3
    assert found.error.startswith(f"out: no model yet: process {training.pid} on ")
    assert "hint: wait until it has ended; out/checkpoints/best.safetensors has the weights" in found.err
    assert run(command[0], "out/checkpoints/best.safetensors", "digits").code == 0


def test_a_run_that_was_killed_says_so_and_how_it_is_resumed(run, training):
    training.send_signal(signal.SIGKILL)
    training.wait()
    assert json.loads(Path("out", RECORD).read_text())["status"] == "running", "what it could not write any more"
    shown = run("show", "out")
    assert row(shown.out, "status").startswith("killed: its process ended before the training did")
    assert row(shown.out, "next") == "chainrule resume out continues from its last checkpoint"
    assert "of 100000 epochs done" in row(shown.out, "so far")
    assert "no model: the run was killed before it saved one" in shown.out
    assert run("show", "out", "--json").json["state"] == "killed"
    for command in ("evaluate", "predict"):
        found = run(command, "out", "digits")
        assert (found.code, found.error) == (3, "out: no model: the run was killed before it saved one")
        assert "hint: chainrule resume out continues from its last checkpoint; out/checkpoints/best" in found.err
    (Path("out", CHECKPOINTS) / LAST).unlink()
    shown = run("show", "out")
    assert row(shown.out, "next") == "chainrule resume out continues from the beginning: it has no checkpoint"


def test_a_run_that_a_signal_ended_says_so(run, training):
    training.send_signal(signal.SIGINT)
    training.wait()
    shown = run("show", "out")
    assert row(shown.out, "status") == "interrupted: a signal (Ctrl-C) stopped it before the last epoch"
    assert row(shown.out, "next") == "chainrule resume out continues from its last checkpoint"
    assert row(shown.out, "kept").startswith("epoch ")
    assert run("evaluate", "out", "digits").code == 0


def train(run, *options: object) -> int:
    return run("train", "digits", *FAST, "--epochs", 2, "--run-dir", "out", *options).code


def test_a_complete_run_says_so(run):
    assert train(run) == 0
    shown = run("show", "out")
    assert row(shown.out, "status") == "completed"
    assert run("show", "out", "--json").json["state"] == "completed"
    with lock.RunLock(lock.Folder("out")):
        assert row(run("show", "out").out, "status").startswith(f"completed; process {os.getpid()} on ")
        note = f"note     process {os.getpid()} on "
        found = run("predict", "out", "digits", "-o", "p.csv")
        assert (found.code, found.err.startswith(note)) == (0, True)


def test_a_run_that_failed_says_so(run, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Fit, "_end_epoch", fail)
        assert train(run) == 5
    shown = run("show", "out")
    assert row(shown.out, "status") == "failed: an error ended it"
    assert "No space left" in row(shown.out, "error")
    resume = "once the error is mended, chainrule resume out continues from the beginning: it has no checkpoint"
    assert row(shown.out, "next") == resume
    found = run("evaluate", "out", "digits")
    assert (found.code, found.error) == (3, "out: no model: the run failed before it saved one")
    assert resume in found.err


def test_a_run_that_diverged_says_so(run):
    options = ("--optimizer", "sgd", "--lr", "1e30", "--schedule", "constant", "--momentum", "0")
    assert train(run, *options) == 6
    shown = run("show", "out")
    assert row(shown.out, "status") == "diverged: its loss grew beyond reason"
    assert row(shown.out, "next") == "start again with a lower rate: chainrule train --config out/config.toml --lr ..."
    found = run("predict", "out", "digits")
    assert (found.code, found.error) == (3, "out: no model: the run diverged before an epoch was completed")


def test_a_folder_whose_run_begins_has_no_record_yet(run, tmp_path):
    (tmp_path / "out").mkdir()
    assert "killed before it wrote run.json" in run("show", "out").err
    with lock.RunLock(lock.Folder(tmp_path / "out")):
        shown = run("show", "out")
        assert row(shown.out, "status").startswith(f"beginning now: process {os.getpid()} on ")
        assert "wait until it has ended" in run("predict", "out", "digits").err


def test_without_locks_a_run_is_not_said_to_have_been_killed(run, monkeypatch):
    assert train(run) == 0
    record = json.loads(Path("out", RECORD).read_text())
    Path("out", RECORD).write_text(json.dumps(record | {"status": "running"}))
    Path("out", lock.LOCK).write_text("process 12 on elsewhere\n")

    def no_locks(*_, **__):
        raise OSError(lock.errno.ENOLCK, "No locks available")

    with monkeypatch.context() as patch:
        patch.setattr(lock, "_lock", no_locks)
        state = RunState.of(Path("out"))
    assert state is not None
    assert (state.state, "no locks" in state.in_words) == ("running or killed", True)
    assert state.next_step == "if it was killed, chainrule resume out continues from its last checkpoint"
    killed = RunState.of(Path("out"))
    assert killed is not None
    assert killed.state == "killed"
    assert Path("out", lock.LOCK).exists(), "what is looked at stays as it is"


def test_a_run_of_an_older_version_says_which_epoch_was_kept(run):
    assert train(run) == 0
    record = json.loads(Path("out", RECORD).read_text())
    assert row(run("show", "out").out, "kept") == record.pop("kept")
    Path("out", RECORD).write_text(json.dumps(record | {"best_epoch": 2}))
    assert row(run("show", "out").out, "kept") == "epoch 2"
    Path("out", MODEL).unlink()
    assert "no model: the file is missing" in run("show", "out").out
