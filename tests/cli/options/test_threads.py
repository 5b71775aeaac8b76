"""--threads: how many threads a step may be divided among, in every command that trains."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import chainrule as cr
from chainrule.backends.compiled import loading
from chainrule.backends.compiled.state import LOOPS, Loops
from chainrule.cli.runs.files import CONFIG
from chainrule.cli.runs.record import RECORD
from chainrule.train import trainer

QUICK = ("--epochs", 2, "--hidden", 4, "--device", "cpu", "--quiet")


@pytest.fixture
def asked(monkeypatch) -> list[int | None]:
    """The threads that each fit asks for."""
    found: list[int | None] = []
    real = trainer.work_of

    def work_of(*arguments: Any) -> Any:
        work = real(*arguments)
        found.append(work.threads)
        return work

    monkeypatch.setattr(trainer, "work_of", work_of)
    return found


@pytest.fixture
def loaded() -> Iterator[None]:
    """The compiled loops; afterwards as it was before."""
    pytest.importorskip("numba", reason="numba is not installed")
    before = dict(vars(LOOPS))
    vars(LOOPS).update(vars(Loops()))
    loading.load()
    yield
    vars(LOOPS).update(before)


def test_train_cv_and_a_config_take_them(run, asked):
    assert run("train", "digits", *QUICK, "--threads", 3, "--run-dir", "one").code == 0
    assert tomllib.loads(Path("one", CONFIG).read_text())["threads"] == 3
    assert run("train", "--config", "one/config.toml", "--run-dir", "two").code == 0
    assert run("train", "--config", "one/config.toml", "--threads", 2, "--run-dir", "three").code == 0
    assert run("cv", "digits", *QUICK, "--threads", 1, "--folds", 2).code == 0
    assert asked == [3, 3, 2, 1, 1]
    assert run("train", "digits", *QUICK, "--run-dir", "four").code == 0
    assert asked[5:] == [None]
    assert "# threads: none" in Path("four", CONFIG).read_text()


@pytest.mark.parametrize("wrong", ["0", "-1", "x", "1.5"])
@pytest.mark.parametrize("command", [("train", "digits"), ("cv", "digits"), ("resume", "somewhere")])
def test_a_number_of_threads_is_from_1_up(run, command, wrong):
    found = run(*command, f"--threads={wrong}")
    assert (found.code, found.error) == (2, f"--threads: expected a whole number from 1 up, got '{wrong}'")


def test_threads_in_a_config_are_checked(run):
    Path("my.toml").write_text('data = "digits"\nthreads = 0\n')
    found = run("train", "--config", "my.toml")
    assert found.code == 2
    assert "threads" in found.error


def half_done(run) -> None:
    """A run that was cut off, but for what it had done."""
    assert run("train", "digits", *QUICK, "--threads", 3, "--run-dir", "out", "--overwrite").code == 0
    record = json.loads(Path("out", RECORD).read_text())
    Path("out", RECORD).write_text(json.dumps(record | {"status": "running"}))


def test_a_resumed_run_may_have_another_number_where_that_decides_no_bits(run, asked, monkeypatch):
    monkeypatch.setenv("CHAINRULE_COMPILED", "0")
    for options, expected in (((), 3), (("--threads", 1), 1)):
        half_done(run)
        assert run("resume", "out", "--quiet", *options).code == 0
        assert asked[-1] == expected


@pytest.mark.usefixtures("loaded")
def test_a_resumed_run_may_have_another_number_anywhere(run, asked):
    half_done(run)
    found = run("resume", "out", "--quiet", "--threads", 1)
    assert (found.code, "threads 3 -> 1" in found.error, "--anywhere" in found.err) == (2, True, True)
    assert run("resume", "out", "--quiet", "--threads", 1, "--anywhere").code == 0
    assert asked[-1] == 1


def test_the_estimators_take_them(asked, rng):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed")
    X = rng.normal(size=(60, 3))
    cr.MLPRegressor(threads=3, max_iter=1, device="cpu").fit(X, X[:, 0])
    cr.MLPClassifier(threads=2, max_iter=1, device="cpu", preset=None).fit(X, X[:, 0] > 0)
    assert asked[0] == 3
    assert len(asked) > 2, "folds that shrink the plain net"
    assert set(asked[1:]) == {2}


@pytest.mark.usefixtures("loaded")
def test_run_json_says_how_it_was_computed(run, monkeypatch):
    def execution(folder: str) -> dict[str, Any]:
        assert run("train", "digits", *QUICK, "--threads", 1, "--run-dir", folder).code == 0
        return json.loads(Path(folder, RECORD).read_text())["execution"]

    monkeypatch.setenv("CHAINRULE_COMPILED", "0")
    assert execution("numpy")["implementation"] == "NumPy: CHAINRULE_COMPILED=0"
    monkeypatch.delenv("CHAINRULE_COMPILED")
    found = execution("compiled")
    assert (found["implementation"], found["threads"]) == ("compiled, recorded steps", 1)
