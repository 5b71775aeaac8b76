"""How processor time and memory grow with the size of the work: a curve each, with the exponent of its growth.

    python benchmarks/growth.py [CURVE ...] [--rounds 3] [--scale 1] [--against CHECKOUT] [--json FILE] [--svg FILE]

Each figure is of a fresh process on one thread: the least processor seconds of the rounds, and how far resident memory
rises above what was in use before. The exponent is the slope of log(seconds) over log(size), by least squares: 1 is
in proportion. ``--against`` interleaves the same work by the source of another checkout.

The curves stand in growth_curves.py. Linux alone.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from growth_curves import CURVES
from lines import Line, draw_lines

SOURCE = Path(__file__).resolve().parents[1] / "src"
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")


# ---- in a process of its own ------------------------------------------------------------------------


def measure(name: str, size: int, folder: Path) -> dict[str, float]:
    """Processor seconds, and bytes above what was in use before."""
    work = CURVES[name].prepare(size, folder)
    before, start = _resident(), time.process_time()
    kept = work()
    seconds = time.process_time() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    del kept
    return {"seconds": seconds, "bytes": max(0, peak - before)}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ---- all of them ------------------------------------------------------------------------------------


def exponent(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """The slope of log(seconds) over log(size), by least squares; nan for fewer than two sizes."""
    if len(set(sizes)) < 2:
        return math.nan
    return float(np.polyfit(np.log(sizes), np.log(seconds), 1)[0])


def in_process(source: Path, do: str, name: str, size: int, folder: Path) -> str:
    """What this script prints when it is asked for one measurement, or to prepare one."""
    command = [sys.executable, __file__, do, name, str(size), str(folder)]
    environment = os.environ | ONE_THREAD | {"PYTHONPATH": str(source)}
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment).stdout


def points(name: str, sizes: Sequence[int], sources: Mapping[str, Path], rounds: int, folder: Path) -> dict[str, Any]:
    """By source: seconds and bytes of each size, the least of the rounds."""
    found: dict[str, Any] = {label: [] for label in sources}
    for size in sizes:
        in_process(SOURCE, "--prepare", name, size, folder)  # what that leaves in memory is none of the work's
        tries: dict[str, list[dict[str, float]]] = {label: [] for label in sources}
        for _ in range(rounds):
            for label, source in sources.items():
                answer = in_process(source, "--measure", name, size, folder)
                tries[label].append(json.loads(answer.splitlines()[-1]))
        for label, answers in tries.items():
            best = {key: min(answer[key] for answer in answers) for key in ("seconds", "bytes")}
            found[label].append({"size": size, **best})
            print(f"{name:<24} {label:<8} {size:>12,} {best['seconds']:10.3f} s {best['bytes'] / 2**20:10.1f} MiB")
    for label, rows in found.items():
        slope = exponent([row["size"] for row in rows], [row["seconds"] for row in rows])
        found[label] = {"points": rows, "exponent": slope}
        print(f"{name:<24} {label:<8} {'exponent':>12} {slope:10.2f}", flush=True)
    return found


def picture(results: Mapping[str, Any]) -> str:
    """All curves of a result file."""
    found = [
        Line(
            f"{name} ({label}): n^{one['exponent']:.2f}" if len(of_source) > 1 else f"{name}: n^{one['exponent']:.2f}",
            [(row["size"], row["seconds"]) for row in one["points"]],
            label != "before",
        )
        for name, of_source in results.items()
        for label, one in of_source.items()
    ]
    return draw_lines("How processor time grows", "one thread, least of the rounds", "size", "processor seconds", found)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("curves", nargs="*", metavar="CURVE", help=f"of {', '.join(CURVES)} (all)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--scale", type=float, default=1.0, help="of all sizes: 0.1 is a tenth of the work")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="measured in turn, as 'before'")
    parser.add_argument("--folder", type=Path, help="where files are written, and kept; else they are removed")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    parser.add_argument("--prepare", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--measure", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.prepare or args.measure:
        name, size, folder = args.prepare or args.measure
        if args.prepare:
            CURVES[name].prepare(int(size), Path(folder))
        else:
            print(json.dumps(measure(name, int(size), Path(folder))))
        return
    if unknown := [name for name in args.curves if name not in CURVES]:
        parser.error(f"expected curves of {', '.join(CURVES)}, got {', '.join(unknown)}")
    sources = {"now": SOURCE} | ({"before": args.against / "src"} if args.against else {})
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        results = {
            name: points(name, [max(1, int(n * args.scale)) for n in CURVES[name].sizes], sources, args.rounds, folder)
            for name in args.curves or CURVES
        }
    if args.json is not None:
        from environment import facts

        import chainrule as cr

        about = {name: {"title": CURVES[name].title, "unit": CURVES[name].unit} for name in results}
        head = {"benchmark": "growth", **facts([cr.backend("cpu")]), "rounds": args.rounds, "about": about}
        args.json.write_text(json.dumps({**head, "curves": results}, indent=2) + "\n", encoding="utf-8")
    if args.svg is not None:
        args.svg.write_text(picture(results), encoding="utf-8")


if __name__ == "__main__":
    main()
