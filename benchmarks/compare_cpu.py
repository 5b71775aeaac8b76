"""chainrule beside its peers on the CPU, in one interleaved run.

    python benchmarks/compare_cpu.py [--workloads T S] [--rounds 7] [--peers torch jax-scan] [--fashion FOLDER]
                                     [--busy 0,1] [--json FILE] [--svg FILE]

Every peer is a process, started, compiled and warmed up before the clock runs, then blocked on a pipe. A round asks
one after the other for the same number of steps and takes the time measured inside around the steps. All begin a round
at the same weights and train on the same rows; before, the losses of the first five batches in order are compared. A
turn waits until the machine is quiet and is repeated if other work got in between (seen on Linux). Figures are
medians over rounds. "chainrule" has its compiled kernels, "chainrule-numpy" has not, "chainrule-again" is the first
once more and shows the noise; "gemm" is no trainer but the bare matrix products of the step.
With --busy 0,1 each round is measured on the idle machine, then beside one process that does nothing but compute.
Variables that pin a library's kernels or threads, such as OPENBLAS_*, are set aside unless --keep-kernels is given.
With --fashion also workload F: seconds from arrays in memory to the first epoch that ends with a test accuracy of 0.885
on Fashion-MNIST. Its first time in the process, in which whatever is compiled is compiled, is reported beside.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from busy import BusyProcesses, busy_counts, described
from cpu_report import picture, print_all, print_costs, print_workload
from cpu_workloads import FASHION, WORKLOADS, lay_out
from environment import facts
from footprint import import_seconds, installed
from peers import Case
from processes import PATIENCE, Process, add_arguments, await_quiet, set_aside, turn

import chainrule as cr

IN_ORDER = 5  # batches whose losses are compared
GOAL, MOST_EPOCHS = 0.885, 30


class Entry(NamedTuple):
    """A line of the table: the worker's class, its environment, what must be installed for it, how it is imported."""

    worker: str
    environment: dict[str, str]
    distributions: tuple[str, ...]
    statement: str


COMPILED = Entry("chainrule", {"CHAINRULE_COMPILED": "1"}, ("chainrule", "numba"), "import chainrule")
ENTRIES = {
    "chainrule": COMPILED,
    "chainrule-numpy": Entry("chainrule", {"CHAINRULE_COMPILED": "0"}, ("chainrule",), "import chainrule"),
    "torch": Entry("torch", {}, ("torch",), "import torch"),
    "torch-compile": Entry("torch-compile", {"TORCHINDUCTOR_COMPILE_THREADS": "1"}, ("torch",), "import torch"),
    "jax-step": Entry("jax-step", {}, ("jax",), "import jax"),
    "jax-scan": Entry("jax-scan", {}, ("jax",), "import jax"),
    "scikit-learn": Entry("scikit-learn", {}, ("scikit-learn",), "import sklearn.neural_network"),
    "thinc": Entry("thinc", {}, ("thinc",), "import sys; sys.modules['torch'] = None; import thinc.api"),
    "gemm": Entry("gemm", {}, ("numpy",), "import numpy"),
    "chainrule-again": COMPILED,
}


def measure(
    case: Case,
    names: list[str],
    rounds: int,
    seconds: float,
    fashion: Path | None,
    without: Collection[str],
    loads: Sequence[int] = (0,),
    patience: float = PATIENCE,
) -> dict[str, Any]:
    """{peer: what was measured of it}, and how many steps a round had; every peer alive from the start to the end.

    ``loads``: the numbers of busy processes beside which each round is measured, in this order.
    """
    found: dict[str, Any] = {}
    processes: dict[str, Process] = {}
    times: dict[tuple[str, int], list[dict[str, Any]]] = {(name, busy): [] for name in names for busy in loads}
    with tempfile.TemporaryDirectory() as folder:
        lay_out(case, Path(folder), fashion)
        try:
            for name in names:
                await_quiet(patience=patience)
                start = time.perf_counter()
                worker = processes[name] = Process(ENTRIES[name].worker, ENTRIES[name].environment, without)
                found[name] = {**worker.ask("setup", case=case, folder=folder)}
                if fashion is not None:  # the first time in the process: all that is compiled is compiled in it
                    found[name]["first"] = worker.ask("reach", goal=GOAL, most=MOST_EPOCHS, seed=0)
                else:
                    worker.ask("run", steps=case.steps, seed=0)
                found[name]["ready_s"] = time.perf_counter() - start
                found[name] |= worker.ask("losses", count=IN_ORDER)
            await_quiet(patience=patience)
            chainrule = processes["chainrule"]
            once = min(chainrule.ask("run", steps=case.steps, seed=0).get("seconds", 1.0) for _ in range(3))
            steps = case.steps * max(1, round(seconds / once))
            command = {"do": "run", "steps": steps}
            if fashion is not None:
                command = {"do": "reach", "goal": GOAL, "most": MOST_EPOCHS}
            for number in range(1, rounds + 1):
                for load in loads:
                    with BusyProcesses(load) as busy:
                        for name in names:
                            times[name, load].append(turn(processes[name], busy, patience, **command, seed=number))
            for name, worker in processes.items():
                found[name] |= worker.ask("memory")
        finally:
            for worker in processes.values():
                worker.close()
    for (name, load), answers in times.items():
        if all(answer.get("seconds") for answer in answers):
            one = summary(answers, None if fashion is not None else steps)
            found[name] |= {"busy": found[name].get("busy", {}) | {str(load): one}} if load else one
    compare_losses(found)
    return {"case": case._asdict(), "steps": steps, "peers": found}


def summary(answers: list[dict[str, Any]], steps: int | None) -> dict[str, Any]:
    """Median, least and most: of microseconds per step, or of seconds to the goal."""
    unit, factor = ("us", 1e6 / steps) if steps else ("s", 1.0)
    values = [answer["seconds"] * factor for answer in answers]
    found = {"unit": unit, "median": statistics.median(values), "least": min(values), "most": max(values)}
    found |= {"rounds": values, "disturbed": sum(answer["disturbed"] for answer in answers)}
    if not steps:
        found["epochs"] = [answer["epochs"] for answer in answers]
        found["s_an_epoch"] = statistics.median(answer["seconds"] / answer["epochs"] for answer in answers)
        found["reached"] = all(answer["accuracy"] >= GOAL for answer in answers)
    return found


def compare_losses(found: dict[str, Any]) -> None:
    """Beside every peer's losses in order, the largest relative difference to chainrule's."""
    ours = np.array(found["chainrule"].get("losses") or [np.nan])
    for one in found.values():
        if one.get("losses"):
            one["loss_difference"] = float(np.abs(np.array(one["losses"]) / ours - 1).max())


def costs(names: list[str]) -> dict[str, Any]:
    """Import time and size of what each entry needs; an entry that needs just what another does is left out."""
    found, seen = {}, set()
    for name in names:
        entry = ENTRIES[name]
        if entry.distributions not in seen and (size := installed(*entry.distributions)):
            seen.add(entry.distributions)
            seconds = import_seconds(entry.statement, entry.environment)
            found[name] = {"distributions": entry.distributions, "import_s": seconds, **size}
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", choices=[*WORKLOADS, "F"], default=None)
    parser.add_argument("--peers", nargs="+", choices=list(ENTRIES), default=list(ENTRIES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="of chainrule's part of a round")
    parser.add_argument("--fashion", type=Path, help="the folder with the four files of Fashion-MNIST")
    parser.add_argument(
        "--busy",
        type=busy_counts,
        default=[0],
        metavar="N[,N]",
        help="busy processes beside each round; 0,1 measures every round idle and beside one (0)",
    )
    add_arguments(parser)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    args = parser.parse_args()
    workloads = args.workloads or [*WORKLOADS, *(["F"] if args.fashion else [])]
    if "F" in workloads and not args.fashion:
        parser.error("workload F needs --fashion FOLDER")
    names = [name for name in ENTRIES if name in {*args.peers, "chainrule"}]
    without = set_aside(args.keep_kernels)
    results: dict[str, Any] = {}
    for name in workloads:
        fashion, case = (args.fashion, FASHION) if name == "F" else (None, WORKLOADS[name])
        taking_part = [peer for peer in names if not (name == "F" and peer == "gemm")]
        results[name] = measure(
            case, taking_part, args.rounds, args.seconds, fashion, without, args.busy, args.patience
        )
        for busy in args.busy:
            print_workload(name, results[name], busy)
    found = costs(names)
    print_all(results, names, args.busy)
    print_costs(found)
    if args.json is not None:
        content = {"benchmark": "compare_cpu", **facts([cr.backend("cpu")]), "rounds": args.rounds}
        content |= {"set_aside": without, "busy": args.busy, "loads": [described(busy) for busy in args.busy]}
        content |= {"workloads": results, "costs": found}
        args.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if args.svg is not None:
        args.svg.write_text(picture(results, args.busy), encoding="utf-8")


if __name__ == "__main__":
    main()
