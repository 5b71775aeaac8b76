"""A file that changes while it is read is refused: its rows would be those of two files, side by side."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

import chainrule as cr
from chainrule.cli.main import main
from chainrule.cli.runs import job
from chainrule.errors import DataError
from chainrule.tables.text import csv_reader, fill_builders
from chainrule.tables.unchanged import unchanged

BEFORE = "a,b,y\n" + "".join(f"{i},x,{i}\n" for i in range(50))
AFTER = "a,b,y\n" + "".join(f"{i},x,{i}\n" for i in reversed(range(50)))  # of the same size


def rewritten(path, times):
    path.write_text(AFTER)
    os.utime(path, ns=times)


def replaced(path, times):
    path.with_name("new").write_text(AFTER)
    path.with_name("new").replace(path)


CHANGES = {
    "the same size, and the times put back": rewritten,
    "more rows": lambda path, times: path.write_text(BEFORE + "7,x,7\n"),
    "fewer rows": lambda path, times: path.write_text(BEFORE[:-30]),
    "another header": lambda path, times: path.write_text("a;b;y\n1;2;3\n"),
    "a line of another width": lambda path, times: path.write_text(BEFORE + "7,x\n"),
    "no text": lambda path, times: path.write_bytes(b"\0\xff"),
    "cut to nothing": lambda path, times: path.write_text(""),
    "another file in its place": replaced,
    "removed": lambda path, times: path.unlink(),
}  # fmt: skip


@pytest.fixture
def table(tmp_path, monkeypatch):
    """A file that changes after its first reading, by the change that is asked for."""
    path = tmp_path / "t.csv"
    path.write_text(BEFORE)
    fill, found = csv_reader.fill_builders, path.stat()

    def prepare(change):
        def fill_and_change(text, builders):
            fill(text, builders)
            monkeypatch.setattr(csv_reader, "fill_builders", fill)
            time.sleep(0.02)  # a tick of the clock that dates files
            change(path, (found.st_atime_ns, found.st_mtime_ns))

        monkeypatch.setattr(csv_reader, "fill_builders", fill_and_change)
        return path

    return prepare


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("surprise", ["", "50,x,2.5.1\n"], ids=["one reading", "two readings"])
def test_a_csv_file_that_changes_while_it_is_read_is_refused(table, monkeypatch, change, surprise):
    monkeypatch.setattr(fill_builders, "CELLS_PER_PART", 1)
    path = table(change)
    if surprise:
        path.write_text(BEFORE + surprise)
    with pytest.raises(DataError, match=r"changed while it was read(?s:.*)wait until it has been written"):
        cr.read_table(path, target="y")


def test_a_file_that_changes_between_groups_and_rows_is_refused(tmp_path, monkeypatch, capsys):
    from chainrule.cli.training import table

    path, read = tmp_path / "t.csv", table.read_groups
    path.write_text(BEFORE)

    def read_and_change(source, name):
        groups = read(source, name)
        path.write_text(AFTER)
        return groups

    monkeypatch.setattr(table, "read_groups", read_and_change)
    assert main(["train", str(path), "--target", "y", "--group", "a", "--run-dir", str(tmp_path / "run")]) == 3
    assert "changed while it was read" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("command", ["train", "resume"])
def test_the_hash_in_the_run_record_is_of_the_data_that_was_trained_on(tmp_path, monkeypatch, capsys, command):
    """Another file between reading and hashing, or between comparing hashes and reading, is refused."""
    path, run = tmp_path / "t.csv", tmp_path / "run"
    path.write_text(BEFORE)
    argv = ["train", str(path), "--target", "y", "--device", "cpu", "--epochs", "2", "--run-dir", str(run), "--quiet"]
    if command == "resume":
        assert main(argv) == 0
        record = (run / "run.json").read_text()
        (run / "run.json").write_text(record.replace('"done"', '"running"'))
        argv = ["resume", str(run), "--quiet"]
    read = job.read_training_data

    def read_and_change(options):
        time.sleep(0.02)
        if command == "resume":
            path.write_text(AFTER)
            return read(options)
        data = read(options)
        path.write_text(AFTER)
        return data

    monkeypatch.setattr(job, "read_training_data", read_and_change)
    assert main(argv) == 3
    assert "changed while it was read" in capsys.readouterr().err


def test_an_unchanged_file_is_read(tmp_path):
    np.save(tmp_path / "t.npy", np.eye(3))
    with unchanged(tmp_path / "t.npy"), unchanged("digits"), unchanged(np.eye(3)), unchanged("no\0path"):
        assert len(cr.read_table(tmp_path / "t.npy", target="0")) == 3


def test_errors_within_an_unchanged_file_pass_through(tmp_path):
    (tmp_path / "t.csv").write_text("a,y\n1,x\n2,\n")
    with pytest.raises(ZeroDivisionError), unchanged(tmp_path / "t.csv"):
        raise ZeroDivisionError
