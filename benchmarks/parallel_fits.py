"""Whole fits of chainrule at once in threads of one process, beside the same fits one after the other.

    python benchmarks/parallel_fits.py [--fits 8] [--workloads S M] [--epochs 3] [--rounds 5] [--json FILE]

Each fit is `Trainer.fit` of a net of its own on the same rows, data checking included; both ways may use all cores. The
ratio is the median time at once by the median time in series: at most MARK is the aim, below 1 is a gain. The rounds
are interleaved as in ``compare_cpu.py``: the same process, quiet turns, OPENBLAS_* and the like set aside.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from compare_cpu import ENTRIES
from cpu_report import OURS
from cpu_workloads import WORKLOADS, lay_out
from environment import facts
from peers import Case
from processes import Process, add_arguments, set_aside, turn

import chainrule as cr

MARK = 1.1
WAYS = {"series": False, "at_once": True}


def measure(
    case: Case, name: str, fits: int, epochs: int, rounds: int, without: Collection[str], patience: float
) -> dict[str, Any]:
    """The summary of both ways and their ratio; {"absent": why} or {"failed": why} if there is none."""
    answers: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        lay_out(case, Path(folder), None)
        worker = Process(ENTRIES[name].worker, ENTRIES[name].environment, without)
        try:
            worker.ask("setup", case=case, folder=folder)
            for together in WAYS.values():  # what is compiled or allocated at the first use
                worker.ask("fits", count=fits, epochs=1, together=together)
            for _ in range(rounds):
                for way, together in WAYS.items():
                    command = {"do": "fits", "count": fits, "epochs": epochs, "together": together}
                    answers[way].append(turn(worker, patience=patience, **command))
        finally:
            worker.close()
    return worker.fate or summary(answers)


def summary(answers: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Seconds each way, the ratio of the medians, and the largest relative difference between two fits' losses."""
    found: dict[str, Any] = {}
    for way, ones in answers.items():
        values = [one["seconds"] for one in ones]
        found[way] = {"unit": "s", "median": statistics.median(values), "least": min(values), "most": max(values)}
        found[way] |= {"rounds": values, "disturbed": sum(one["disturbed"] for one in ones)}
    losses = [loss for ones in answers.values() for one in ones for loss in one["losses"]]
    found["ratio"] = found["at_once"]["median"] / found["series"]["median"]
    found["loss_difference"] = max(losses) / min(losses) - 1
    return found


def line(workload: str, name: str, found: dict[str, Any]) -> str:
    """Of the table."""
    if "ratio" not in found:
        return f"{workload:<4}{name:<18}" + " ".join(f"{k}: {found[k]}" for k in ("absent", "failed") if k in found)
    cells = f"{found['series']['median']:>12.3f}{found['at_once']['median']:>12.3f}{found['ratio']:>8.2f}"
    notes = ["the same losses" if found["loss_difference"] == 0 else f"losses differ by {found['loss_difference']:.1e}"]
    if disturbed := sum(found[way]["disturbed"] for way in WAYS):
        notes.append(f"{disturbed} turns disturbed")
    return f"{workload:<4}{name:<18}{cells}  {'' if found['ratio'] <= MARK else f'above {MARK}; '}{'; '.join(notes)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fits", type=int, default=8)
    parser.add_argument("--workloads", nargs="+", choices=list(WORKLOADS), default=["S", "M"])
    parser.add_argument("--entries", nargs="+", choices=sorted(OURS), default=["chainrule", "chainrule-numpy"])
    parser.add_argument("--epochs", type=int, default=3, help="of each fit")
    parser.add_argument("--rounds", type=int, default=5)
    add_arguments(parser)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    without = set_aside(args.keep_kernels)
    results: dict[str, Any] = {}
    print(f"seconds of {args.fits} fits of {args.epochs} epochs{'in series':>17}{'at once':>12}{'ratio':>8}")
    for workload in args.workloads:
        case = WORKLOADS[workload]
        results[workload] = {"case": case._asdict(), "entries": {}}
        for name in args.entries:
            found = measure(case, name, args.fits, args.epochs, args.rounds, without, args.patience)
            results[workload]["entries"][name] = found
            print(line(workload, name, found), flush=True)
    if args.json is not None:
        content = {"benchmark": "parallel_fits", **facts([cr.backend("cpu")]), "rounds": args.rounds}
        content |= {"fits": args.fits, "epochs": args.epochs, "mark": MARK, "set_aside": without, "workloads": results}
        args.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
