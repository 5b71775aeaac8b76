"""Files made to do harm: a ModelFileError or a net, in bounded memory and time.

campaigns/model_files.py tries more of them.
"""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

import chainrule as cr
from campaigns import model_files
from chainrule.files import model_file, sealed_file

CASES = 150


def test_hostile_files_are_opened_or_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_COMPILED", "0")  # loops that load themselves midway are no one's fault
    counts, findings = model_files.run(range(CASES), tmp_path)
    assert findings == {}
    assert sum(counts.values()) == CASES
    assert min(counts.values()) > CASES // 30, "both happen, or this tries nothing"


HUBER = {"name": "huber", "delta": 0.5}
WIDE = {"layers": [{"kind": "dense", "n_out": "x" * 10_000}]}
LIMIT = {"targets.mean": np.zeros(1), "targets.scale": np.ones(1), "targets.limit": np.ones(1)}
FOUND = {  # by it, once: what the file says otherwise, arrays of its own, what it is refused with
    "a number beyond every float": (
        {"loss": HUBER | {"delta": 10**400}},
        {},
        "delta: expected a finite number above 0, got 1000",
    ),
    "a parameter beyond float32": ({}, {"parameters.dense0.W": np.full((2, 1), 1e300)}, "W does not fit float32"),
    "targets with a limit": ({}, LIMIT, "targets.limit: expected no such array"),
    "a long name": (WIDE, {}, "n_out: expected a whole number from 1 up, got 'xxx"),
    "a long number": ({"n_in": 10**4000}, {}, "expected shape"),
}


@pytest.mark.parametrize("name", FOUND)
def test_what_was_found_is_refused_in_a_few_words(tmp_path, name):
    changes, arrays, match = FOUND[name]
    cr.MLP([2, 1], loss=cr.Huber(delta=0.5)).save(tmp_path / "m")
    description, tensors = model_file.read(tmp_path / "m")
    model_file.write(tmp_path / "m", description | changes, tensors | arrays)
    with pytest.raises(cr.ModelFileError, match=match) as caught:
        cr.load(tmp_path / "m", device="cpu")
    assert len(caught.value.message) < 400


@pytest.mark.parametrize("version", [True, 1.0, "1" * 10_000], ids=lambda v: repr(v)[:5])
def test_a_version_that_is_no_whole_number(tmp_path, version):
    description: dict[str, Any] = {}
    envelope = {"version": version, "description": description, "sha256": sealed_file.checksum(description, {})}
    (tmp_path / "m").write_bytes(safetensors.numpy.save({}, {model_file.FORMAT.key: json.dumps(envelope)}))
    with pytest.raises(cr.ModelFileError, match="expected format version 1 to ") as caught:
        cr.load(tmp_path / "m")
    assert len(caught.value.message) < 400


def test_a_description_of_brackets_costs_no_memory(tmp_path):
    text = '{"version": 1, "sha256": "", "description": [' + "[]," * 1_000_000 + "[]]}"
    (tmp_path / "m").write_bytes(safetensors.numpy.save({}, {model_file.FORMAT.key: text}))
    tracemalloc.start()
    try:
        with pytest.raises(cr.ModelFileError, match="nested too deeply"):
            cr.load(tmp_path / "m")
        assert tracemalloc.get_traced_memory()[1] < 4 * len(text)
    finally:
        tracemalloc.stop()


def test_opening_a_model_takes_twice_its_arrays(tmp_path):
    """Once as they are read, once as the net has them."""
    cr.MLP([2, 3]).save(tmp_path / "small")
    cr.load(tmp_path / "small", device="cpu")  # what is imported and made once does not count
    cr.MLP([500, 600, 400, 3]).save(tmp_path / "m")
    size = (tmp_path / "m").stat().st_size
    tracemalloc.start()
    try:
        cr.load(tmp_path / "m", device="cpu")
        assert tracemalloc.get_traced_memory()[1] < 2.05 * size
    finally:
        tracemalloc.stop()
