"""``show`` of what someone else made: one line or a table, without control characters, whatever the files hold."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import chainrule as cr
from chainrule.train.checkpoints.checkpoint import Checkpoint
from chainrule.train.checkpoints.writer import LAST

NASTY = ("\x1b[31mred", "\x1b]0;title\x07", "\x9b2J", "\u202egnp.exe", "a\nerror: no", "\x7f", "\r", "\ud800", "\u2028")


def is_clean(text: str) -> bool:
    return all(line.isprintable() for line in text.split("\n"))


@pytest.fixture
def folder(tmp_path):
    """A run directory with names from hell in every place that has names."""
    words = [word.replace("\ud800", "\ue000") for word in NASTY]  # a file of UTF-8 has no half characters
    kinds = cr.Categorical(np.arange(len(words)), tuple(words))
    encoder = cr.TableEncoder.fit({words[0]: kinds, words[1]: np.arange(len(words)) / 2.0})
    net = cr.MLP([len(encoder.names), 4, len(words)])
    net.preparation = cr.Preparation(encoder=encoder, target_name=words[2], classes=tuple(words))
    (tmp_path / "m").mkdir()
    net.save(tmp_path / "m" / "model.safetensors")
    record = {
        "status": NASTY[0],
        "error": list(NASTY),
        "seed": {word: word for word in NASTY},
        NASTY[1]: 1,
        "data": NASTY,
    }
    (tmp_path / "m" / "run.json").write_text(json.dumps(record))
    return tmp_path / "m"


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_no_control_character_reaches_the_terminal(run, folder, options):
    for path in (folder, folder / "model.safetensors"):
        found = run("show", path, *options)
        assert found.code == 0, found.err
        assert is_clean(found.out), found.out
        assert is_clean(found.err)
        if options:
            assert found.json["model"]["classes"][0] == NASTY[0], "escaped, and not lost"


RECORDS = {
    "empty": b"",
    "no JSON": b"{'status': 1}",
    "no object": b"[1, 2]",
    "nan": b'{"status": "done", "seconds": NaN}',
    "infinity": b'{"status": "done", "valid": {"loss": -Infinity}}',
    "nested lists": b'{"status": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "nested objects": b'{"status": ' + b'{"a": ' * 300 + b"1" + b"}" * 301,
    "no text": b'{"status": "\xff"}',
    "a long number": b'{"seed": ' + b"9" * 10_000 + b"}",
    "large": b'{"status": "' + b"x" * (1 << 24) + b'"}',
    "NUL": b'{"status": "\0"}',
}


@pytest.mark.parametrize("content", RECORDS.values(), ids=RECORDS.keys())
@pytest.mark.parametrize("options", [[], ["--json"]])
def test_a_record_that_is_none_is_one_line(run, content, options):
    Path("m").mkdir()
    (Path("m") / "run.json").write_bytes(content)
    found = run("show", "m", *options)
    assert found.code == 3
    assert "run.json" in found.error
    assert len(found.error) < 400


def test_a_record_of_the_wrong_kinds_is_shown_all_the_same(run):
    Path("m").mkdir()
    record = {"status": 3, "error": {}, "data": [1, {"a": None}], "versions": "none", "train": [], "seconds": True}
    (Path("m") / "run.json").write_text(json.dumps(record))
    assert "no model" in run("show", "m").out
    assert run("show", "m", "--json").json["run"] == record


# ---- checkpoints ----------------------------------------------------------------------------------


@pytest.fixture
def last(run, flowers):
    """A checkpoint of a run of three epochs, which its settings say are four."""
    options = ("--target", "kind", "--epochs", 3, "--hidden", "4", "--device", "cpu", "--quiet", "--run-dir", "out")
    assert run("train", flowers, *options).code == 0
    path = Path("out", "checkpoints", LAST)
    found = Checkpoint.read(path)
    dataclasses.replace(found, settings=found.settings | {"epochs": 4}).write(path)
    return path


def test_a_checkpoint_is_shown(run, last):
    found = run("show", last)
    assert found.code == 0, found.err
    for words in ("3 of 4 epochs done", "valid_loss", "2 columns, dense 4 -> dense 3; 27 parameters", "AdamW"):
        assert words in found.out
    assert found.out.splitlines()[-1] == "resume by   chainrule resume out"
    facts = run("show", last, "--json").json["checkpoint"]
    assert (facts["epochs"], facts["batches"], len(facts["history"]["loss"])) == (3, 0, 3)
    assert facts["arrays"]["parameters.dense0.W"] == {"shape": [2, 4], "dtype": "float32"}


def test_a_checkpoint_is_no_model_and_what_it_is_is_said(run, last, flowers):
    found = run("predict", last, flowers)
    assert (found.code, "is a chainrule checkpoint, but not a chainrule model" in found.error) == (3, True)
    assert "chainrule resume RUN" in found.err


def test_a_hostile_checkpoint_is_shown_on_a_few_lines(run, last):
    found = Checkpoint.read(last)
    words = [*(word.replace("\ud800", "") for word in NASTY), "x" * 100_000]
    nasty: dict[str, Any] = {word: word for word in words}
    layers = {"layers": [{"kind": word, "n_out": words} for word in words], "loss": nasty, "optimizer": {"name": nasty}}
    dataclasses.replace(found, settings=nasty | layers, machine=nasty, rows={"rows": nasty}).write(last)
    for options in ([], ["--json"]):
        shown = run("show", last, *options)
        assert shown.code == 0, shown.err
        assert is_clean(shown.out)
        assert options or len(shown.out) < 20_000


@pytest.mark.parametrize("value", ["{}", "[" * 39 + "]" * 39, "[" * 400 + "]" * 400])
def test_descriptions_are_of_few_levels(run, last, value):
    """What is nested deeper than Python prints is refused before anything prints it."""
    found = Checkpoint.read(last)
    dataclasses.replace(found, settings={"layers": json.loads(value)}).write(last)
    shown = run("show", last)
    assert shown.code == (0 if value == "{}" else 3)
    assert shown.code == 0 or "nested too much" in shown.error


def test_show_sizes_of_weights_whose_squares_are_not_finite(run, tmp_path):
    net = cr.MLP([2, 1], loss="squared_error", dtype="float64")
    net.parameters()["dense0.W"][...] = [[3e300], [4e300]]
    net.save(tmp_path / "m")
    found = run("show", "m")
    assert found.code == 0
    assert "4e+300" in found.out
    assert "3.54e+300" in found.out
