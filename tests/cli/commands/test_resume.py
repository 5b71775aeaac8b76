"""`chainrule resume`: what was stopped, killed or cut off ends in the model of a run that never stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from chainrule.cli.runs import job
from chainrule.cli.runs.files import CHECKPOINTS, CONFIG, METRICS, MODEL
from chainrule.cli.runs.lock import LOCK, RunLock
from chainrule.cli.runs.record import RECORD
from chainrule.errors import OptionError
from chainrule.files.folder import Folder
from chainrule.train.checkpoints.writer import LAST

TRAIN = (
    "train",
    "digits",
    "--device",
    "cpu",
    "--hidden",
    "24",
    "--epochs",
    "80",
    "--checkpoint-every",
    "40",
    "--quiet",
)


def command(*argv: object) -> list[str]:
    return [sys.executable, "-m", "chainrule", *map(str, argv)]


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> bytes:
    """The model of a run that never stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    subprocess.run(command(*TRAIN, "--run-dir", folder), check=True)
    return (folder / MODEL).read_bytes()


def status(folder: Path) -> str:
    return json.loads((folder / RECORD).read_text())["status"]


def start_and_signal(folder: Path, number: int) -> int:
    """Train, send the signal once there is a checkpoint, and wait; the exit code."""
    process = subprocess.Popen(command(*TRAIN, "--run-dir", folder))
    deadline = time.monotonic() + 60
    while not (folder / CHECKPOINTS / LAST).exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(number)
    return process.wait(timeout=60)


@pytest.mark.parametrize(
    ("number", "code", "left"),
    [("SIGKILL", -9, "running"), ("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "interrupted")],
)
@pytest.mark.skipif(sys.platform == "win32", reason="no signal ends a process on Windows but in its own way")
def test_resume_after_a_signal_ends_in_the_same_model(tmp_path, whole, number, code, left):
    folder = tmp_path / "run"
    assert start_and_signal(folder, signal.Signals[number]) == code
    assert status(folder) == left
    subprocess.run(command("resume", folder, "--quiet"), check=True)
    assert status(folder) == "done"
    assert (folder / MODEL).read_bytes() == whole
    lines = [json.loads(line)["epoch"] for line in (folder / METRICS).read_text().splitlines()]
    assert lines == list(range(1, 81))
    assert not [p for p in folder.rglob("*") if p.name.endswith(".tmp") or p.name == LOCK]


def test_a_run_that_is_done_has_nothing_to_resume(run):
    run("train", "digits", "--epochs", 1, "--hidden", "4", "--device", "cpu", "--quiet", "--run-dir", "out")
    before = Path("out", MODEL).read_bytes()
    found = run("resume", "out", "--json")
    assert (found.code, found.json["run"]["status"]) == (0, "done")
    assert "nothing to resume" in found.err
    assert Path("out", MODEL).read_bytes() == before


def half_done(run, data: object = "digits", *options: object) -> Path:
    """A run that was cut off after its first epoch: what a kill would leave."""
    run("train", data, "--epochs", 2, "--hidden", "4", "--device", "cpu", "--quiet", "--run-dir", "out", *options)
    record = json.loads(Path("out", RECORD).read_text())
    Path("out", RECORD).write_text(json.dumps(record | {"status": "running"}))
    return Path("out")


@pytest.mark.parametrize("options", [(), ("--threads", 1)])
def test_the_command_that_goes_on_has_the_threads_of_the_checkpoint(run, monkeypatch, options):
    folder = half_done(run)
    (folder / CHECKPOINTS / LAST).unlink()
    real = job.trainer_of

    def interrupted(*args, callbacks, **settings):
        stop = [*callbacks, lambda record: os.kill(os.getpid(), signal.SIGINT)]
        return real(*args, callbacks=stop, **settings)

    monkeypatch.setattr(job, "trainer_of", interrupted)
    found = run("resume", "out", *options)
    assert found.code == 130
    assert " ".join(["next     chainrule resume out", *map(str, options)]) in found.err.splitlines()


def test_resume_without_a_checkpoint_begins_anew(run):
    folder = half_done(run)
    before = (folder / MODEL).read_bytes()
    (folder / CHECKPOINTS / LAST).unlink()
    found = run("resume", "out")
    assert found.code == 0, found.err
    assert "from the beginning" in found.err
    assert (folder / MODEL).read_bytes() == before


def test_resume_refuses_data_that_has_changed(run, flowers):
    half_done(run, flowers, "--target", "kind")
    flowers.write_text(flowers.read_text() + "1,2,rose\n")
    found = run("resume", "out")
    assert (found.code, found.error) == (3, f"{flowers} has changed since the run began")
    flowers.unlink()
    assert "does not exist" in run("resume", "out").error


def test_a_file_with_the_name_of_a_built_in_data_set_is_none_of_the_runs_data(run):
    Path("digits").write_text("somebody's")
    assert run("train", "digits", "--epochs", 2, "--hidden", 4, "--quiet", "--run-dir", "out").code == 0
    record = json.loads(Path("out/run.json").read_text())
    assert record["data"] == {"source": "digits"}
    Path("out/run.json").write_text(json.dumps(record | {"status": "running"}))
    Path("digits").write_text("something else")
    assert run("resume", "out", "--quiet").code == 0


def test_resume_refuses_a_valid_file_that_has_changed(run, flowers, tmp_path):
    """Any of them: of X the checkpoint knows a sample."""
    held = tmp_path / "held.csv"
    held.write_text(flowers.read_text())
    folder = half_done(run, flowers, "--target", "kind", "--valid", held)
    record = json.loads((folder / RECORD).read_text())
    assert record["valid_data"]["source"] == str(held)
    assert record["valid_data"]["sha256"] == record["data"]["sha256"]
    held.write_text(held.read_text().replace("height", " height"))  # the same numbers in another file
    found = run("resume", "out")
    assert (found.code, found.error) == (3, f"{held} has changed since the run began")
    held.unlink()
    assert "on which the run is validated, does not exist" in run("resume", "out").error
    held.write_text(flowers.read_text())
    assert run("resume", "out", "--quiet").code == 0


def test_validation_rows_that_nothing_is_recorded_of_are_known_by_the_checkpoint(run, flowers, tmp_path):
    held = tmp_path / "held.csv"
    held.write_text(flowers.read_text())
    folder = half_done(run, flowers, "--target", "kind", "--valid", held)
    record = json.loads((folder / RECORD).read_text())
    del record["valid_data"]
    (folder / RECORD).write_text(json.dumps(record))
    held.write_text(flowers.read_text() + "1,2,rose\n")
    found = run("resume", "out")
    assert (found.code, "other rows" in found.error) == (3, True)


def test_a_config_that_names_no_table(run):
    folder = half_done(run)
    (folder / CONFIG).write_text("epochs = 2\n")
    found = run("resume", "out")
    assert (found.code, found.error.startswith("expected a table, DATA")) == (2, True)


@pytest.mark.parametrize("name", [METRICS, "history.csv", "curves.svg", MODEL, RECORD, f"{CHECKPOINTS}/{LAST}", LOCK])
def test_a_link_out_of_the_run_is_not_written_through(run, tmp_path, name):
    folder, precious = half_done(run), tmp_path / "precious"
    path = folder / name
    precious.write_bytes(path.read_bytes() if path.exists() else b"precious")
    before = precious.read_bytes()
    path.unlink(missing_ok=True)
    path.symlink_to(precious)
    found = run("resume", "out", "--quiet")
    assert found.code == (2 if name == LOCK else 0), found.err
    assert precious.read_bytes() == before


def test_resume_names_other_settings_and_another_machine(run):
    folder = half_done(run)
    config = (folder / CONFIG).read_text()
    (folder / CONFIG).write_text(config.replace("epochs = 2", "epochs = 3"))
    found = run("resume", "out")
    assert found.code == 2
    assert "epochs 2 -> 3" in found.error


def test_a_damaged_checkpoint_is_refused_and_nothing_is_lost(run):
    folder = half_done(run)
    path = folder / CHECKPOINTS / LAST
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != RECORD}
    found = run("resume", "out")
    assert (found.code, "damaged" in found.error) == (3, True)
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != RECORD} == before


def test_a_run_that_diverged_is_not_resumed(run):
    options = ("--optimizer", "sgd", "--lr", "1e6", "--loss", "squared_error")
    found = run("train", "digits", "--epochs", 4, "--hidden", "4", "--device", "cpu", *options, "--run-dir", "out")
    assert found.code == 6
    found = run("resume", "out")
    assert found.code == 2
    assert "diverged" in found.error


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_resume_of_a_folder_that_is_no_run(run, content):
    Path("out").mkdir()
    if content is not None:
        Path("out", RECORD).write_text(content)
    assert run("resume", "out").code == 3
    assert run("resume", "nowhere").code == 3


@pytest.mark.parametrize("text", ["0", "-3", "x", "30 s", "1.5", "nans", "0s", "3d"])
def test_checkpoint_every_refuses_other_texts(run, text):
    found = run("train", "digits", f"--checkpoint-every={text}")
    assert found.code == 2
    assert "30s, 5m, 1h" in found.error


# ---- one process a run ----------------------------------------------------------------------------


def test_a_second_process_is_refused(run):
    folder = half_done(run)
    open_folder = Folder(folder)
    lock = RunLock(open_folder)
    for argv in (("resume", "out"), ("train", "digits", "--run-dir", "out", "--overwrite", "--epochs", 1)):
        found = run(*argv)
        assert found.code == 2
        assert f"is being trained in by process {os.getpid()}" in found.error
    lock.release()
    open_folder.close()
    assert run("resume", "out", "--quiet").code == 0


def test_a_lock_ends_with_its_process(tmp_path):
    code = "import sys; from chainrule.cli.runs.lock import RunLock; from chainrule.files.folder import Folder; "
    code += "lock = RunLock(Folder(sys.argv[1])); print(flush=True); input()"
    holder = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(holder, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with Folder(tmp_path) as folder, pytest.raises(OptionError, match=f"process {process.pid} on"):
            RunLock(folder)
        process.kill()
    with Folder(tmp_path) as folder:
        RunLock(folder).release()
    assert not (tmp_path / LOCK).exists()
