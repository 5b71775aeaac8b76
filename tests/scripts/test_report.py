"""The table fits on a screen, the JSON says of every item what became of it, and no disk stops the answer."""

from __future__ import annotations

import json

import pytest
from gpu_check import report as reports
from gpu_check.items import ABSENT, FAILED, NOT_REACHED, PASSED, Item, Result
from gpu_check.report import Report

FACTS = {
    "device": "cuda",
    "card": {"name": "NVIDIA H200", "driver_version": "580.1"},
    "packages": {"numpy": "2.5.2", "cupy-cuda13x": "14.2.0"},
    "python": "3.12.3",
    "commit": "abc",
    "sources": "def",
    "date": "2026-11-30",
}
ITEMS = [Item(name, 9, lambda *_: Result(PASSED), (f"{name}.csv",)) for name in ("one", "two", "three", "four")]


def written(report: Report) -> dict:
    return json.loads((report.folder / f"{report.stage}.json").read_text(encoding="utf-8"))


def test_every_item_is_in_the_table_and_in_the_json(tmp_path, capsys):
    report = Report("alive", tmp_path, FACTS, ITEMS)
    report.add(ITEMS[0], Result(PASSED, "fine", 1.25, {"counts": {"ran": 3}}, "said", ["a figure"]))
    report.add(ITEMS[1], Result(FAILED, "cudaErrorX", 2.0, log="traceback"))
    report.begin(ITEMS[2])
    assert written(report)["items"][2]["outcome"] == "running", "in case this is the last that is written"
    report.finish("interrupted by SIGTERM", 143)
    found = written(report)
    assert (found["stage"], found["ended"], found["exit_code"]) == ("alive", "interrupted by SIGTERM", 143)
    assert [(i["name"], i["outcome"], i["ran"], i["why"]) for i in found["items"]] == [
        ("one", "passed", True, "fine"),
        ("two", "failed", True, "cudaErrorX"),
        ("three", "failed", True, "interrupted by SIGTERM"),
        ("four", "not reached", False, "interrupted by SIGTERM"),
    ]
    assert (found["items"][0]["seconds"], found["items"][0]["counts"]) == (1.25, {"ran": 3})
    assert found["facts"]["card"]["name"] == "NVIDIA H200"
    table = (tmp_path / "alive.txt").read_text()
    assert capsys.readouterr().out.endswith(table)
    lines = table.splitlines()
    assert lines[0].startswith(
        "alive: NVIDIA H200, driver 580.1, Python 3.12.3, numpy 2.5.2, cupy-cuda13x 14.2.0; abc,"
    )
    assert [line.split()[0] for line in lines[1:5]] == ["passed", "FAILED", "FAILED", "not"]
    assert lines[5:8] == ["", "one:", "a figure"]
    assert lines[-1].startswith("alive: 1 passed, 2 failed, 1 not reached; ")
    assert "===== two: failed, 2.0 s; cudaErrorX\ntraceback" in (tmp_path / "alive.log").read_text()


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ((PASSED, PASSED, PASSED, PASSED), 0),
        ((PASSED, PASSED, PASSED, ABSENT), 0),
        ((ABSENT, ABSENT, ABSENT, ABSENT), 1),
        ((PASSED, PASSED, PASSED, NOT_REACHED), 1),
        ((PASSED, PASSED, FAILED, PASSED), 1),
        ((PASSED, PASSED, PASSED), 1),
        ((), 1),
    ],
)
def test_the_exit_code_is_0_only_if_something_passed_and_nothing_is_missing(tmp_path, outcomes, code):
    report = Report("tools", tmp_path, FACTS, ITEMS)
    for item, outcome in zip(ITEMS, outcomes, strict=False):
        report.add(item, Result(outcome))
    assert report.code == code


def test_the_table_is_one_screen_and_the_files_are_few_and_small(tmp_path, monkeypatch):
    monkeypatch.setattr(reports, "LARGEST", 1000)
    (tmp_path / "one.csv").write_text("of an earlier run")
    (tmp_path / "of-others.txt").write_text("kept")
    report = Report("tests", tmp_path, FACTS, ITEMS)
    assert not (tmp_path / "one.csv").exists()
    (tmp_path / "two.csv").write_bytes(bytes(5000))
    for item in ITEMS:
        report.add(item, Result(FAILED, "w" * 500, log="l" * 2_000_000, lines=["x" * 500] * 50))
    report.finish("complete", 1)
    lines = (tmp_path / "tests.txt").read_text().splitlines()
    assert len(lines) <= 36
    assert max(map(len, lines)) <= reports.WIDTH
    assert lines[-2] == "... 176 more lines in tests.log"
    assert (tmp_path / "two.csv").stat().st_size == 1000
    assert (tmp_path / "tests.log").stat().st_size < 4 * 700_000
    assert {p.name for p in tmp_path.iterdir()} == {
        "of-others.txt",
        "two.csv",
        *(f"tests.{e}" for e in ("json", "txt", "log")),
    }


def test_files_that_cannot_be_written_are_told_and_fail_the_stage(tmp_path, capsys):
    for kind in ("json", "log", "txt"):
        (tmp_path / f"alive.{kind}").mkdir()
    report = Report("alive", tmp_path, FACTS, ITEMS)
    for item in ITEMS:
        report.begin(item)
        report.add(item, Result(PASSED))
    assert report.code == 1
    report.finish("complete", report.code)
    said = capsys.readouterr().out
    assert "alive: 4 passed; " in said
    assert said.count("could not be written") == 3
    assert not (tmp_path / "alive.json.part").exists()
