"""What the programs of the stages say is understood: exit codes alone would pass a device that does not work."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from gpu_check import figures, programs, stages, tools
from gpu_check.items import ABSENT, FAILED, NOT_REACHED, PASSED, Item, Result, error_line, last_line
from gpu_check.running import Ended

ROOT = Path(__file__).parents[2]
WORKS = {"device": "cuda:0", "works": True, "about": "H200", "problem": "", "hint": ""}


def ended(found: object, code: int = 0, stderr: str = "") -> Ended:
    return Ended(code, 1.0, found if isinstance(found, str) else json.dumps(found), stderr, False)


@pytest.mark.parametrize(
    ("found", "right", "what"),
    [
        ({"devices": [WORKS]}, True, "cuda:0: H200"),
        ({"devices": [WORKS | {"works": False, "problem": "no driver"}]}, False, "cuda:0: no driver; "),
        ({"devices": [{"device": "cpu", "works": True, "about": ""}]}, False, "no device cuda in: "),
        ("Traceback", False, "no device cuda in: Traceback"),
    ],
)
def test_doctor_has_to_see_a_device_that_works(found, right, what):
    judged, told = programs.sees_a_device("cuda")(ended(found))
    assert judged == right
    assert told.startswith(what)


def test_the_digits_have_to_be_learnt():
    right = {"left_out": {"accuracy": 0.97}, "epochs": 30, "seconds": 1.5}
    assert programs.has_learnt(ended(right)) == (True, "accuracy 0.970 after 30 epochs, 1.5 s")
    assert not programs.has_learnt(ended(right | {"left_out": {"accuracy": 0.5}}))[0]
    for nothing in ({}, {"left_out": None}, "", "[]"):
        assert programs.has_learnt(ended(nothing))[1].startswith("no accuracy in")


def test_verify_has_to_prove_something():
    ok, wrong = ({"name": n, "status": s, "detail": "1e-9"} for n, s in (("a", "ok"), ("b", "FAILED")))
    assert programs.proves_all(ended({"checks": [ok, ok]})) == (True, "2 ok")
    assert programs.proves_all(ended({"checks": [ok, wrong]})) == (False, "1 of 2 failed; b: 1e-9")
    assert programs.proves_all(ended({"checks": []}))[0] is False


def test_a_program_that_fails_is_told_by_its_error():
    stderr = "warning\nerror: cuda cannot be used: no driver\nhint: install it\n"
    assert programs.result_of(ended("", 4, stderr)).why == "exit 4: error: cuda cannot be used: no driver"
    assert (
        programs.result_of(ended("", 1, "Traceback\n  File\nImportError: no cupy\n\n")).why
        == "exit 1: ImportError: no cupy"
    )
    traceback = "Traceback\n  File\nchainrule.errors.DeviceError: no driver\nhint: install it\n"
    assert programs.result_of(ended("", 1, traceback)).why == "exit 1: chainrule.errors.DeviceError: no driver"
    assert programs.result_of(ended("", -9)).why == "ended by SIGKILL"
    assert (error_line(""), last_line("\n\n")) == ("", "")


def test_two_models_are_compared_to_the_last_bit(context):
    item = programs.same_bits("bits", "one", "other")
    assert item.act(context, 9).outcome == NOT_REACHED
    for folder in ("one", "other"):
        (context.scratch / folder).mkdir()
        (context.scratch / folder / "model.safetensors").write_bytes(b"same")
    assert item.act(context, 9).outcome == PASSED
    (context.scratch / "other" / "model.safetensors").write_bytes(b"samE")
    assert item.act(context, 9).outcome == FAILED


def test_a_program_that_does_not_import_chainrule_is_told(context):
    broken = dataclasses.replace(context, environment={**context.environment, "PYTHONPATH": str(context.root)})
    (context.root / "chainrule.py").write_text("raise ImportError('libcublasLt.so.13: cannot open')")
    result = programs.imports("cuda").act(broken, 60)
    assert (result.outcome, result.why) == (FAILED, "exit 1: ImportError: libcublasLt.so.13: cannot open")


# ---- figures ------------------------------------------------------------------------------------------------


def test_what_a_comparison_measured_is_told_and_what_it_lacks():
    case = {"competitors": {"chainrule": {"median": 1.0}, "torch": {"median": 2.0}}}
    found = {"competitors": {"jax-scan": {"absent": "jax is not installed"}}, "cases": {"d fp32": case}, "faults": []}
    result = figures.told(
        Result(PASSED), found, ["chainrule", "torch", "jax-scan"], "loaded\n\nH200; us a step\nd 1 2\n"
    )
    assert (result.outcome, result.why) == (PASSED, "figures of 1 cases: d fp32; without jax-scan")
    assert result.lines == ["H200; us a step", "d 1 2"]
    faulty = figures.told(Result(FAILED, "exit 1"), found | {"faults": ["d: other bits"]}, ["chainrule"], "")
    assert (faulty.outcome, faulty.why) == (FAILED, "1 faults: d: other bits")
    skipped = {"cases": {"d fp32": {"skipped": "the budget was spent", "competitors": {}}}}
    nothing = figures.told(Result(PASSED), skipped, ["chainrule"], "")
    assert (nothing.outcome, nothing.why) == (FAILED, "no figure: the budget was spent")
    alone = figures.told(Result(PASSED), found, ["jax-scan"], "")
    assert (alone.outcome, alone.why) == (ABSENT, "jax is not installed")


def test_a_file_that_is_not_whole_is_no_figure(tmp_path):
    for text in ("", "{", "[]"):
        (tmp_path / "found.json").write_text(text)
        assert figures.read(tmp_path / "found.json") == {}
    assert figures.read(tmp_path / "none.json") == {}


# ---- tools --------------------------------------------------------------------------------------------------

REPORTS = """========= COMPUTE-SANITIZER
========= Invalid __global__ read of size 4 bytes
=========     at softmax_cross_entropy+0x10
========= ERROR SUMMARY: 1 error
"""
CLEAN = "========= COMPUTE-SANITIZER\n5 passed\n========= ERROR SUMMARY: 0 errors\n"
RACES = "========= Error: Race reported between Write access at x and Read access at y [4 hazards]\n"


def test_an_error_that_a_sanitizer_reports_is_a_failure_whatever_the_tests_say():
    counts = {"passed": 5, "failed": 0, "not_reached": 0}
    assert tools.sanitized(Result(PASSED, "5 passed", more={"counts": counts}, log=CLEAN)).outcome == PASSED
    found = tools.sanitized(Result(PASSED, "5 passed", more={"counts": counts}, log=REPORTS))
    assert (found.outcome, found.why) == (FAILED, "2 reports: Invalid __global__ read of size 4 bytes")
    assert tools.sanitized(Result(PASSED, "", more={"counts": counts}, log=RACES)).outcome == FAILED
    late = Result(FAILED, "3 of 8 not reached; stopped", more={"counts": counts | {"not_reached": 3}}, log=CLEAN)
    assert tools.sanitized(late).why == "5 passed, nothing reported; 3 not reached in time"
    assert late.outcome == PASSED
    none = Result(FAILED, "8 of 8 not reached", more={"counts": counts | {"passed": 0, "not_reached": 8}}, log="")
    assert tools.sanitized(none).outcome == FAILED


def install(tmp_path, monkeypatch, name: str, script: str) -> None:
    path = tmp_path / name
    path.write_text(f"#!/usr/bin/env bash\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(tools, "tool", lambda wanted: str(path) if wanted == name else None)


SKIP_OPTIONS = 'while [ "$1" != "$PYTHON_OF_TEST" ]; do case $1 in --log-file) log=$2;; esac; shift; done'


def test_tests_run_under_a_sanitizer(tmp_path, monkeypatch, context, project):
    project(layers="@pytest.mark.parametrize('i', range(50))\ndef test_layers(i): pass")
    monkeypatch.setattr(tools, "FUSED", ["tests"])
    script = f'echo "$1 $2"; {SKIP_OPTIONS}; "$@"; echo "========= ERROR SUMMARY: 0 errors"'
    install(tmp_path, monkeypatch, "compute-sanitizer", script)
    environment = {**context.environment, "PYTHON_OF_TEST": context.python}
    result = tools.sanitizer("memcheck", 60).act(dataclasses.replace(context, environment=environment), 60)
    assert (result.outcome, result.why) == (PASSED, "2 passed"), result.log
    assert result.log.startswith("--tool memcheck\n")
    monkeypatch.setattr(tools, "tool", lambda _: None)
    assert tools.sanitizer("memcheck", 60).act(context, 60).outcome == ABSENT


@pytest.mark.slow
def test_one_step_runs_under_a_profiler(tmp_path, monkeypatch, context):
    if not (ROOT / "benchmarks").is_dir():
        pytest.skip("the benchmarks are not beside the tests")
    csv = r'"ID","Kernel Name"\n"0","activate"\n"0","activate"\n"1","sgd"\n'
    install(tmp_path, monkeypatch, "ncu", f"{SKIP_OPTIONS}; printf '{csv}' >$log; exec \"$@\"")
    environment = {**context.environment, "PYTHON_OF_TEST": context.python}
    here = dataclasses.replace(context, device="cpu", root=ROOT, environment=environment)
    for case in ("b", "c"):
        result = tools.profile(case, 60).act(here, 60)
        assert (result.outcome, result.why) == (PASSED, "2 launches"), result.log
        assert f"case {case} in fp32: a fit of one step took" in result.log
    install(tmp_path, monkeypatch, "ncu", "echo '==ERROR== ERR_NVGPUCTRPERM'; exit 1")
    assert tools.profile("b", 60).act(here, 60).why == "exit 1: ==ERROR== ERR_NVGPUCTRPERM"
    install(tmp_path, monkeypatch, "ncu", f"{SKIP_OPTIONS}; echo '==ERROR== no permission' >$log")
    assert tools.profile("b", 60).act(here, 60).why == "==ERROR== no permission"


# ---- stages -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", stages.NAMES)
@pytest.mark.parametrize("device", ["cuda", "cpu"])
def test_a_stage_names_each_item_once_and_writes_few_files_with_plain_names(stage, device):
    items: list[Item] = stages.items_of(stage, device)
    names = [item.name for item in items]
    assert len(set(names)) == len(names)
    files = [f"{stage}.{kind}" for kind in ("json", "log", "txt")] + [file for item in items for file in item.files]
    assert len(files) <= 8
    assert all(file.replace(".", "").replace("_", "").replace("-", "").isalnum() for file in files)
    assert all(0 < item.seconds <= stages.SECONDS < 540 for item in items)


def test_every_path_that_a_stage_names_is_there():
    source = "".join(
        (ROOT / "scripts" / "gpu_check" / f"{name}.py").read_text() for name in ("stages", "tools", "figures")
    )
    for path in ("tests/backends/cupy/gemm/test_cublaslt.py", "tests/backends/contract/test_transfers.py"):
        assert path.rpartition("/")[2] in source
    for path in [*tools.FUSED, "tests/train/feeding/test_streaming.py", "tests/train/feeding/test_streaming_errors.py"]:
        assert (ROOT / path).is_file(), path
