"""A pytest plugin, ``-p gpu_check_recorder``: writes down what happens, so that nothing is lost with the process.

GPU_CHECK_RECORD   the file, a JSON object per line; written by the process that starts the workers, or the only one
GPU_CHECK_DONE     a file with the names of tests, one per line, that are not to be run again
GPU_CHECK_EVERY    one test in so many is run
GPU_CHECK_TEST_SECONDS   after which a test that hangs ends its process, with its stack on stderr
GPU_CHECK_OPENING_SECONDS   more, for the first test of a process, which opens the device
"""

from __future__ import annotations

import faulthandler
import json
import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

MOST_SHOWN, LONGEST = 200, 6000  # tracebacks, one for each message, and characters of each


def pytest_configure(config: pytest.Config) -> None:
    is_worker, has_workers = hasattr(config, "workerinput"), bool(getattr(config.option, "numprocesses", None))
    if not is_worker and (path := os.environ.get("GPU_CHECK_RECORD")):
        config.pluginmanager.register(Record(Path(path)))
    if is_worker and (known := known_files(os.environ.get("GPU_CHECK_RECORD"))):
        config.pluginmanager.register(OnlyFiles({config.rootpath / name for name in known}))
    if not has_workers or is_worker:
        seconds, opening = (float(os.environ[f"GPU_CHECK_{name}_SECONDS"]) for name in ("TEST", "OPENING"))
        config.pluginmanager.register(TimeLimit(seconds, opening))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what has run before; the list is the same for all workers, also for those that are started later."""
    path, every = os.environ.get("GPU_CHECK_DONE"), int(os.environ.get("GPU_CHECK_EVERY", "1"))
    done = set(Path(path).read_text(encoding="utf-8").splitlines()) if path and Path(path).exists() else set()
    chosen = [item for item in items[::every] if item.nodeid not in done]
    left_out = set(items) - set(chosen)
    items[:] = chosen
    if left_out:
        config.hook.pytest_deselected(items=list(left_out))


def known_files(path: str | None) -> set[str]:
    """The files of the tests that other workers have collected, if this one is started later."""
    try:
        lines = Path(path or "").read_text(encoding="utf-8").splitlines()
    except OSError:
        return set()
    found = [json.loads(line) for line in lines if line.startswith('{"kind": "collected"')]
    return {name.partition("::")[0] for one in found for name in one["ids"]}


class OnlyFiles:
    """A worker that takes the place of one that has ended need not read files of which no test will be run."""

    def __init__(self, files: set[Path]) -> None:
        self.files = files

    def pytest_ignore_collect(self, collection_path: Path) -> bool | None:
        is_other = collection_path.suffix == ".py" and collection_path not in self.files
        return True if is_other and not collection_path.is_dir() else None


class TimeLimit:
    """Ends a process in which a test takes too long, from a thread that needs no interpreter."""

    def __init__(self, seconds: float, opening: float) -> None:
        self.seconds, self.opening, self.stderr = seconds, opening, os.dup(2)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self) -> Generator[None, Any, Any]:
        faulthandler.dump_traceback_later(self.seconds + self.opening, exit=True, file=self.stderr)
        self.opening = 0.0
        try:
            return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()


class Record:
    """The lines: "collected", "broken" (a module that does not import), "begin", "test", "end"."""

    def __init__(self, path: Path) -> None:
        self.file = path.open("a", encoding="utf-8", buffering=1)
        self.began: dict[str, float] = {}
        self.is_told = False
        self.shown: set[str] = set()

    def write(self, kind: str, **facts: Any) -> None:
        self.file.write(json.dumps({"kind": kind, **facts}) + "\n")

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if not getattr(session.config.option, "numprocesses", None):
            self.write("collected", ids=[item.nodeid for item in session.items])

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        if not self.is_told:  # they are all the same
            self.is_told = True
            self.write("collected", ids=ids)

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.write("broken", id=report.nodeid, message=message_of(report))

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.began[nodeid] = time.monotonic()
        self.write("begin", id=nodeid)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when == "call" or not report.passed:
            seconds = report.duration or time.monotonic() - self.began.get(report.nodeid, time.monotonic())
            outcome = "passed" if getattr(report, "wasxfail", None) is not None and report.skipped else report.outcome
            message = "" if outcome == "passed" else message_of(report)
            facts = {"outcome": outcome, "seconds": round(seconds, 3), "message": message}
            if outcome == "failed" and message not in self.shown and len(self.shown) < MOST_SHOWN:
                self.shown.add(message)
                facts["traceback"] = report.longreprtext[-LONGEST:]
            self.write("test", id=report.nodeid, **facts)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self.write("end", code=int(exitstatus))


def message_of(report: Any) -> str:
    """The reason of a skip; else the error's first line, or the last of what there is."""
    longrepr = report.longrepr
    if isinstance(longrepr, tuple):
        return str(longrepr[2]).removeprefix("Skipped: ")[:300]
    crash = getattr(longrepr, "reprcrash", None)
    text = crash.message if crash is not None else str(longrepr).strip()
    lines = [line.removeprefix("E ").strip() for line in text.splitlines() if line.strip()]
    return (lines[0] if crash is not None else lines[-1])[:300] if lines else "no message"
