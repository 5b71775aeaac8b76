"""The folder of a run is taken when it is named, and given back if no run begins there."""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
from pathlib import Path

import pytest

from chainrule.cli.runs import claim, job
from chainrule.cli.runs.claim import _refuse_files
from chainrule.cli.runs.lock import LOCK, RunLock
from chainrule.cli.runs.record import RECORD
from chainrule.errors import OptionError
from chainrule.files.folder import Folder

QUICK = ("--device", "cpu", "--hidden", "4", "--epochs", 1, "--quiet")
REFUSED = {
    "an option": ("digits", "--lr", "-1"),
    "a table": ("missing.csv", "--target", "y"),
    "no table": (),
    "a column": ("digits", "--drop", "nothing"),
    "a log in a folder that is not there": ("digits", "--log-json", "no/such/file"),
    "a log that is a folder": ("digits", "--log-json", "."),
}


@pytest.mark.parametrize("what", REFUSED)
@pytest.mark.parametrize("run_dir", [(), ("--run-dir", "a/b/c")], ids=["default", "given"])
def test_a_refused_run_leaves_no_folder(run, what, run_dir):
    assert run("train", *REFUSED[what], *run_dir, *QUICK).code != 0
    assert list(Path().iterdir()) == []


def test_folders_that_were_there_stay(run):
    Path("runs").mkdir()
    Path("mine").mkdir()
    assert run("train", "missing.csv", *QUICK).code == 3
    assert run("train", "missing.csv", "--run-dir", "mine", *QUICK).code == 3
    assert sorted(p.name for p in Path().rglob("*")) == ["mine", "runs"]


def test_overwrite_loses_nothing_before_training(run):
    assert run("train", "digits", "--run-dir", "out", *QUICK).code == 0
    before = {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()}
    assert run("train", "digits", "--run-dir", "out", "--overwrite", *QUICK, "--drop", "nothing").code != 0
    assert {p: p.read_bytes() for p in Path("out").rglob("*") if p.is_file()} == before


def test_the_folder_is_taken_before_the_table_is_read(run, monkeypatch):
    seen = []

    def read(args: object) -> None:
        (made,) = Path("runs").iterdir()
        with Folder(made) as folder, pytest.raises(OptionError, match=f"process {os.getpid()}"):
            RunLock(folder)
        seen.append(made)
        raise OptionError("enough")

    monkeypatch.setattr(job, "read_training_data", read)
    assert run("train", "digits", *QUICK).code == 2
    assert len(seen) == 1
    assert not Path("runs").exists()


def test_a_second_process_is_refused_before_it_has_read_the_table(run, monkeypatch):
    monkeypatch.setattr(job, "read_training_data", lambda _: pytest.fail("it was read"))
    Path("out").mkdir()
    with Folder("out") as folder, RunLock(folder):
        for options in ((), ("--overwrite",)):
            found = run("train", "digits", "--run-dir", "out", *options, *QUICK)
            assert (found.code, f"process {os.getpid()}" in found.error) == (2, True)
    assert list(Path("out").iterdir()) == []


def test_runs_of_one_minute_have_numbers(run, monkeypatch):
    monkeypatch.setattr(claim.time, "strftime", lambda _: "20261123-0914")
    for _ in range(3):
        assert run("train", "digits", *QUICK).code == 0
    made = sorted(p.name for p in Path("runs").iterdir())
    assert made == ["digits-20261123-0914", "digits-20261123-0914-2", "digits-20261123-0914-3"]
    assert all((Path("runs") / name / RECORD).exists() for name in made)


def test_a_folder_that_another_process_removes_is_made_once_more(run, monkeypatch):
    """It had made the folder, was refused, and took it away before we had locked it."""
    removed = []

    class Late(RunLock):
        def __init__(self, folder: Folder) -> None:
            if len(removed) < 2:
                removed.append(folder.path)
                folder.path.rmdir()
                folder.path.parent.rmdir()
            super().__init__(folder)

    monkeypatch.setattr(claim, "RunLock", Late)
    assert run("train", "digits", *QUICK).code == 0
    assert len(removed) == 2
    removed.clear()
    assert run("train", "digits", "--run-dir", "a/out", *QUICK).code == 0
    assert len(removed) == 2


def test_a_folder_that_is_renamed_while_it_is_locked_is_not_the_one_that_was_named(run, monkeypatch):
    class Late(RunLock):
        def __init__(self, folder: Folder) -> None:
            if not Path("moved").exists():
                folder.path.rename("moved")
                folder.path.mkdir()
            super().__init__(folder)

    monkeypatch.setattr(claim, "RunLock", Late)
    assert run("train", "digits", "--run-dir", "out", *QUICK).code == 0
    assert Path("out", RECORD).exists()
    assert list(Path("moved").iterdir()) == []


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("a b", "a b"),
        ("d\udcff", "d_"),
        ("n\nl", "n_l"),
        ("q'\"", "q'_"),
        (".hidden", "hidden"),
        ("...", "run"),
        ("", "run"),
        ("con", "con"),
        ("-d", "-d"),
        ("a:b*?", "a_b__"),
        ("x" * 250, "x" * 234),
        ("字" * 83, "字" * 78),
    ],
    ids=lambda text: ascii(text[:8]),
)
def test_the_name_of_a_new_folder_is_printable_and_fits(run, name, folder):
    path = next(claim.default_paths(name))
    assert path.name.rpartition("-")[0].rpartition("-")[0] == folder
    for path in itertools.islice(claim.default_paths(name), 12):
        path.mkdir(parents=True)
    assert path.name.endswith("-12")


@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("a file", Path.touch),
        ("a named pipe", os.mkfifo),
        ("a link", lambda path: path.symlink_to("nowhere")),
    ],
    ids=["file", "pipe", "link"],
)
def test_a_run_dir_that_is_no_folder(run, kind, make):
    make(Path("out"))
    found = run("train", "digits", "--run-dir", "out", *QUICK)
    assert found.code in {2, 3}
    assert found.error == f"out: expected a folder, got {kind}"
    assert [p.name for p in Path().iterdir()] == ["out"]


def test_a_run_dir_that_is_a_link_to_a_folder(run):
    Path("home").mkdir()
    Path("out").symlink_to("home")
    assert run("train", "digits", "--run-dir", "out", *QUICK).code == 0
    assert Path("home", RECORD).exists()
    assert run("resume", "out", "--quiet").code == 0


def test_a_path_that_is_too_long_is_refused_before_training(run):
    deep = Path(*["x" * 250] * 16)  # 4,015 characters: the folder fits, a checkpoint in it as well, or they do not
    for name in ("x" * 256, str(deep / ("y" * 62)), str(deep / ("y" * 90))):
        found = run("train", "digits", "--run-dir", name, *QUICK)
        assert (found.code, found.error.endswith(os.strerror(errno.ENAMETOOLONG))) == (5, True)
        assert "hint: the name or path is too long for the file system" in found.err
        assert list(Path().iterdir()) == []


def test_a_lock_of_somebody_else_is_left_as_it_is(run, tmp_path):
    """In a folder that may be overwritten: what is not ours is not."""
    Path("out").mkdir()
    Path("out", LOCK).write_text('{"dependencies": []}')
    found = run("train", "digits", "--run-dir", "out", "--overwrite", *QUICK)
    assert found.code == 2
    assert found.error == "out/lock: expected the lock of a run, got a file that says something else"
    assert Path("out", LOCK).read_text() == '{"dependencies": []}'
    Path("out", LOCK).write_text("process 1 on a machine that was switched off\n")
    os.link(Path("out", LOCK), "another name")
    assert run("train", "digits", "--run-dir", "out", "--overwrite", *QUICK).code == 0
    assert Path("another name").read_text() == "process 1 on a machine that was switched off\n"


@pytest.mark.parametrize(
    ("kind", "make"), [("a named pipe", os.mkfifo), ("a directory", os.mkdir)], ids=["pipe", "directory"]
)
def test_a_lock_that_is_no_file(run, kind, make):
    Path("out").mkdir()
    make(Path("out", LOCK))
    found = run("train", "digits", "--run-dir", "out", *QUICK)
    assert (found.code, found.error) == (2, f"out/lock: expected the lock of a run, got {kind}")


def test_a_lock_that_was_removed_is_not_that_of_the_next_owner(tmp_path):
    with Folder(tmp_path) as home:
        first = RunLock(home)
        (tmp_path / LOCK).unlink()
        second = RunLock(home)
        first.release()
        assert (tmp_path / LOCK).exists()
        second.release()
        assert not (tmp_path / LOCK).exists()


def test_a_folder_that_never_stays_is_given_up(run, monkeypatch):
    """Where a file system makes folders in which nothing can be made, say."""

    def gone(self: RunLock, folder: Folder) -> None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), "lock")

    monkeypatch.setattr(RunLock, "__init__", gone)
    found = run("train", "digits", "--run-dir", "out", *QUICK)
    assert (found.code, found.error) == (5, f"lock: {os.strerror(errno.ENOENT)}")
    assert list(Path().iterdir()) == []


def test_a_folder_that_another_process_makes_while_it_is_looked_for_is_a_folder(tmp_path, monkeypatch):
    """Once it was found missing, it is not looked at as anything else."""
    path, looked = tmp_path / "run", Path.stat

    def stat_and_make(self, **options):
        try:
            return looked(self, **options)
        finally:
            if self == path:
                with contextlib.suppress(FileExistsError):
                    os.mkdir(path)  # noqa: PTH102 - Path.mkdir looks by the method that is replaced

    monkeypatch.setattr(Path, "stat", stat_and_make)
    _refuse_files(path, overwrite=False)
