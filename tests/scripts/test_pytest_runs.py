"""Everything that may go wrong with tests on a card goes wrong with those of a small project, in real processes."""

from __future__ import annotations

import dataclasses

import pytest
from gpu_check import pytest_runs
from gpu_check.pytest_runs import run_tests

# What happens to the tests of a project that has it all; the rest of each process must run.
BROKEN = """
    import no_such_package
    def test_never(): pass
"""
WARNS = """
    warnings.warn("at import", DeprecationWarning)
    def test_after_a_warning(): warnings.warn("again", DeprecationWarning)
"""
MIXED = """
    def test_fails(): assert 1 + 1 == 3
    def test_is_skipped(): pytest.skip("no torch")
    @pytest.mark.parametrize("i", range(5))
    def test_passes(i): pass
    @pytest.mark.xfail(strict=True)
    def test_is_expected_to_fail(): assert False
"""
KILLED = """
    def test_before(): pass
    def test_ends_its_process(): os._exit(9)
    def test_behind(): pass
"""
HANGS = """
    def test_hangs(): time.sleep(60)
    def test_after_the_hanging_one(): pass
"""
LOST = """
    def test_loses_the_device(): cupy.lost = True
    def test_has_a_device_again(): cupy.cuda.runtime.deviceSynchronize()
    def test_loses_the_device_and_fails():
        cupy.lost = True
        cupy.cuda.runtime.deviceSynchronize()
    def test_has_one_again(): cupy.cuda.runtime.deviceSynchronize()
"""
UNMARKED = """
    pytestmark = []
    def test_on_the_cpu(): assert False
"""


@pytest.fixture(params=[0, 2], ids=["one process", "two workers"])
def workers(request, monkeypatch):
    if request.param:
        pytest.importorskip("xdist")
    monkeypatch.setattr(pytest_runs, "workers_of", lambda: request.param)
    return request.param


def short(name: str) -> str:
    return name.rpartition("::")[2]


@pytest.mark.slow
def test_no_failure_keeps_another_test_from_running(context, project, workers):
    """A module that does not import, warnings, a failure, a process that ends, one that hangs, and a lost device."""
    project(broken=BROKEN, warns=WARNS, mixed=MIXED, killed=KILLED, hangs=HANGS, lost=LOST, unmarked=UNMARKED)
    result = run_tests(context, 100, [])
    assert result.outcome == "failed"
    assert list(result.more["modules_that_do_not_import"]) == ["tests/test_broken.py"]
    assert "no_such_package" in result.more["modules_that_do_not_import"]["tests/test_broken.py"]
    failed = {short(name): one["message"] for name, one in result.more["failed"].items()}
    ended = "crashed while running" if workers else "its process ended"
    for name, message in {
        "test_fails": "assert (1 + 1) == 3",
        "test_ends_its_process": ended,
        "test_hangs": ended,
        "test_loses_the_device": "the CUDA device is lost: CUDARuntimeError: cudaErrorIllegalAddress",
        "test_loses_the_device_and_fails": "CUDARuntimeError: cudaErrorIllegalAddress",
    }.items():
        assert message in failed.pop(name), name
    assert failed == {}
    assert "def test_fails" in next(
        o["traceback"] for n, o in result.more["failed"].items() if short(n) == "test_fails"
    )
    assert result.more["skipped"] == {"no torch": 1}
    passed = {"before", "behind", "after_a_warning", "after_the_hanging_one", "is_expected_to_fail"}
    passed |= {"has_a_device_again", "has_one_again", *(f"passes[{i}]" for i in range(5))}
    assert {short(name) for name in result.more["passed"]} == {f"test_{name}" for name in passed}
    assert result.more["counts"] == {
        "ran": 17, "passed": 12, "failed": 5, "skipped": 1, "not_reached": 0, "collected": 18
    }  # fmt: skip
    assert result.why.startswith("5 of 18 failed, 1 module does not import: ")
    assert result.more["workers"] == max(workers, 1)


def test_a_stage_whose_time_is_over_says_what_was_not_reached(context, project, workers):
    project(quick="def test_passes(): pass", slow="def test_a(): time.sleep(60)\ndef test_b(): time.sleep(60)")
    patient = dataclasses.replace(context, environment={**context.environment, "GPU_CHECK_TEST_SECONDS": "100"})
    result = run_tests(patient, 4, [])
    assert result.outcome == "failed"
    assert result.why.startswith("2 of 3 not reached; stopped after ")
    assert [short(name) for name in result.more["not_reached"]] == ["test_a", "test_b"]
    assert result.more["counts"]["failed"] == 0
    assert result.seconds < 20


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("def test_skips(): pytest.skip('no cupy')", "no test passed, 1 were skipped: no cupy"),
        ("pytestmark = []\ndef test_on_the_cpu(): pass", "no test passed, 0 were skipped: none found"),
        ("def test_skips(): pytest.skip('needs a CUDA device: busy')\ndef test_passes(): pass", "1 of 2 failed: needs"),
    ],
)  # fmt: skip
def test_that_no_test_passed_is_a_failure_and_so_is_one_without_a_device(context, project, source, why):
    project(these=source)
    result = run_tests(context, 60, [], alone=True)
    assert (result.outcome, result.why[: len(why)]) == ("failed", why)


def test_a_conftest_that_does_not_import_is_told(context, project):
    root = project(these="def test_passes(): pass")
    (root / "tests" / "conftest.py").write_text("import no_such_package")
    result = run_tests(context, 60, [], alone=True)
    assert result.outcome == "failed"
    assert "no_such_package" in result.why


def test_a_module_whose_import_ends_the_process_ends_no_stage_late(context, project, workers, monkeypatch):
    monkeypatch.setattr(pytest_runs, "RESTARTS", 3)
    project(ends="os._exit(9)", these="def test_passes(): pass")
    result = run_tests(context, 100, [])
    assert result.outcome == "failed"
    assert result.seconds < 30


def test_pytest_is_started_anew_when_too_many_workers_have_ended(context, project, monkeypatch):
    pytest.importorskip("xdist")
    monkeypatch.setattr(pytest_runs, "workers_of", lambda: 2)
    monkeypatch.setattr(pytest_runs, "RESTARTS", 1)
    project(these="@pytest.mark.parametrize('i', range(8))\ndef test_ends(i): i % 2 or os._exit(9)")
    counts = run_tests(context, 100, []).more["counts"]
    assert (counts["passed"], counts["failed"], counts["not_reached"]) == (4, 4, 0)


def test_tests_that_have_passed_before_are_left_out(context, project):
    project(these="def test_a(): pass\ndef test_b(): pass\ndef test_c(): assert False")
    first = run_tests(context, 60, [], alone=True)
    again = dataclasses.replace(context, finished=frozenset(first.more["passed"]))
    result = run_tests(again, 60, [], alone=True)
    assert [short(name) for name in result.more["failed"]] == ["test_c"]
    assert result.more["counts"]["ran"] == 1
    (context.root / "tests" / "test_these.py").write_text("def test_a(): pass")
    assert run_tests(again, 60, [], alone=True).outcome == "passed", "there is nothing left to do"


def test_a_hidden_xdist_costs_its_speed_only(context, project, monkeypatch):
    monkeypatch.setattr(pytest_runs.importlib.util, "find_spec", lambda name: None)
    project(these="def test_passes(): pass")
    result = run_tests(context, 60, [])
    assert (result.outcome, result.why, result.more["workers"]) == ("passed", "1 passed", 1)


def test_a_failure_of_the_program_in_front_is_a_failure(context, project):
    """As compute-sanitizer has it: the tests pass, and the exit code says that there were errors."""
    project(these="def test_passes(): pass")
    for code, outcome in ((0, "passed"), (9, "failed")):
        wrapper = ["sh", "-c", f'"$@"; exit {code}', "sh"]
        assert run_tests(context, 60, [], wrapper=wrapper).outcome == outcome


def test_what_a_process_left_half_written_is_read(tmp_path):
    path = tmp_path / "record.jsonl"
    path.write_text('{"kind": "collected", "ids": ["a", "b"]}\n{"kind": "begin", "id": "a"}\n{"kind": "te')
    record = pytest_runs.Record()
    record.read(path)
    assert (record.not_reached, record.begun, record.code) == (["a", "b"], {"a"}, None)
    record.read(tmp_path / "none")


def test_failures_of_one_message_are_one_line():
    failed = {f"test_{i}": {"message": "cudaErrorX" if i < 30 else f"message {i}"} for i in range(60)}
    lines = pytest_runs.groups(failed, {"tests/test_m.py": "No module named 'm'"})
    assert lines[:2] == ["   30 x cudaErrorX", "        test_0"]
    assert lines[-1] == "      and 18 other messages"
