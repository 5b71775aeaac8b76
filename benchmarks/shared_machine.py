"""The whole command `chainrule train` on a table of 20,000 rows, on the idle machine and beside busy processes.

    python benchmarks/shared_machine.py [--busy 4] [--rows 20000] [--rounds 3] [--limit 1800] [--json FILE]
                                        [-- --epochs 5 ...]

What follows "--" is passed on to `chainrule train`. Rounds are interleaved: idle, busy, idle, busy. The figure is

    the median seconds beside b busy processes / (the median seconds on the idle machine x max(1, (b + 1) / cores))

The last factor is the command's fair share: b + 1 programs on c cores, each with c / (b + 1) of a core, as if the
command, like each busy process, used one core of the idle machine. One that uses more of them loses more to its
neighbours, which counts against it. At most MARK is the aim, 1 is no loss. A run that takes longer than --limit is
stopped; the figure is then a lower bound.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from busy import BusyProcesses, described
from environment import facts
from processes import Watch, add_arguments, await_quiet, set_aside

import chainrule as cr

MARK = 3.0
KINDS = ("north", "east", "south", "west")


def write_table(path: Path, rows: int, seed: int = 0) -> None:
    """Eight columns of numbers, one of text, and a target: smooth in five of the numbers, another level by text."""
    rng = np.random.default_rng(seed)
    X, kind = rng.random((rows, 8)), rng.integers(0, len(KINDS), rows)
    y = 10 * np.sin(np.pi * X[:, 0] * X[:, 1]) + 20 * (X[:, 2] - 0.5) ** 2 + 10 * X[:, 3] + 5 * X[:, 4]
    y += kind + rng.standard_normal(rows)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*(f"x{j}" for j in range(X.shape[1])), "kind", "y"])
        for numbers, k, target in zip(X.tolist(), kind.tolist(), y.tolist(), strict=True):
            writer.writerow([*(f"{number:.6f}" for number in numbers), KINDS[k], f"{target:.4f}"])


def cores() -> int:
    """That this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fair_factor(busy: int, on: int) -> float:
    """How many times the idle time a program of one thread takes beside ``busy`` others on ``on`` cores."""
    return max(1.0, (busy + 1) / on)


def run(table: Path, options: Sequence[str], environment: Mapping[str, str], limit: float) -> dict[str, Any]:
    """Seconds of the command from start to end, of the processor too, and whether it was stopped at ``limit``."""
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile("w+") as errors:
        command = [sys.executable, "-m", "chainrule", "train", str(table), "--target", "y", "--quiet"]
        command += ["--run-dir", str(Path(folder) / "run"), *options]
        before, start = os.times(), time.perf_counter()
        process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=errors, env=environment, start_new_session=True
        )
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        seconds, after = time.perf_counter() - start, os.times()
        if code:
            errors.seek(0)
            raise SystemExit(f"error: chainrule train ended with exit code {code}: {errors.read()[-2000:].strip()}")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": seconds, "cpu_seconds": used, "stopped": code is None}


def summary(answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of the runs at one load."""
    values = [answer["seconds"] for answer in answers]
    found = {"unit": "s", "median": statistics.median(values), "least": min(values), "most": max(values)}
    found |= {"rounds": values, "cpu_seconds": [answer["cpu_seconds"] for answer in answers]}
    return found | {key: sum(answer[key] for answer in answers) for key in ("stopped", "disturbed")}


def compare(idle: Mapping[str, Any], beside: Mapping[str, Any], busy: int, on: int) -> dict[str, Any]:
    """The figure, and what it is made of."""
    fair = fair_factor(busy, on)
    found = {"slowdown": beside["median"] / idle["median"], "fair_factor": fair, "mark": MARK}
    stopped = 2 * beside["stopped"] >= len(beside["rounds"])  # so many that the median is one of them
    return found | {"ratio": found["slowdown"] / fair, "lower_bound": stopped}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--busy", type=int, default=4, help="busy processes (4)")
    parser.add_argument("--rows", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--limit", type=float, default=1800.0, metavar="SECONDS", help="of one run (1800)")
    add_arguments(parser)
    parser.add_argument("--json", type=Path)
    parser.add_argument("options", nargs="*", metavar="-- OPTION", help="of chainrule train")
    args = parser.parse_args()
    if args.busy < 1:
        parser.error(f"--busy: expected at least one busy process, got {args.busy}")
    without = set_aside(args.keep_kernels)
    environment = {name: value for name, value in os.environ.items() if name not in without}
    answers: dict[int, list[dict[str, Any]]] = {0: [], args.busy: []}
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "table.csv"
        write_table(table, args.rows)
        run(table, [*args.options, "--epochs", "1"], environment, args.limit)  # files in the cache, loops on disk
        for _ in range(args.rounds):
            for load, found in answers.items():
                with BusyProcesses(load) as busy:
                    await_quiet(busy, args.patience)
                    watch = Watch(busy)
                    answer = run(table, args.options, environment, args.limit)
                    answer["disturbed"] = watch.disturbed(answer["cpu_seconds"])
                if answer["stopped"] and not load:
                    raise SystemExit(f"error: an idle run took longer than --limit {args.limit:g} s: there is no ratio")
                found.append(answer)
                notes = ", ".join(key for key in ("stopped", "disturbed") if answer[key])
                print(f"{described(load)}: {answer['seconds']:.1f} s{notes and f' ({notes})'}", flush=True)
    idle, beside = (summary(found) for found in answers.values())
    result = compare(idle, beside, args.busy, cores())
    fair = result["fair_factor"]
    print(
        f"{args.rows:,} rows: idle {idle['median']:.1f} s, beside {args.busy} busy processes {beside['median']:.1f} s\n"
        f"fair share on {cores()} cores: {fair:.2f} times the idle time, {fair * idle['median']:.1f} s\n"
        f"ratio to the fair share: {'more than ' if result['lower_bound'] else ''}{result['ratio']:.2f} (aim: {MARK:g})"
    )
    if args.json is not None:
        content = {"benchmark": "shared_machine", **facts([cr.backend("cpu")]), "rounds": args.rounds}
        content |= {"rows": args.rows, "options": args.options, "set_aside": without, "usable_cores": cores()}
        content |= {"busy": args.busy, "loads": {"idle": idle, described(args.busy): beside}, **result}
        args.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
