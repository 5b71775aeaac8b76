"""chainrule beside its peers on the CPU, in one interleaved run.

    python benchmarks/compare_cpu.py [--workloads T S] [--rounds 7] [--peers torch jax-scan] [--fashion FOLDER]
                                     [--json FILE] [--svg FILE]

Every peer is a process, started, compiled and warmed up before the clock runs, then blocked on a pipe. A round asks
one after the other for the same number of steps and takes the time measured inside around the steps. All begin a round
at the same weights and train on the same rows; before, the losses of the first five batches in order are compared. A
turn waits until the machine is quiet and is repeated if other work got in between (seen on Linux). Figures are
medians over rounds. "chainrule" has its compiled kernels, "chainrule-numpy" has not, "chainrule-again" is the first
once more and shows the noise; "gemm" is no trainer but the bare matrix products of the step.
Variables that pin a library's kernels, such as OPENBLAS_CORETYPE, are set aside unless --keep-kernels is given.
With --fashion also workload F: seconds from arrays in memory to the first epoch that ends with a test accuracy of 0.885
on Fashion-MNIST. Its first time in the process, in which whatever is compiled is compiled, is reported beside.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import tempfile
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from bars import Group, draw_bars
from environment import facts
from footprint import import_seconds, installed
from peers import Case
from processes import KERNELS, Process, await_quiet, turn

import chainrule as cr

EXAMPLE = Path(__file__).parents[1] / "examples" / "fashion_mnist.py"
IN_ORDER, TOLERANCE = 5, 1e-3  # batches whose losses are compared; the relative difference that is let pass
GOAL, MOST_EPOCHS = 0.885, 30
CE, MSE = "softmax_cross_entropy", "squared_error"

WORKLOADS = {
    "T": Case((100, 200, 10), 32, MSE, 400),
    "S": Case((64, 100, 10), 200, CE, 300),
    "W": Case((32, 256, 256, 256, 1), 256, MSE, 60),
    "M": Case((784, 512, 512, 10), 128, CE, 40),
    "L": Case((784, 2048, 2048, 10), 1024, CE, 5),
}
FASHION = Case((784, 256, 128, 10), 128, CE, 60_000 // 128)


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
OURS = {"chainrule", "chainrule-numpy", "chainrule-again"}


def lay_out(case: Case, folder: Path, fashion: Path | None) -> None:
    """Initial weights, rows and, for Fashion-MNIST, test rows: one .npy each, which all workers read."""
    for name, value in cr.MLP(case.widths, loss=case.loss).parameters().items():
        layer, _, parameter = name.partition(".")
        np.save(folder / f"{parameter}{layer.removeprefix('dense')}.npy", value)
    if fashion is None:
        rng, n = np.random.default_rng(0), case.batch * case.steps
        X = rng.standard_normal((n, case.widths[0]), np.float32)
        y = rng.integers(0, 10, n) if case.classifies else rng.standard_normal((n, case.widths[-1]), np.float32)
        arrays = {"X": X, "y": y}
    else:
        arrays = read_fashion(fashion)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)


def read_fashion(folder: Path) -> dict[str, np.ndarray]:
    """Train and test rows in float32, standardised by the training rows, limited to three standard deviations."""
    spec = importlib.util.spec_from_file_location("fashion_mnist", EXAMPLE)
    example = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(example)
    arrays: dict[str, np.ndarray] = {}
    for suffix, stem in (("", "train"), ("_test", "t10k")):
        images = example.read_idx(folder / f"{stem}-images-idx3-ubyte.gz")
        arrays[f"X{suffix}"] = images.reshape(len(images), -1)
        arrays[f"y{suffix}"] = example.read_idx(folder / f"{stem}-labels-idx1-ubyte.gz").astype(np.int64)
    fitted = cr.Standardization.fit(arrays["X"], limit=3.0)
    for name in ("X", "X_test"):
        z = (arrays[name] - fitted.mean) / fitted.scale
        arrays[name] = (z / np.sqrt(1 + (z / fitted.limit) ** 2)).astype(np.float32)
    return arrays


def measure(
    case: Case, names: list[str], rounds: int, seconds: float, fashion: Path | None, without: Collection[str]
) -> dict[str, Any]:
    """{peer: what was measured of it}, and how many steps a round had; every peer alive from the start to the end."""
    found: dict[str, Any] = {}
    processes: dict[str, Process] = {}
    times: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        lay_out(case, Path(folder), fashion)
        try:
            for name in names:
                await_quiet()
                start = time.perf_counter()
                worker = processes[name] = Process(ENTRIES[name].worker, ENTRIES[name].environment, without)
                found[name] = {**worker.ask("setup", case=case, folder=folder)}
                if fashion is not None:  # the first time in the process: all that is compiled is compiled in it
                    found[name]["first"] = worker.ask("reach", goal=GOAL, most=MOST_EPOCHS, seed=0)
                else:
                    worker.ask("run", steps=case.steps, seed=0)
                found[name]["ready_s"] = time.perf_counter() - start
                found[name] |= worker.ask("losses", count=IN_ORDER)
            await_quiet()
            chainrule = processes["chainrule"]
            once = min(chainrule.ask("run", steps=case.steps, seed=0).get("seconds", 1.0) for _ in range(3))
            steps = case.steps * max(1, round(seconds / once))
            command = {"do": "run", "steps": steps}
            if fashion is not None:
                command = {"do": "reach", "goal": GOAL, "most": MOST_EPOCHS}
            for number in range(1, rounds + 1):
                for name in names:
                    times[name].append(turn(processes[name], **command, seed=number))
            for name, worker in processes.items():
                found[name] |= worker.ask("memory")
        finally:
            for worker in processes.values():
                worker.close()
    for name, answers in times.items():
        if all(answer.get("seconds") for answer in answers):
            found[name] |= summary(answers, None if fashion is not None else steps)
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


# ---- what is printed --------------------------------------------------------------------------------


def print_workload(name: str, result: dict[str, Any]) -> None:
    case, found = Case(**result["case"]), result["peers"]
    task = "to the goal" if name == "F" else f"{result['steps']} steps a round"
    print(f"\n{name}  {'-'.join(map(str, case.widths))}, batch {case.batch}, {case.loss}, {task}")
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


def print_table(results: dict[str, Any], names: list[str]) -> None:
    print("\nmicroseconds per step (F: seconds), and in brackets how many times chainrule's")
    print(f"{'':<18}" + "".join(f"{name:>20}" for name in results))
    for peer in names:
        print(f"{peer:<18}" + "".join(f"{_cell(result['peers'], peer):>20}" for result in results.values()))
    best = [min(_ratios(r["peers"], others=True).items(), key=lambda p: p[1], default=None) for r in results.values()]
    cells = [f"{1 / b[1]:.2f} ({b[0]})" if b else "-" for b in best]
    print(f"{'chainrule / best':<18}" + "".join(f"{cell:>20}" for cell in cells))


def _cell(found: dict[str, Any], peer: str) -> str:
    ratios = _ratios(found)
    return f"{found[peer]['median']:.4g} ({ratios[peer]:.2f})" if peer in ratios else "-"


def _ratios(found: dict[str, Any], *, others: bool = False) -> dict[str, float]:
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


def picture(results: dict[str, Any]) -> str:
    groups = []
    for name, result in results.items():
        case = Case(**result["case"])
        bars = [(p, ratio, p == "gemm") for p, ratio in _ratios(result["peers"]).items() if p != "chainrule"]
        groups.append(Group(f"{name}  {'-'.join(map(str, case.widths))}, batch {case.batch}", bars))
    note = "Time of a step by chainrule's in the same run: above 1, chainrule is faster. F: time to the goal."
    return draw_bars("Training on the CPU: each peer's time by chainrule's", note, groups)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workloads", nargs="+", choices=[*WORKLOADS, "F"], default=None)
    parser.add_argument("--peers", nargs="+", choices=list(ENTRIES), default=list(ENTRIES))
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.3, help="of chainrule's part of a round")
    parser.add_argument("--fashion", type=Path, help="the folder with the four files of Fashion-MNIST")
    parser.add_argument(
        "--keep-kernels", action="store_true", help="leave variables like OPENBLAS_CORETYPE as they are"
    )
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    args = parser.parse_args()
    workloads = args.workloads or [*WORKLOADS, *(["F"] if args.fashion else [])]
    if "F" in workloads and not args.fashion:
        parser.error("workload F needs --fashion FOLDER")
    names = [name for name in ENTRIES if name in {*args.peers, "chainrule"}]
    set_aside = {} if args.keep_kernels else {name: os.environ[name] for name in KERNELS if name in os.environ}
    if set_aside:
        print("set aside for this run: " + ", ".join(f"{name}={value}" for name, value in set_aside.items()))
    results: dict[str, Any] = {}
    for name in workloads:
        fashion, case = (args.fashion, FASHION) if name == "F" else (None, WORKLOADS[name])
        taking_part = [peer for peer in names if not (name == "F" and peer == "gemm")]
        results[name] = measure(case, taking_part, args.rounds, args.seconds, fashion, set_aside)
        print_workload(name, results[name])
    found = costs(names)
    print_table(results, names)
    print_costs(found)
    if args.json is not None:
        content = {
            "benchmark": "compare_cpu",
            **facts([cr.backend("cpu")]),
            "rounds": args.rounds,
            "set_aside": set_aside,
        }
        content |= {"workloads": results, "costs": found}
        args.json.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    if args.svg is not None:
        args.svg.write_text(picture(results), encoding="utf-8")


if __name__ == "__main__":
    main()
