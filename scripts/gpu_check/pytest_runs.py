"""Runs tests so that neither a module that does not import, nor a lost device, nor a test that hangs stops the rest."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from gpu_check.items import FAILED, NOT_REACHED, PASSED, Context, Result, first_line
from gpu_check.running import Ended, run

NORMAL = (0, 1, 5)  # pytest's exit codes: all passed, some failed, there were none
USAGE = 4  # also a conftest.py that does not import
NO_DEVICE = "needs a CUDA device"  # how tests/conftest.py says why a test is skipped
WORKERS = 8
PLUGIN = Path(__file__).parent / "plugin"  # a folder of its own: beside scripts/train.py, tests/train would be hidden
# A cold machine reads 800 MB of libraries and compiles before the first test of a process has its device.
TEST_SECONDS, OPENING_SECONDS = 60, 120
RESTARTS = 64  # of workers, until pytest itself is started anew, if tests have been run meanwhile


@dataclasses.dataclass
class Record:
    """What the recorder wrote down, over all starts of pytest that belong together."""

    collected: dict[str, None] = dataclasses.field(default_factory=dict)  # in order
    outcomes: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    begun: set[str] = dataclasses.field(default_factory=set)
    broken: dict[str, str] = dataclasses.field(default_factory=dict)  # modules that do not import
    code: int | None = None  # pytest's exit code; None if it did not come to an end

    def read(self, path: Path) -> None:
        """Take in what a start of pytest wrote; a last line may be incomplete."""
        self.code = None
        for line in lines_of(path):
            kind = line["kind"]
            if kind == "collected":
                self.collected |= dict.fromkeys(line["ids"])
            elif kind == "broken":
                self.broken[line["id"]] = line["message"]
            elif kind == "begin":
                self.begun.add(line["id"])
            elif kind == "test":
                self.add(line["id"], line["outcome"], line["seconds"], line["message"], line.get("traceback", ""))
            else:
                self.code = line["code"]

    def add(self, name: str, outcome: str, seconds: float, message: str, traceback: str = "") -> None:
        """A test that has failed stays failed, with its first message: what else went wrong came of it."""
        self.begun.add(name)
        before = self.outcomes.get(name)
        if before is None or before["outcome"] != FAILED:
            seconds += before["seconds"] if before else 0
            self.outcomes[name] = {"outcome": outcome, "seconds": round(seconds, 3), "message": message}
            if traceback:
                self.outcomes[name]["traceback"] = traceback

    def fail_what_was_running(self, why: str) -> None:
        """Tests that were begun and did not end, when their process is gone."""
        for name in self.begun - set(self.outcomes):
            self.add(name, FAILED, 0.0, why)

    def forget_what_was_running(self) -> None:
        """The same, if it was us who ended them."""
        self.begun &= set(self.outcomes)

    def of(self, outcome: str) -> dict[str, dict[str, Any]]:
        return {name: one for name, one in self.outcomes.items() if one["outcome"] == outcome}

    @property
    def not_reached(self) -> list[str]:
        return [name for name in self.collected if name not in self.outcomes]


def lines_of(path: Path) -> Iterator[dict[str, Any]]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        return
    for line in text.splitlines():
        try:
            yield json.loads(line)
        except json.JSONDecodeError:  # the process ended while it wrote it
            continue


def run_tests(
    context: Context,
    seconds: float,
    select: Sequence[str],
    *,
    keyword: str = "",
    tuned: bool = False,
    alone: bool = False,
    wrapper: Sequence[str] = (),
) -> Result:
    """Run the gpu tests that ``select``, pytest's arguments, names; again for the rest if pytest itself ends early.

    ``keyword`` is an expression for names of tests, ``tuned`` lets products be timed, ``alone`` asks for one process,
    and ``wrapper`` is a program in front of Python, which gets one process too.
    """
    start, record, log = time.monotonic(), Record(), []
    done, lines = context.scratch / "done.txt", context.scratch / "record.jsonl"
    environment = {
        **context.environment,
        "PYTHONPATH": os.pathsep.join([str(PLUGIN), context.environment["PYTHONPATH"]]),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # plugins that happen to be installed may do anything
        "GPU_CHECK_RECORD": str(lines),
        "GPU_CHECK_DONE": str(done),
    }
    environment.setdefault("GPU_CHECK_TEST_SECONDS", str(TEST_SECONDS))
    environment.setdefault("GPU_CHECK_OPENING_SECONDS", str(OPENING_SECONDS))
    workers = 0 if wrapper or alone else workers_of()
    environment.setdefault("OPENBLAS_NUM_THREADS", "1")  # several processes and tiny nets: threads would only spin
    if not tuned:
        environment.setdefault("CHAINRULE_TUNE", "0")
    if context.on_card and workers > 1:
        environment.setdefault("CUPY_GPU_MEMORY_LIMIT", f"{64 // workers}%")
    while True:
        before = len(record.outcomes)
        lines.unlink(missing_ok=True)
        done.write_text("".join(f"{name}\n" for name in [*context.finished, *record.outcomes]), encoding="utf-8")
        command = [*wrapper, context.python, *arguments(context, workers, select, keyword)]
        left = seconds - (time.monotonic() - start)
        ended = run(command, left, environment, folder=context.root, first_signal=signal.SIGINT)
        log.append(ended.stdout)
        record.read(lines)
        if ended.timed_out:
            record.forget_what_was_running()
            break
        if ended.code == USAGE or (record.code in NORMAL and not record.not_reached):
            break  # xdist ends with 1, too, after so many workers that it starts no other
        record.fail_what_was_running(f"its process ended: {ended.why or 'with exit 0'}")
        if len(record.outcomes) == before:
            break
    result = judge(record, ended, context, wrapper)
    result.seconds, result.log = time.monotonic() - start, "\n".join(log)
    result.more["workers"] = workers or 1
    return result


def workers_of() -> int:
    """Processes; 0, for one and no xdist, if that is not installed."""
    if importlib.util.find_spec("xdist") is None:
        return 0
    return min(WORKERS, os.cpu_count() or 1)


def arguments(context: Context, workers: int, select: Sequence[str], keyword: str = "") -> list[str]:
    spread = ["-p", "xdist.plugin", "-n", str(workers), "--dist", "worksteal", "--max-worker-restart", str(RESTARTS)]
    # A rehearsal runs what has the same bodies without a card: the tests on the simulated and the emulated device.
    marker = "gpu" if context.on_card else "not gpu and not sanitizers"
    keywords = [f"({word})" for word in ("" if context.on_card else "simulated or emulated", keyword) if word]
    marked = ["-m", marker, *(["-k", " and ".join(keywords)] if keywords else [])]
    return [
        "-m", "pytest", *(spread if workers else []), "-p", "gpu_check_recorder", "-p", "no:cacheprovider", "-q",
        "--tb=short", "--maxfail=0", "--continue-on-collection-errors", "-W", "default", "-r", "fE", *marked, *select,
    ]  # fmt: skip


def judge(record: Record, ended: Ended, context: Context, wrapper: Sequence[str] = ()) -> Result:
    """Passed only if tests have passed and there is nothing else that should have."""
    passed, failed, skipped = (record.of(outcome) for outcome in ("passed", "failed", "skipped"))
    if context.on_card:  # the driver has answered, so each of these is a process that could not open the device
        without_device = {name: one for name, one in skipped.items() if NO_DEVICE in one["message"]}
        skipped = {name: one for name, one in skipped.items() if name not in without_device}
        failed |= without_device
    messages = [*record.broken.values(), *(one["message"] for one in failed.values())]
    why = ""
    if messages:
        count = f"{len(failed)} of {len(record.outcomes)} failed" if failed else "none failed"
        if record.broken:
            count += f", {len(record.broken)} modules do not import".replace("1 modules do", "1 module does")
        why = f"{count}: {first_line(Counter(messages).most_common(1)[0][0], 120)}"
    elif ended.timed_out or ended.code not in NORMAL:
        why = f"{ended.why or 'ended early'}: {first_line(last_words(ended), 140)}"
    elif wrapper and ended.code:
        why = f"the tests passed, but {ended.why}"
    elif not passed and not context.finished:
        reason = next((one["message"] for one in skipped.values()), "none found")
        why = f"no test passed, {len(skipped)} were skipped: {reason}"
    if record.not_reached:
        why = f"{len(record.not_reached)} of {len(record.collected)} not reached; {why}".rstrip("; ")
    outcome = (FAILED if record.outcomes or not ended.timed_out else NOT_REACHED) if why else PASSED
    counts = {"ran": len(record.outcomes) - len(skipped), "passed": len(passed), "failed": len(failed)}
    counts |= {"skipped": len(skipped), "not_reached": len(record.not_reached), "collected": len(record.collected)}
    more = {
        "counts": counts,
        "modules_that_do_not_import": record.broken,
        "failed": failed,
        "not_reached": record.not_reached,
        "skipped": dict(Counter(one["message"] for one in skipped.values()).most_common()),
        "slowest": dict(sorted(((n, o["seconds"]) for n, o in passed.items()), key=lambda pair: -pair[1])[:20]),
        "passed": list(passed),
        "passed_before": sorted(context.finished),
    }
    found = f"{len(passed)} passed" + (f", {len(skipped)} skipped" if skipped else "")
    return Result(outcome, why or found, more=more, lines=groups(failed, record.broken))


def last_words(ended: Ended) -> str:
    lines = [line for line in ended.stdout.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("E  ", "ERROR", "INTERNALERROR", "ImportError"))]
    return next(iter(errors[-1:] or lines[-1:]), "no output")


def groups(failed: dict[str, dict[str, Any]], broken: dict[str, str], most: int = 14) -> list[str]:
    """Failures of one message are one line: how many, the message, the first test."""
    first: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for name, message in [*broken.items(), *((name, one["message"]) for name, one in failed.items())]:
        key = first_line(message, 110)
        first.setdefault(key, name)
        counts[key] += 1
    lines = [
        line
        for key, number in counts.most_common(most)
        for line in (f"{number:5} x {key}", f"        {shortest(first[key])}")
    ]
    return lines + ([f"      and {len(counts) - most} other messages"] if len(counts) > most else [])


def shortest(name: str, most: int = 110) -> str:
    """The name of a test without its folders if it is long."""
    return name if len(name) <= most else name.rpartition("/")[2]
