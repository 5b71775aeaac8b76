"""scripts/gpu-check itself, as it is called: no device, too little time, Ctrl-C, a full disk, a wrong command."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from gpu_check import __main__ as program
from gpu_check import facts, stages
from gpu_check.items import PASSED, Item, Result

from chainrule.backends.cupy.detection import driver_problem

ROOT = Path(__file__).parents[2]
COMMAND = [str(ROOT / "scripts" / "gpu-check")]
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a script of bash")


def environment(**more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "GPU_CHECK"))}
    return {**kept, "PYTHON": sys.executable, **more}


def gpu_check(*arguments: object, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        env=environment(**more),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def found_in(folder: Path, stage: str = "alive") -> dict:
    return json.loads((folder / f"{stage}.json").read_text(encoding="utf-8"))


@pytest.mark.skipif(driver_problem() is None, reason="there is a CUDA device")
@pytest.mark.parametrize("stage", stages.NAMES)
def test_without_a_device_every_item_says_so(tmp_path, stage):
    ended = gpu_check(stage, tmp_path / "out")
    assert (ended.returncode, ended.stderr) == (4, "")
    found = found_in(tmp_path / "out", stage)
    assert found["ended"].startswith("no device: no CUDA driver") or "cuInit" in found["ended"]
    assert {(item["outcome"], item["ran"]) for item in found["items"]} == {("not reached", False)}
    assert found["exit_code"] == 4
    assert "; exit code 4; no device: " in ended.stdout.splitlines()[-1]


def test_a_stage_whose_time_is_over_has_tried_what_it_could(tmp_path):
    ended = gpu_check("alive", tmp_path, GPU_CHECK_DEVICE="cpu", GPU_CHECK_SECONDS="5.9", GPU_CHECK_COMMIT="abc")
    assert ended.returncode == 1, ended.stderr
    found = found_in(tmp_path)
    outcomes = [item["outcome"] for item in found["items"]]
    assert (outcomes[0], outcomes[-1]) == ("passed", "not reached")
    assert (found["ended"], found["items"][-1]["why"]) == ("complete", "the time was over")
    assert (found["facts"]["commit"], found["facts"]["packages"]["numpy"][0]) == ("abc", "2")
    assert ended.stdout.splitlines()[0].startswith("passed ")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["alive.json", "alive.log", "alive.txt"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupted_stage_tells_what_it_has_found(tmp_path, number, code):
    process = subprocess.Popen(
        [*COMMAND, "alive", str(tmp_path)], env=environment(GPU_CHECK_DEVICE="cpu"), stdout=subprocess.PIPE, text=True
    )
    first = process.stdout.readline()
    process.send_signal(number)
    rest = process.communicate(timeout=60)[0]
    assert first.startswith("passed ")
    assert process.returncode == code
    assert rest.rstrip().endswith(f"exit code {code}; interrupted by {number.name}")
    outcomes = [item["outcome"] for item in found_in(tmp_path)["items"]]
    assert outcomes[0] == "passed"
    assert set(outcomes[2:]) == {"not reached"}


def test_a_full_disk_does_not_keep_the_answer_back(tmp_path):
    """Nothing at all can be written: the limit of a file's size is 0."""
    limited = 'trap "" XFSZ; ulimit -f 0; exec "$@"'
    command = ["bash", "-c", limited, "bash", *COMMAND, "alive", str(tmp_path / "out")]
    variables = environment(GPU_CHECK_DEVICE="cpu", GPU_CHECK_SECONDS="5.9", PYTHONDONTWRITEBYTECODE="1")
    ended = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 1, ended.stderr
    assert "passed " in ended.stdout
    assert re.search(r"error: alive\.json could not be written: .*too large", ended.stdout)
    assert ended.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["dead", "out"], "invalid choice: 'dead'"),
        (["alive"], "required: FOLDER"),
        (["tests", "file/out"], "FOLDER: expected a folder that can be made, got "),
        (["tests", "out", "--after", "none.json"], "--after: there is no none.json"),
        (["tests", "out", "--after", "file"], "--after: expected the JSON of an earlier stage, got "),
    ],
)
def test_a_wrong_command_is_refused_before_anything_runs(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    Path("file").write_text("[]")
    ended = gpu_check(*arguments, GPU_CHECK_DEVICE="cpu")
    assert ended.returncode == 2
    assert said in ended.stderr
    assert ended.stdout == ""


def test_what_has_passed_is_known_over_several_runs(tmp_path):
    path = tmp_path / "tests.json"
    path.write_text(json.dumps({"items": [{"passed": ["a"], "passed_before": ["b"]}, {"name": "import"}]}))
    assert program.finished_in(path) == {"a", "b"}
    assert program.finished_in(None) == frozenset()


def test_a_fault_of_the_program_itself_costs_one_item(tmp_path, monkeypatch):
    def breaks(*_):
        raise KeyError("nothing")

    items = [Item("breaks", 9, breaks), Item("follows", 9, lambda *_: Result(PASSED))]
    monkeypatch.setattr(program.stages, "items_of", lambda *_: items)
    handler = signal.getsignal(signal.SIGINT)
    assert program.run_stage("alive", tmp_path, "cpu") == 1
    assert signal.getsignal(signal.SIGINT) is handler
    found = found_in(tmp_path)["items"]
    assert [(item["outcome"], item["why"]) for item in found] == [
        ("failed", "gpu-check itself: KeyError: 'nothing'"), ("passed", "")
    ]  # fmt: skip
    assert "Traceback" in (tmp_path / "alive.log").read_text()


def test_the_sources_are_those_of_this_checkout_and_no_script_hides_a_test():
    given = {"PYTHONPATH": f"{ROOT / 'scripts'}{os.pathsep}/elsewhere", "CHAINRULE_GRAPHS": "0"}
    found = program.environment_of(given)
    assert found["PYTHONPATH"].split(os.pathsep) == [str(ROOT / "src"), "/elsewhere"]
    assert found["CHAINRULE_GRAPHS"] == "0"


def test_a_copy_without_git_is_known_by_its_sources(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.py").write_text("a = 1")
    first = facts.digest(tmp_path)
    assert len(first) == 16
    (tmp_path / "src" / "a.pyc").write_text("no source")
    assert facts.digest(tmp_path) == first
    (tmp_path / "src" / "a.py").write_text("a = 2")
    assert facts.digest(tmp_path) != first
    assert facts.commit(tmp_path, dict(os.environ)) is None


def test_the_page_explains_every_item_and_names_what_is_there():
    """docs/first-card.md: a row for each item of ``alive``; paths are checked by tests/test_docs.py."""
    page = ROOT / "docs" / "first-card.md"
    if not page.is_file():
        pytest.skip("the pages are not beside the tests")
    text = page.read_text(encoding="utf-8")
    table = text.partition("## What a failure of `alive` means")[2].partition("Some messages")[0]
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    named = [name for row in rows for name in re.findall("`([^`]+)`", row)]
    assert named == [item.name for item in stages.items_of("alive", "cuda")]
    sources = "".join(p.read_text(encoding="utf-8") for p in (ROOT / "src").rglob("*.py"))
    for constant in re.findall(r"`(?!CUDA_|CUPY_)([A-Z][A-Z_]+)(?: = \w+)?`", table):
        assert re.search(rf"^{constant}\b.* = ", sources, re.MULTILINE), constant
    for variable in re.findall(r"`(CHAINRULE_\w+)=", text):
        assert f'"{variable}"' in sources, variable


def test_a_driver_that_hangs_is_told(monkeypatch):
    monkeypatch.setattr(facts, "DRIVER", "import time; time.sleep(60)")
    real = facts.run
    monkeypatch.setattr(facts, "run", lambda command, seconds, environment: real(command, 0.5, environment))
    assert facts.driver_problem(sys.executable, dict(os.environ)).startswith("the CUDA driver did not answer within")
