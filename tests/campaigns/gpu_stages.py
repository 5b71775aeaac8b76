"""scripts/gpu-check rehearsed on the processor: its four stages in full, and stages that are stopped at random moments.

The first four cases run to the end. Of the others each is interrupted, asked to end or killed within half a minute;
what it has left must be a whole JSON that says of every item what became of it, and nothing may go on running.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from campaigns.tally import Tally

TITLE = "stages of scripts/gpu-check on the processor, in full and stopped at random moments"
CASES = 24

ROOT = Path(__file__).parents[2]
STAGES = ("alive", "tests", "figures", "tools")
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGKILL)
OUTCOMES = {"passed", "failed", "absent", "not reached", "running"}
MARK = "GPU_CHECK_CASE"  # a variable that all processes of a case have
LONGEST, IN_FULL, PATIENCE = 30.0, 600.0, 10.0  # seconds


def case(number: int, folder: Path, seconds: float = LONGEST) -> str:
    """What became of the stage of this number."""
    rng = random.Random(number)
    stage, mark = STAGES[number % len(STAGES)], f"{os.getpid()}-{number}"
    environment = {**os.environ, "GPU_CHECK_DEVICE": "cpu", "PYTHON": sys.executable, MARK: mark}
    stopped = number >= len(STAGES)
    with (folder / "said").open("w") as said:
        command = [str(ROOT / "scripts" / "gpu-check"), stage, str(folder / "out")]
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=subprocess.STDOUT)
        try:
            process.wait(rng.uniform(0.5, seconds) if stopped else IN_FULL)
        except subprocess.TimeoutExpired:
            process.send_signal(sent := rng.choice(SIGNALS))
            process.wait(60)
        else:
            sent = None
    deadline = time.monotonic() + PATIENCE
    while (left := processes_with(mark)) and sent != signal.SIGKILL and time.monotonic() < deadline:
        time.sleep(0.1)  # workers look once a second whether the process that started them is there
    for pid in left:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    if left and sent != signal.SIGKILL:  # after which nobody is there to end them
        return f"{len(left)} processes went on"
    return judge(folder / "out" / f"{stage}.json", stage, process.returncode, sent)


def judge(path: Path, stage: str, code: int, sent: signal.Signals | None) -> str:
    """The outcome, from the exit code and the JSON; for one that is not right, what is wrong."""
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if found.get("ended") == "complete":  # the signal, if there was one, came too late
        sent, code = None, found["exit_code"] if code == -signal.SIGKILL else code
    if sent and code == -sent and not found:
        return "stopped before the first item"
    # The tools are absent here, and a stage of which nothing passed has failed.
    expected = {None: int(stage == "tools"), signal.SIGKILL: -signal.SIGKILL}.get(sent, 128 + (sent or 0))
    if code != expected:
        return f"exit code {code} after {sent}, expected {expected}"
    if not found:
        return "stopped before the first item" if sent else "no file"
    outcomes = [item["outcome"] for item in found["items"]]
    if not set(outcomes) <= OUTCOMES or (found["ended"] == "running") != (sent == signal.SIGKILL):
        return f"{found['ended']}: {outcomes}"
    if sent is None:
        return "in full" if set(outcomes) <= {"passed", "absent"} else f"{outcomes}"
    return "stopped"


def processes_with(mark: str) -> list[int]:
    """Those whose environment has it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={mark}\0".encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:  # it has ended, or is another user's
            continue
    return found


def run(numbers: range, folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    tally = Tally("in full", "stopped", "stopped before the first item")
    for number in numbers:
        place = folder / f"case{number}"
        place.mkdir()
        tally.add(number, case(number, place), STAGES[number % len(STAGES)])
    return tally.result()
