"""CUDA's own tools: compute-sanitizer on a few tests of the fused kernels, Nsight Compute on one step of two cases."""

from __future__ import annotations

import dataclasses
import re

from gpu_check.facts import tool
from gpu_check.items import ABSENT, FAILED, PASSED, Context, Item, Result, first_line
from gpu_check.programs import result_of
from gpu_check.pytest_runs import run_tests
from gpu_check.running import run

# What compute-sanitizer writes of an error; it numbers none, and what it begins with names its kind.
FOUND = re.compile(
    r"^========= (?:Invalid|Error|Warning: Race|Race|Uninitialized|Barrier|ERROR SUMMARY: [1-9]).*", re.M
)
FUSED = [f"tests/backends/cupy/test_{topic}.py" for topic in ("layers", "losses", "batches", "optimisers", "random")]
EVERY = 40  # a test in so many: under these tools each takes many times as long
ERRORS = 9  # the exit code that says that there were errors
SECTIONS = ("SpeedOfLight", "LaunchStats", "Occupancy")


def items(device: str) -> list[Item]:
    return [
        sanitizer("memcheck", 120, "--report-api-errors", "no"),  # CuPy asks, and expects some of the errors
        sanitizer("racecheck", 120),
        profile("b", 130),
        profile("c", 130),
    ]


def sanitizer(kind: str, seconds: float, *options: str) -> Item:
    def act(context: Context, limit: float) -> Result:
        path = tool("compute-sanitizer")
        if path is None:
            return Result(ABSENT, "compute-sanitizer was not found")
        wrapper = [path, "--tool", kind, "--target-processes", "all", "--error-exitcode", str(ERRORS), *options]
        slow = dataclasses.replace(
            context, environment={**context.environment, "GPU_CHECK_EVERY": str(EVERY), "GPU_CHECK_TEST_SECONDS": "600"}
        )
        return sanitized(run_tests(slow, limit, FUSED, wrapper=wrapper))

    return Item(kind, seconds, act)


def sanitized(result: Result) -> Result:
    """Failed if an error was reported, whatever the tests say; that the time was over is no failure of what did run."""
    found = FOUND.findall(result.log)
    counts = result.more["counts"]
    result.more["reports"] = found[:100]
    if found:
        result.outcome, result.why = FAILED, f"{len(found)} reports: {first_line(found[0].removeprefix('========= '))}"
    elif result.outcome == FAILED and counts["passed"] and not counts["failed"] and counts["not_reached"]:
        result.outcome = PASSED
        result.why = f"{counts['passed']} passed, nothing reported; {counts['not_reached']} not reached in time"
    return result


def profile(case: str, seconds: float) -> Item:
    """Every launch of a step, with the share of the card's rates that it reached."""
    file = f"ncu_{case}.csv"

    def act(context: Context, limit: float) -> Result:
        path = tool("ncu")
        if path is None:
            return Result(ABSENT, "ncu (Nsight Compute) was not found")
        command = [path, "--target-processes", "all", "--profile-from-start", "off", "--clock-control", "none"]
        command += ["--csv", "--page", "details"]
        command += [word for section in SECTIONS for word in ("--section", section)]
        command += ["--log-file", str(context.folder / file), context.python]
        command += [str(context.root / "benchmarks/one_step_cuda.py"), case, "--device", context.device]
        command += [] if context.on_card else ["--smoke"]
        ended = run(command, limit, {**context.environment, "CHAINRULE_GRAPHS": "0"}, folder=context.root)
        return profiled(result_of(ended), context, file)

    return Item(f"ncu, a step of {case}", seconds, act, (file,))


def profiled(result: Result, context: Context, file: str) -> Result:
    try:
        text = (context.folder / file).read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    launches = len({line.split(",")[0] for line in text.splitlines() if line.startswith('"') and line[1:2].isdigit()})
    result.more["launches"] = launches
    if not launches and result.outcome == PASSED:
        complaint = next((line for line in text.splitlines() if line.startswith("==ERROR==")), "no launch was profiled")
        result.outcome, result.why = FAILED, first_line(complaint)
    elif result.outcome == PASSED:
        result.why = f"{launches} launches"
    return result
