"""What ``compare_cpu.py`` found, as tables and as a picture; also again from its result files.

    python benchmarks/cpu_report.py FILE.json [--svg FILE]

A result file has, for each workload and peer, the summary of the rounds on the idle machine beside the other facts,
and under "busy" those beside busy processes, by their number. Files from before that are those of an idle machine.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bars import Group, draw_bars
from busy import described
from peers import Case

OURS = {"chainrule", "chainrule-numpy", "chainrule-again"}
# What a load has of its own; all else holds for the process, whatever else the machine did.
SUMMARY = ("unit", "median", "least", "most", "rounds", "disturbed", "epochs", "s_an_epoch", "reached")
TOLERANCE = 1e-3  # the relative difference of the losses in order that is let pass


def at_load(found: dict[str, Any], busy: int) -> dict[str, Any]:
    """{peer: what is known of it beside ``busy`` busy processes}, without a "median" if it was not measured so."""
    if busy == 0:
        return found
    return {
        name: {key: value for key, value in one.items() if key not in SUMMARY} | one.get("busy", {}).get(str(busy), {})
        for name, one in found.items()
    }


# ---- tables -----------------------------------------------------------------------------------------


def print_workload(name: str, result: dict[str, Any], busy: int) -> None:
    case, found = Case(**result["case"]), at_load(result["peers"], busy)
    task = "to the goal" if name == "F" else f"{result['steps']} steps a round"
    print(f"\n{name}  {'-'.join(map(str, case.widths))}, batch {case.batch}, {case.loss}, {task}, {described(busy)}")
    heads = ["s" if name == "F" else "us/step", "least", "most", "chainrule/it", "peak MiB", "ready s"]
    print(f"{'':<18}" + "".join(f"{head:>13}" for head in heads) + "  losses in order")
    ours = found["chainrule"].get("median", float("nan"))
    for peer, one in found.items():
        if "median" not in one:
            if "absent" in one or "failed" in one:
                print(f"{peer:<18}" + " ".join(f"{k}: {one[k]}" for k in ("absent", "failed") if k in one))
            continue
        cells = [f"{one[key]:.4g}" for key in ("median", "least", "most")] + [f"{ours / one['median']:.2f}"]
        cells += [f"{one['peak_mib']:.0f}", f"{one['ready_s']:.1f}"]
        difference = one.get("loss_difference", float("nan"))
        agreement = "agree" if difference <= TOLERANCE else f"differ by {difference:.1e}"
        agreement += f"; {one['disturbed']} turns disturbed" if one["disturbed"] else ""
        if name == "F":
            epochs = ", ".join(map(str, one["epochs"]))
            agreement += (
                f"; {one['s_an_epoch']:.2f} s per epoch, epochs {epochs}; first {one['first']['seconds']:.1f} s"
            )
            agreement += "" if one["reached"] else "; the goal was not reached every time"
        print(f"{peer:<18}" + "".join(f"{cell:>13}" for cell in cells) + ("" if peer == "gemm" else f"  {agreement}"))


def print_table(results: dict[str, Any], names: list[str], busy: int) -> None:
    print(f"\n{described(busy)}: microseconds per step (F: seconds), and in brackets how many times chainrule's")
    found = {name: at_load(result["peers"], busy) for name, result in results.items()}
    print(f"{'':<18}" + "".join(f"{name:>20}" for name in found))
    for peer in names:
        print(f"{peer:<18}" + "".join(f"{_cell(peers, peer):>20}" for peers in found.values()))
    best = [min(ratios(peers, others=True).items(), key=lambda p: p[1], default=None) for peers in found.values()]
    cells = [f"{1 / b[1]:.2f} ({b[0]})" if b else "-" for b in best]
    print(f"{'chainrule / best':<18}" + "".join(f"{cell:>20}" for cell in cells))


def print_slowdowns(results: dict[str, Any], names: list[str], busy: int) -> None:
    """How many times as long as on the idle machine each peer takes."""
    print(f"\n{described(busy)}: how many times the same library's time on the idle machine")
    print(f"{'':<18}" + "".join(f"{name:>20}" for name in results))
    for peer in names:
        found = [slowdown(result["peers"].get(peer, {}), busy) for result in results.values()]
        print(f"{peer:<18}" + "".join(f"{'-' if one is None else f'{one:.2f}':>20}" for one in found))


def slowdown(one: dict[str, Any], busy: int) -> float | None:
    """The median beside ``busy`` busy processes by that on the idle machine; None if one of them is unknown."""
    beside = one.get("busy", {}).get(str(busy), {})
    return beside["median"] / one["median"] if "median" in beside and "median" in one else None


def _cell(found: dict[str, Any], peer: str) -> str:
    relative = ratios(found)
    return f"{found[peer]['median']:.4g} ({relative[peer]:.2f})" if peer in relative else "-"


def ratios(found: dict[str, Any], *, others: bool = False) -> dict[str, float]:
    """Each peer's median by chainrule's; of those alone that train and are not chainrule itself if ``others``."""
    ours = found["chainrule"].get("median", float("nan"))
    left_out = {*OURS, "gemm"} if others else set()
    return {name: one["median"] / ours for name, one in found.items() if "median" in one and name not in left_out}


def print_costs(found: dict[str, Any]) -> None:
    print("\nimport (best of three processes, interpreter not counted), MiB installed: own files, with all it requires")
    for name, one in found.items():
        seconds = "-" if one["import_s"] is None else f"{one['import_s']:.3f}"
        what = " + ".join(one["distributions"])
        print(f"{name:<18}{seconds:>10} s{one['own_mib']:>10.1f}{one['all_mib']:>10.1f}   {what}")


# ---- the picture, and the same once more ------------------------------------------------------------


def picture(results: dict[str, Any], loads: Sequence[int] = (0,)) -> str:
    """A group of bars for each workload and load: each peer's time by chainrule's at the same load."""
    groups = []
    for name, result in results.items():
        case = Case(**result["case"])
        for busy in loads:
            relative = ratios(at_load(result["peers"], busy))
            bars = [(peer, ratio, peer == "gemm") for peer, ratio in relative.items() if peer != "chainrule"]
            load = "" if tuple(loads) == (0,) else f", {described(busy)}"
            groups.append(Group(f"{name}  {'-'.join(map(str, case.widths))}, batch {case.batch}{load}", bars))
    note = "Time of a step by chainrule's in the same run: above 1, chainrule is faster. F: time to the goal."
    return draw_bars("Training on the CPU: each peer's time by chainrule's", note, groups)


def print_all(results: dict[str, Any], names: list[str], loads: Sequence[int]) -> None:
    """The tables that compare: one for each load, and what busy processes cost."""
    for busy in loads:
        print_table(results, names, busy)
    if 0 in loads:
        for busy in (busy for busy in loads if busy):
            print_slowdowns(results, names, busy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path, metavar="FILE.json", help="that compare_cpu.py wrote")
    parser.add_argument("--svg", type=Path)
    args = parser.parse_args()
    content = json.loads(args.file.read_text(encoding="utf-8"))
    if content.get("benchmark") != "compare_cpu":
        parser.error(f"{args.file} is a result of {content.get('benchmark', 'something else')}, not of compare_cpu")
    results, loads = content["workloads"], content.get("busy", [0])
    for name, result in results.items():
        for busy in loads:
            print_workload(name, result, busy)
    print_all(results, list(dict.fromkeys(peer for result in results.values() for peer in result["peers"])), loads)
    print_costs(content["costs"])
    if args.svg is not None:
        args.svg.write_text(picture(results, loads), encoding="utf-8")


if __name__ == "__main__":
    main()
