"""Figures: chainrule beside its peers, ensembles beside nets alone, and torch.compile last, as it compiles for long."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

from gpu_check.items import ABSENT, FAILED, PASSED, Context, Item, Result
from gpu_check.programs import result_of
from gpu_check.running import run

MARGIN = 60.0  # seconds beyond its budget that compare_cuda.py may take to end what it has begun
WITHOUT_COMPILE = ["chainrule", "chainrule-eager", "torch", "torch-graph", "jax-step", "jax-scan", "chainrule-again"]
COMPARED, COMPILED, ENSEMBLES = "compare_cuda.json", "compile_cuda.json", "ensembles.json"


def items(device: str) -> list[Item]:
    return [
        comparison("compare", 270, COMPARED, WITHOUT_COMPILE),
        ensembles(60),
        comparison("torch.compile", 300, COMPILED, ["torch-compile"]),
    ]


def comparison(name: str, seconds: float, file: str, competitors: list[str]) -> Item:
    def act(context: Context, limit: float) -> Result:
        path = context.folder / file
        budget = limit - MARGIN if limit > 1.5 * MARGIN else limit / 3
        command = [context.python, str(context.root / "benchmarks/compare_cuda.py"), "--device", context.device]
        command += ["--budget", f"{budget:.0f}", "--json", str(path), "--competitors", *competitors]
        command += ["--data", str(context.data)] if context.data else []
        command += [] if context.on_card else ["--smoke", "--rounds", "2"]
        ended = run(command, limit, context.environment, folder=context.root, apart=True, first_signal=signal.SIGTERM)
        result = result_of(ended)
        found = read(path)
        return told(result, found, competitors, ended.stdout)

    return Item(name, seconds, act, (file,))


def read(path: Path) -> dict[str, Any]:
    """{} if it is not there, or not whole."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def told(result: Result, found: dict[str, Any], competitors: list[str], said: str) -> Result:
    """What the file says: faults first, then who took no part, then how many cases have a figure."""
    absent = {n: one["absent"] for n, one in found.get("competitors", {}).items() if "absent" in one}
    failed = {n: one["failed"] for n, one in found.get("competitors", {}).items() if "failed" in one}
    measured = [key for key, one in found.get("cases", {}).items() if _has_figure(one, competitors)]
    result.more |= {"absent": absent, "failed_to_load": failed, "faults": found.get("faults", []), "measured": measured}
    if set(competitors) <= set(absent):
        return Result(ABSENT, "; ".join(sorted(set(absent.values()))), result.seconds, result.more, result.log)
    if faults := found.get("faults"):
        result.outcome, result.why = FAILED, f"{len(faults)} faults: {faults[0]}"
    elif result.outcome == PASSED and not measured:
        reasons = [*failed.values(), *absent.values(), *_skipped(found)]
        result.outcome, result.why = FAILED, f"no figure: {next(iter(reasons), 'of no case')}"
    elif result.outcome == PASSED:
        result.why = f"figures of {len(measured)} cases: {', '.join(measured)}"
        result.why += f"; without {', '.join([*absent, *failed])}" if absent or failed else ""
    begin = said.rfind("\n\n")
    result.lines = said[begin:].strip().splitlines() if measured and begin >= 0 else []
    return result


def _has_figure(case: dict[str, Any], competitors: list[str]) -> bool:
    return any("median" in one for name, one in case.get("competitors", {}).items() if name in competitors)


def _skipped(found: dict[str, Any]) -> list[str]:
    return [one["skipped"] for one in found.get("cases", {}).values() if "skipped" in one]


def ensembles(seconds: float) -> Item:
    def act(context: Context, limit: float) -> Result:
        path = context.folder / ENSEMBLES
        command = [context.python, str(context.root / "benchmarks/ensemble_cuda.py"), "--device", context.device]
        command += ["--json", str(path)] + ([] if context.on_card else ["--smoke"])
        result = result_of(run(command, limit, context.environment, folder=context.root, apart=True))
        found = read(path).get("found", [])
        if result.outcome == PASSED:
            told = ", ".join(f"{one['members']}: {one['ratio']:.1f} times" for one in found)
            result.why = told or "no figure"
            result.outcome = PASSED if found else FAILED
        return result

    return Item("ensembles", seconds, act, (ENSEMBLES,))
