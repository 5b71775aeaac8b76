"""Runs killed and resumed until done: the bits of a run that was never killed."""

from __future__ import annotations

import json

from campaigns import kills, runs
from campaigns.commands import Commands
from chainrule.cli.runs.files import CHECKPOINTS, METRICS, MODEL
from chainrule.cli.runs.record import RECORD
from chainrule.train.checkpoints.writer import LAST


def test_runs_that_are_killed_end_as_those_that_are_not(folder):
    counts, findings = kills.run(range(3), folder)
    assert findings == {}
    assert sum(counts.values()) > counts.get("too late", 0), "or this tries nothing"


def test_a_difference_would_be_seen(folder):
    """A difference between runs is found by what the campaigns compare."""
    runs.write_rows(folder)
    with Commands(folder) as commands:
        whole = runs.train_whole(commands)
        run = folder / "run"
        assert commands.run(*runs.TRAIN, "--run-dir", run) == 0
        assert runs.difference(run, whole) == runs.damage(run) == ""
        (run / METRICS).write_text((run / METRICS).read_text() * 2)
        (run / RECORD).write_text(json.dumps(json.loads((run / RECORD).read_text()) | {"status": "running"}))
        for folder_of_it, name in ((run, MODEL), (run / CHECKPOINTS, LAST)):
            (folder_of_it / f".{name}.1-2.tmp").touch()
        assert runs.difference(run, whole) == "metrics, record, files"
        (run / MODEL).write_bytes((run / MODEL).read_bytes()[:-1])
        assert runs.damage(run).startswith(MODEL)
        assert commands.run("resume", run) == 0
        assert runs.difference(run, whole) == ""
        assert commands.run(*runs.TRAIN, "--seed", 1, "--overwrite", "--run-dir", run) == 0
        assert runs.difference(run, whole) == "model, best, curves, metrics, history, checkpoint, record"
