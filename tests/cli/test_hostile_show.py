"""``show`` of what someone else made: one line or a table, without control characters, whatever the files hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr

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
