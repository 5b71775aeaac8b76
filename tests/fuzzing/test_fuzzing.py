"""A few inputs of each target, without atheris: every one comes to what it should, and more than one outcome comes."""

from __future__ import annotations

import io
import random
import zipfile
from pathlib import Path

import pytest

from chainrule.errors import DataError

pytest.importorskip("pyarrow")  # some of the files that are fuzzed are written by it
from fuzzing import limits
from fuzzing.__main__ import again, main
from fuzzing.array_files import resealed
from fuzzing.choices import Choices
from fuzzing.limits import outcome_of
from fuzzing.names import TARGETS

INPUTS = {"checkpoint": 10, "toml": 12}  # the slow ones; of others
OTHERS = 60


@pytest.mark.parametrize("name", TARGETS)
def test_drawn_files_are_read_or_refused(tmp_path, name, monkeypatch):
    monkeypatch.setenv("CHAINRULE_COMPILED", "0")  # loops that load themselves midway are no one's fault
    target, rng = TARGETS[name](tmp_path), random.Random(0)
    count, seeds = INPUTS.get(name, OTHERS), target.seeds()
    drawn = [rng.choice(seeds)[:2] + rng.randbytes(rng.randint(4, 200)) for _ in range(count)]
    found = [(data, target.outcome(data)) for data in [*rng.sample(seeds, min(count, len(seeds))), *drawn]]
    assert [(data, outcome) for data, outcome in found if not target.is_good(outcome)] == []
    assert len({outcome.said for _, outcome in found}) > 1, "both happen, or this tries nothing"


def test_choices_are_made_by_bytes_alone():
    def draw(data):
        choices = Choices(data)
        return choices.choice("abc"), choices.randrange(1000), choices.sample(range(9), 2), choices.random()

    assert draw(b"\1\5\1\2\2\x80") == draw(b"\1\5\1\2\2\x80")
    assert draw(b"\1\5\1\2\2\x80")[:2] == ("b", 261)
    assert draw(b"")[0] == "a", "where there are no bytes left it is the first"


def _raise(error: Exception) -> str:
    raise error


def _spin() -> str:
    while True:
        pass


@pytest.mark.parametrize(
    ("use", "said"),
    [
        (lambda: "read", "read"),
        (lambda: _raise(DataError("no")), "refused"),
        (lambda: _raise(KeyError("x")), "KeyError"),
        (lambda: _raise(DataError("x" * 9000)), "a message of 9000 characters"),
        (_spin, "TooSlowError"),
        (lambda: "read" * (len(b"x" * (64 << 20)) > 0), "bytes of memory"),
    ],
)
def test_a_case_may_end_in_an_error_of_the_library_within_its_limits(use, said, monkeypatch):
    monkeypatch.setattr(limits, "SECONDS", 0.2)
    monkeypatch.setattr(limits, "MEMORY", 8 << 20)
    if said == "bytes of memory" and not limits._resident(reset=True):
        pytest.skip("this system does not say how much memory a process had")
    assert said in outcome_of(use, refusal=DataError).said


def test_an_archive_with_other_members_gets_their_checksums(tmp_path):
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("X.npy", b"some bytes")
    other = packed.getvalue().replace(b"some bytes", b"else bytes")
    with zipfile.ZipFile(io.BytesIO(resealed(other))) as archive:
        assert archive.read("X.npy") == b"else bytes"
    assert resealed(b"no archive") == b"no archive"


def test_what_was_found_is_tried_again(tmp_path, capsys):
    (tmp_path / "csv-1").write_bytes(b"\1a,b\n1,2\n")
    assert again(Path(tmp_path / "csv-1"))
    assert "right: " in capsys.readouterr().out


def test_without_atheris_fuzzing_is_skipped_with_its_reason(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["fuzzing", "1"])
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert main() == 0
    assert "fuzzing skipped: no atheris for" in capsys.readouterr().err
