"""A run directory that somebody has prepared, or moves while a run writes to it: what is written stays in it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import chainrule as cr
from chainrule.cli.runs.directory import RunDirectory
from chainrule.cli.runs.files import CHECKPOINTS, CONFIG, METRICS, MODEL
from chainrule.cli.runs.record import RECORD
from chainrule.files import folder
from chainrule.train.checkpoints.writer import BEST, LAST
from chainrule.train.records.run import EpochRecord

TRAIN = ("train", "digits", "--device", "cpu", "--hidden", "4", "--epochs", 3, "--quiet")
CHECKPOINT = f"{CHECKPOINTS}/{LAST}"
FILES = [RECORD, CONFIG, METRICS, "history.csv", "curves.svg", MODEL, CHECKPOINT, f"{CHECKPOINTS}/{BEST}"]


@pytest.fixture(scope="module")
def done(tmp_path_factory) -> Path:
    """A run that was completed."""
    path = tmp_path_factory.mktemp("done") / "out"
    assert cr.__version__
    from chainrule.cli.main import main

    assert main([*map(str, TRAIN), "--run-dir", str(path)]) == 0
    return path


@pytest.fixture
def out(run, done) -> Path:
    """That run as one that was cut off, in ``out`` of the working folder."""
    shutil.copytree(done, "out")
    cut_off(Path("out"))
    return Path("out")


def cut_off(path: Path) -> None:
    (path / RECORD).write_text(json.dumps(json.loads((path / RECORD).read_text()) | {"status": "running"}))


def at_the_end_of_epoch(monkeypatch: pytest.MonkeyPatch, number: int, action: Callable[[], object]) -> None:
    """Do something once this epoch of a run has been written down."""
    plain = RunDirectory.on_epoch_end

    def on_epoch_end(self: RunDirectory, record: EpochRecord) -> None:
        plain(self, record)
        if record.epoch == number:
            action()

    monkeypatch.setattr(RunDirectory, "on_epoch_end", on_epoch_end)


# ---- links ----------------------------------------------------------------------------------------


def elsewhere() -> Path:
    """A folder with files of the user's, among them some whose names are like ours."""
    path = Path("elsewhere")
    path.mkdir()
    for name in (LAST, BEST, ".mine.tmp", f".{LAST}.1-2.tmp"):
        (path / name).write_text("precious")
    return path


def test_checkpoints_that_are_a_link_are_refused_by_resume(run, out):
    shutil.rmtree(out / CHECKPOINTS)
    (out / CHECKPOINTS).symlink_to(elsewhere().resolve())
    found = run("resume", "out")
    assert (found.code, found.error) == (3, "out/checkpoints: expected a folder, got a link")
    assert {p.read_text() for p in Path("elsewhere").iterdir()} == {"precious"}
    assert len(list(Path("elsewhere").iterdir())) == 4


def test_checkpoints_that_are_a_link_are_replaced_by_overwrite(run, out, done):
    shutil.rmtree(out / CHECKPOINTS)
    (out / CHECKPOINTS).symlink_to(elsewhere().resolve())
    assert run(*TRAIN, "--run-dir", "out", "--overwrite").code == 0
    assert not (out / CHECKPOINTS).is_symlink()
    assert (out / MODEL).read_bytes() == (done / MODEL).read_bytes()
    assert [p.read_text() for p in Path("elsewhere").iterdir()] == ["precious"] * 4


@pytest.mark.parametrize("target", ["precious", "nothing", "out/checkpoints"], ids=["file", "nothing", "itself"])
def test_checkpoints_that_are_a_link_to_no_folder_are_replaced_by_overwrite(run, out, done, target):
    Path("precious").write_text("precious")
    shutil.rmtree(out / CHECKPOINTS)
    (out / CHECKPOINTS).symlink_to(Path(target).absolute())
    assert run(*TRAIN, "--run-dir", out, "--overwrite").code == 0
    assert (out / MODEL).read_bytes() == (done / MODEL).read_bytes()
    assert not (out / CHECKPOINTS).is_symlink()
    assert Path("precious").read_text() == "precious"
    assert not Path("nothing").exists()


def test_checkpoints_that_become_a_link_end_the_run(run, monkeypatch):
    elsewhere()

    def exchange() -> None:
        shutil.rmtree("out/checkpoints", ignore_errors=True)
        Path("out/checkpoints").symlink_to("../elsewhere")

    at_the_end_of_epoch(monkeypatch, 1, exchange)
    found = run(*TRAIN, "--run-dir", "out")
    assert (found.code, found.error) == (3, "out/checkpoints: expected a folder, got a link")
    assert json.loads(Path("out", RECORD).read_text())["status"] == "failed"
    assert [p.read_text() for p in Path("elsewhere").iterdir()] == ["precious"] * 4


@pytest.mark.parametrize("how", [os.symlink, os.link], ids=["link", "hard link"])
def test_metrics_that_become_a_link_are_a_file_again(run, done, monkeypatch, how):
    Path("precious").write_text("precious")

    def exchange() -> None:
        Path("out", METRICS).unlink()
        how(Path("precious").resolve(), Path("out", METRICS))

    at_the_end_of_epoch(monkeypatch, 1, exchange)
    assert run(*TRAIN, "--run-dir", "out").code == 0
    assert Path("precious").read_text() == "precious"
    epochs = [
        [json.loads(line)["loss"] for line in (path / METRICS).read_text().splitlines()] for path in (Path("out"), done)
    ]
    assert epochs[0] == epochs[1]


@pytest.mark.parametrize("epoch", [1, 2, 3])
@pytest.mark.parametrize("how", ["removed", "link"])
def test_metrics_that_are_removed_at_any_time_are_there_in_the_end(run, done, monkeypatch, epoch, how):
    def remove() -> None:
        Path("out", METRICS).unlink()
        if how == "link":
            Path("out", METRICS).symlink_to("nowhere")

    at_the_end_of_epoch(monkeypatch, epoch, remove)
    assert run(*TRAIN, "--run-dir", "out").code == 0
    lines = [json.loads(line) for line in Path("out", METRICS).read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert not Path("out", "nowhere").exists()


@pytest.mark.parametrize("name", [name for name in FILES if name not in {RECORD, CONFIG, CHECKPOINT}])
@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.link("precious", path)], ids=["pipe", "hard link"])
def test_what_is_no_file_of_the_run_is_replaced_by_resume(run, out, done, name, make):
    Path("precious").write_text("precious")
    (out / name).unlink()
    make(out / name)
    assert run("resume", "out", "--quiet").code == 0
    assert Path("precious").read_text() == "precious"
    assert (out / MODEL).read_bytes() == (done / MODEL).read_bytes()
    assert (out / name).is_file()


@pytest.mark.parametrize("name", [RECORD, CONFIG, CHECKPOINT])
def test_a_named_pipe_in_the_place_of_what_resume_reads_is_refused(run, out, name):
    (out / name).unlink()
    os.mkfifo(out / name)
    found = run("resume", "out", "--quiet")
    assert found.code in {2, 3}
    assert found.error == f"out/{name} cannot be read: expected a file, got a named pipe"


@pytest.mark.parametrize("name", FILES)
def test_a_named_pipe_in_the_place_of_a_file_is_replaced_by_overwrite(run, out, done, name):
    (out / name).unlink()
    os.mkfifo(out / name)
    assert run(*TRAIN, "--run-dir", "out", "--overwrite").code == 0
    assert (out / MODEL).read_bytes() == (done / MODEL).read_bytes()


@pytest.mark.parametrize("name", [METRICS, "history.csv", MODEL, f"{CHECKPOINTS}/{BEST}"])
def test_a_folder_in_the_place_of_a_file_is_refused_before_anything_is_lost(run, out, name):
    (out / name).unlink()
    (out / name).mkdir()
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}
    for argv in (("resume", "out"), (*TRAIN, "--run-dir", "out", "--overwrite")):
        found = run(*argv)
        assert (found.code, found.error) == (3, f"out/{name}: expected a file, got a directory")
    assert {p: p.read_bytes() for p in out.rglob("*") if p.is_file()} == before


def test_files_of_others_stay_when_a_run_is_overwritten_or_resumed(run, out):
    mine = [
        out / ".mine.tmp",
        out / "mine.txt",
        out / CHECKPOINTS / ".mine.tmp",
        out / CHECKPOINTS / "mine.safetensors",
    ]
    for path in mine:
        path.write_text("mine")
    (out / f".{MODEL}.1-2.tmp").touch()
    (out / CHECKPOINTS / f".{LAST}.1-ab.tmp").touch()
    assert run("resume", "out", "--quiet").code == 0
    assert run(*TRAIN, "--run-dir", "out", "--overwrite").code == 0
    assert [path.read_text() for path in mine] == ["mine"] * 4
    assert not list(out.rglob(".*[0-9ab].tmp"))


# ---- folders that move ----------------------------------------------------------------------------


def test_a_run_continues_in_the_folder_that_was_renamed(run, done, monkeypatch):
    at_the_end_of_epoch(monkeypatch, 1, lambda: Path("out").rename("moved"))
    found = run(*TRAIN[:-1], "--run-dir", "out", "--json")
    assert found.code == 0
    assert "out was moved while the run wrote to it" in found.err
    assert found.json["run_dir"] == str(Path("moved").resolve())
    assert [p.name for p in Path().iterdir()] == ["moved"]
    assert (Path("moved") / MODEL).read_bytes() == (done / MODEL).read_bytes()
    assert {p.name for p in Path("moved").iterdir()} == {p.name for p in done.iterdir()}
    cut_off(Path("moved"))
    assert run("resume", "moved", "--quiet").code == 0


def test_a_run_stays_out_of_what_takes_the_place_of_its_folder(run, monkeypatch):
    def exchange() -> None:
        Path("out").rename("moved")
        Path("out").mkdir()

    at_the_end_of_epoch(monkeypatch, 1, exchange)
    assert run(*TRAIN, "--run-dir", "out").code == 0
    assert list(Path("out").iterdir()) == []


def test_a_folder_that_is_removed_ends_the_run_and_is_no_full_disk(run, monkeypatch):
    at_the_end_of_epoch(monkeypatch, 1, lambda: shutil.rmtree("out"))
    found = run(*TRAIN, "--run-dir", "out")
    assert found.code == 5
    assert found.error.startswith("out/")
    assert found.error.endswith("No such file or directory")
    assert "hint: the folder out does not exist: make it, or find where it was moved to" in found.err
    assert not Path("out").exists()


def test_a_run_where_nothing_opens_relative_to_a_folder(run, done, monkeypatch):
    """As on Windows: the same files by their paths."""
    monkeypatch.setattr(folder, "HAS_DESCRIPTORS", False)
    assert run(*TRAIN, "--run-dir", "out").code == 0
    cut_off(Path("out"))
    assert run("resume", "out", "--quiet").code == 0
    assert (Path("out") / MODEL).read_bytes() == (done / MODEL).read_bytes()
    assert {str(p.relative_to("out")) for p in Path("out").rglob("*")} == {
        str(p.relative_to(done)) for p in done.rglob("*")
    }


def test_a_trainers_folder_of_checkpoints_may_be_a_link_and_its_files_are_replaced(tmp_path, rng):
    (tmp_path / "home").mkdir()
    (tmp_path / "link").symlink_to("home")
    (tmp_path / "precious").write_text("precious")
    (tmp_path / "home" / LAST).symlink_to("../precious")
    X = rng.normal(size=(20, 3))
    trainer = cr.Trainer(cr.MLP([3, 1], loss="squared_error"), epochs=1, batch_size=5, checkpoints=tmp_path / "link")
    trainer.fit(X, X[:, :1])
    assert (tmp_path / "precious").read_text() == "precious"
    assert not (tmp_path / "home" / LAST).is_symlink()
