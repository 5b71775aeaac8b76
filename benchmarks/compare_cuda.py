"""chainrule beside its peers on one CUDA device, in one interleaved run.

    python benchmarks/compare_cuda.py [--budget 300] [--cases a b:bf16] [--competitors torch-graph jax-scan]
                                      [--data FASHION-MNIST] [--json FILE] [--svg FILE]
    python benchmarks/compare_cuda.py --device cpu --smoke      # tiny cases on the processor: does all of it run?

Every competitor is a process of its own with its own time limits; one that fails is listed with its reason and stops no
other. Case by case each takes the rows in, builds and warms up, alone on the device; then its losses must agree with
chainrule's, from the same weights on the same batches in order; then come the rounds, in which each trains for about
--seconds by its own clock, one after the other, the first to go another one each round. Figures are medians over
rounds. "chainrule" records its steps as CUDA graphs, "chainrule-eager" does not (CHAINRULE_GRAPHS=0), "chainrule-again"
is the first once more in another process and shows the noise.

The floor of a step is the largest of: its floating point operations, 2 B (3 W - W1) for W weights of which W1 in the
first layer, by the measured rate of a large product; its bytes, 28 a parameter for Adam and 4 an element of the batch,
by the measured rate of a large copy; and 3 L + 2 launches for L layers (gather, L products forward, the loss, 2 L - 1
products back, Adam) by the measured time of an empty kernel within a graph, which who fuses more can stay below.

When the budget is spent no new case, competitor or round begins; what was measured is written and printed all the same.
Exit code: 0; 1 if chainrule failed, agreed with no peer, gave other bits the second time, or its memory grew; 4 if no
competitor has a device.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from cuda_report import PEERS, picture, print_case, print_summary
from environment import facts
from fashion import read_fashion
from peers import Case
from processes import Process

WORKER = Path(__file__).with_name("worker_cuda.py")
CE = "softmax_cross_entropy"
CHECKED = {"batches": 4, "steps": 20}  # what the losses are compared on, see Competitor.check
# The relative difference of a loss that is let pass: over these steps, and of the mean over an epoch, in which rounding
# errors grow by what training itself does with them.
TOLERANCES = {"fp32": (1e-4, 5e-3), "tf32": (1e-2, 2e-2), "bf16": (5e-2, 5e-2)}
GOAL, MOST_EPOCHS = 0.885, 40
PREDICTED_ROWS, FLAT_STEPS = 100_000, 10_000
LIMITS = {"load": 150, "setup": 60, "prepare": 90, "check": 60, "turn": 45, "reach": 60, "extra": 60, "release": 30}
GRACE = 45  # seconds beyond the budget in which what has begun may end
WORTH_COMPILING = 40  # seconds of the budget that must be left before a competitor that compiles for long begins


class Spec(NamedTuple):
    """A case, its tiny stand-in for a smoke run, and the precisions it is for, the foremost first."""

    case: Case
    tiny: Case
    precisions: tuple[str, ...]


# Random rows with a linear teacher's labels; e is Fashion-MNIST. In a to c an epoch's rows outgrow the caches. They are
# run in this order, so that a budget which is spent early has left out what takes longest.
SPECS = {
    "d": Spec(Case((100, 200, 10), 32, CE, 512), Case((12, 20, 10), 8, CE, 16), ("fp32",)),
    "a": Spec(Case((784, 512, 512, 10), 128, CE, 256), Case((20, 16, 16, 10), 16, CE, 8), ("tf32", "fp32")),
    "c": Spec(Case((64, 64, 64, 64, 64, 10), 2**18, CE, 16), Case((16, *4 * [16], 10), 256, CE, 4), ("bf16", "fp32")),
    "b": Spec(Case((4096, *4 * [4096], 16), 8192, CE, 8), Case((32, *4 * [32], 16), 64, CE, 4), ("bf16", "tf32")),
    "e": Spec(Case((784, 512, 256, 10), 256, CE, 60_000 // 256), Case((784, 32, 16, 10), 64, CE, 8), ("tf32",)),
}


class Entry(NamedTuple):
    """A competitor: the worker's class, its environment, by how much longer than others it may take to get ready."""

    worker: str
    environment: dict[str, str]
    patience: float = 1.0


JAX = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # or it takes three quarters of the card from the others
ENTRIES = {
    "chainrule": Entry("chainrule", {}),
    "chainrule-eager": Entry("chainrule", {"CHAINRULE_GRAPHS": "0"}),
    "torch": Entry("torch", {}),
    "torch-graph": Entry("torch-graph", {}),
    "jax-step": Entry("jax-step", JAX),
    "jax-scan": Entry("jax-scan", JAX),
    "torch-compile": Entry("torch-compile", {}, 2.0),
    "chainrule-again": Entry("chainrule", {}),
}


class Clock:
    """How much of the budget is left."""

    def __init__(self, budget: float) -> None:
        self.start, self.budget = time.perf_counter(), budget

    @property
    def spent(self) -> float:
        return time.perf_counter() - self.start

    @property
    def left(self) -> float:
        return self.budget - self.spent

    def limit(self, do: str, patience: float = 1.0) -> float:
        """Seconds that a worker may take for this: its limit, or what is left of the budget and its grace."""
        return max(2.0, min(LIMITS[do] * patience, self.left + GRACE))


class Seat:
    """A competitor's place in the run; its process is restarted for the next case if it failed in one."""

    def __init__(self, name: str, device: str, clock: Clock) -> None:
        self.name, self.entry, self.device, self.clock = name, ENTRIES[name], device, clock
        self.loaded: dict[str, Any] | None = None
        self.start()

    def start(self) -> None:
        environment = {**self.entry.environment, **({"JAX_PLATFORMS": "cpu"} if self.device == "cpu" else {})}
        arguments = [self.device]
        without = ("CHAINRULE_GRAPHS",)  # an entry says itself whether it captures
        self.process = Process(self.entry.worker, environment, without, script=WORKER, arguments=arguments)
        self.process.send("load")
        self.waiting = True

    def load(self) -> dict[str, Any]:
        """Wait until the library is loaded; what it says, or why it cannot take part in anything."""
        if self.waiting:
            self.waiting = False
            answer = self.process.receive(self.clock.limit("load"))
            self.loaded = answer if self.loaded is None or "failed" not in answer else self.loaded
        return self.process.fate or self.loaded or {}

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        self.process.send(do, **arguments)
        return self.process.receive(self.clock.limit(do, self.entry.patience))

    def begin_case(self) -> dict[str, Any]:
        """Ready for a case: {} or the reason why not."""
        if self.process.fate and self.loaded is not None and "versions" in self.loaded:
            self.process.close()
            self.start()
        self.load()
        return self.process.fate

    @property
    def alive(self) -> bool:
        return not self.process.fate


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*SPECS, *(f"{name}:{p}" for name, spec in SPECS.items() for p in spec.precisions)]
    parser.add_argument("--cases", nargs="+", choices=names, metavar="CASE[:PRECISION]", help=", ".join(names))
    parser.add_argument("--competitors", nargs="+", choices=list(ENTRIES), default=list(ENTRIES))
    parser.add_argument("--budget", type=float, default=300.0, metavar="S", help="seconds for all (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="at most (%(default)s)")
    parser.add_argument("--seconds", type=float, default=0.15, help="of a competitor's turn (%(default)s)")
    parser.add_argument(
        "--patience",
        type=float,
        default=25.0,
        metavar="S",
        help="after which a competitor begins no new variant of itself in a case (%(default)s)",
    )
    parser.add_argument("--data", type=Path, help="Fashion-MNIST: the folder of its four files, or an .npz")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--smoke", action="store_true", help="tiny cases, whose figures mean nothing")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--svg", type=Path)
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # by way of `finally`: no worker is left behind
    return Comparison(args).run()


class Comparison:
    """One run of this program; ``found`` is what goes into the file."""

    def __init__(self, args: argparse.Namespace) -> None:
        self.args, self.clock = args, Clock(args.budget)
        chosen = [name for name in ENTRIES if name in {*args.competitors, "chainrule"}]
        self.seats = {name: Seat(name, args.device, self.clock) for name in chosen}
        self.found: dict[str, Any] = {"benchmark": "compare_cuda", "smoke": args.smoke, **facts([])}
        self.found |= {"budget_s": args.budget, "tolerances": TOLERANCES, "checked": CHECKED, "goal": GOAL}
        self.found["cases"] = {}
        self.folder = tempfile.TemporaryDirectory()
        self.without_data: dict[str, str] = {}
        self.share = 0.0  # seconds that one competitor's variants may take in the present case

    def run(self) -> int:
        try:
            self.lay_out_all()  # while the libraries load
            if not self.load():
                return 4
            self.measure_floors()
            plan = self.plan()
            for number, (name, precision) in enumerate(plan):
                foremost = [pair for pair in plan[number:] if self.is_foremost(*pair)]
                self.share = max(0.0, self.clock.left / len(foremost or plan[number:]) / 2)
                result = self.measure(name, precision)
                self.found["cases"][f"{name} {precision}"] = result
                print_case(name, precision, result)
                self.write()
        finally:  # also when it is asked to stop
            for seat in self.seats.values():
                seat.process.end()
            self.folder.cleanup()
            self.found["faults"] = faults = self.faults()
            self.write()
            if self.found["cases"]:
                print_summary(self.found)
        return 1 if faults else 0

    def plan(self) -> list[tuple[str, str]]:
        """Foremost precisions first, as the budget may not last for all."""
        asked = self.args.cases or list(SPECS)
        pairs = [(name, p) for name, spec in SPECS.items() for p in spec.precisions]
        chosen = [(name, p) for name, p in pairs if name in asked or f"{name}:{p}" in asked]
        return sorted(chosen, key=lambda pair: not self.is_foremost(*pair))

    def is_foremost(self, name: str, precision: str) -> bool:
        return SPECS[name].precisions[0] == precision

    def write(self) -> None:
        self.found["spent_s"] = self.clock.spent
        if self.args.json is not None:
            self.args.json.parent.mkdir(parents=True, exist_ok=True)
            self.args.json.write_text(json.dumps(self.found, indent=1) + "\n", encoding="utf-8")
        if self.args.svg is not None:
            self.args.svg.write_text(picture(self.found), encoding="utf-8")

    # ---- before the cases -------------------------------------------------------------------------

    def load(self) -> bool:
        """Wait for all libraries, which load at the same time; False if none of them has a device."""
        self.found["clocks"] = {"before": card_state()}
        self.found["competitors"] = loaded = {name: seat.load() for name, seat in self.seats.items()}
        self.found["versions"] = {k: v for one in loaded.values() for k, v in one.get("versions", {}).items()}
        self.found["card"] = {k: v for one in reversed(loaded.values()) for k, v in one.get("about", {}).items()}
        print(f"loaded after {self.clock.spent:.0f} s: {self.found['card']}", flush=True)
        if any(seat.alive for seat in self.seats.values()):
            return True
        for name, answer in loaded.items():
            print(f"{name}: {answer.get('absent') or answer.get('failed')}")
        return False

    def measure_floors(self) -> None:
        """What the card does at most, asked of torch."""
        seat = next((s for n, s in self.seats.items() if n.startswith("torch") and s.alive), None)
        size = {"size": 256, "copied": 2**20, "nodes": 10} if self.args.smoke else {
            "size": 8192, "copied": 2**29, "nodes": 1000
        }  # fmt: skip
        rates = seat.ask("extra", what="rates", arguments=size) if seat else {"failed": "torch is not installed"}
        self.found["rates"] = rates
        print(f"rates after {self.clock.spent:.0f} s: {_brief(rates)}", flush=True)

    # ---- a case -----------------------------------------------------------------------------------

    def measure(self, name: str, precision: str) -> dict[str, Any]:
        """Everything about one case in one precision."""
        spec = SPECS[name]
        case = spec.tiny if self.args.smoke else spec.case
        result: dict[str, Any] = {"case": case._asdict(), "precision": precision, "competitors": {}}
        if self.clock.left <= 0:
            return {**result, "skipped": "the budget was spent"}
        if reason := self.without_data.get(name):
            return {**result, "skipped": reason}
        folder = str(Path(self.folder.name) / name)
        found = result["competitors"] = {n: self.get_ready(s, case, precision, folder) for n, s in self.seats.items()}
        result |= self.compare(found, precision)
        result["floor"] = floor_of(case, precision, self.found["rates"])
        self.rounds(name, case, found)
        self.rank(result)
        result["bits"] = self.compare_bits(found)
        chainrule = self.seats["chainrule"]
        if name == "d" and chainrule.alive:
            steps = 100 if self.args.smoke else FLAT_STEPS
            self.found["memory"] = chainrule.ask("extra", what="memory", arguments={"steps": steps})
        if name == "a" and "predict" not in self.found and chainrule.alive:
            rows = 1000 if self.args.smoke else PREDICTED_ROWS
            answer = chainrule.ask("extra", what="predict", arguments={"rows": rows})
            self.found["predict"] = {"widths": case.widths, "precision": found["chainrule"].get("precision"), **answer}
        self.found["clocks"][f"after {name} {precision}"] = card_state()
        for seat in self.seats.values():
            if seat.alive:
                seat.ask("release")
        return result

    def lay_out_all(self) -> None:
        """The arrays of all cases, one folder per case; why there are none goes into ``without_data``."""
        for name in dict(self.plan()):
            folder = Path(self.folder.name) / name
            folder.mkdir()
            try:
                self.lay_out(name, SPECS[name].tiny if self.args.smoke else SPECS[name].case, folder)
            except (OSError, ValueError) as error:
                self.without_data[name] = str(error)

    def lay_out(self, name: str, case: Case, folder: Path) -> None:
        """Initial weights and rows, one .npy each, which all workers read."""
        rng = np.random.default_rng(0)
        for i, (n_in, n_out) in enumerate(zip(case.widths, case.widths[1:], strict=False)):
            W = rng.standard_normal((n_in, n_out), np.float32) * np.float32((2 / n_in) ** 0.5)
            np.save(folder / f"W{i}.npy", W)
            np.save(folder / f"b{i}.npy", rng.standard_normal(n_out, np.float32) * np.float32(0.01))
        if name == "e":
            if self.args.data is None:
                raise ValueError("no --data, so no Fashion-MNIST")
            arrays = read_fashion(self.args.data)
            if self.args.smoke:
                arrays = {key: array[: case.steps * case.batch] for key, array in arrays.items()}
        else:
            rows, n_in = case.steps * case.batch, case.widths[0]
            X = np.empty((rows, n_in), np.float32)

            def fill(part: np.ndarray, its_rng: np.random.Generator) -> None:
                its_rng.standard_normal(out=part, dtype=np.float32)

            with ThreadPoolExecutor() as pool:  # a large case has 2.7e8 numbers
                list(pool.map(fill, X.reshape(case.steps, case.batch, n_in), rng.spawn(case.steps)))
            teacher = rng.standard_normal((n_in, case.widths[-1]), np.float32)
            arrays = {"X": X, "y": (X @ teacher).argmax(axis=1)}
        for key, array in arrays.items():
            np.save(folder / f"{key}.npy", array)

    def get_ready(self, seat: Seat, case: Case, precision: str, folder: str) -> dict[str, Any]:
        """One competitor set up, warmed up and checked: what it said of it."""
        slow = seat.entry.patience > 1 and not self.args.smoke
        if self.clock.left < (WORTH_COMPILING if slow else 0):
            return {"skipped": "too little of the budget was left to get it ready"}
        if reason := seat.begin_case():
            return dict(reason)
        start = time.perf_counter()
        found = dict(seat.ask("setup", case=case, precision=precision, folder=folder))
        patience = min(self.args.patience * seat.entry.patience, self.share)
        found |= seat.ask("prepare", seconds=self.args.seconds, patience=patience)
        if seat.alive:
            found["check"] = seat.ask("check", **CHECKED)
        if seat.alive and case.widths[0] == 784 and self._is_race(case):
            found["first"] = seat.ask("reach", **self._goal(), seed=0)
        return {**found, **seat.process.fate, "ready_s": time.perf_counter() - start}

    def _is_race(self, case: Case) -> bool:
        return case in {SPECS["e"].case, SPECS["e"].tiny}

    def _goal(self) -> dict[str, Any]:
        return {"goal": GOAL, "most": 2 if self.args.smoke else MOST_EPOCHS}

    def compare(self, found: dict[str, Any], precision: str) -> dict[str, Any]:
        """Beside every competitor's losses, the largest relative difference to the reference's."""
        order = ["chainrule", *PEERS, "chainrule-eager", "chainrule-again"]
        reference = next((n for n in order if "check" in found.get(n, {}) and "failed" not in found[n]), None)
        for one in found.values():
            if reference is not None and "few" in one.get("check", {}):
                ours, theirs = (c["check"] for c in (found[reference], one))
                few = _difference([theirs["first"], *theirs["few"]], [ours["first"], *ours["few"]])
                epoch = _difference([theirs["epoch"]], [ours["epoch"]])
                one["loss_difference"], one["epoch_difference"] = few, epoch
                pairs = zip((few, epoch), TOLERANCES[precision], strict=True)
                one["agrees"] = all(found is not None and found <= allowed for found, allowed in pairs)
        return {"reference": reference}

    def rounds(self, name: str, case: Case, found: dict[str, Any]) -> None:
        """Turn after turn; the figures go into ``found``."""
        taking_part = [n for n, one in found.items() if one.get("agrees")]
        values: dict[str, list[float]] = {n: [] for n in taking_part}
        epochs: dict[str, list[int]] = {n: [] for n in taking_part}
        for number in range(self.args.rounds):
            if number and self.clock.left <= 0:
                break
            shift = number % max(1, len(taking_part))
            for competitor in taking_part[shift:] + taking_part[:shift]:
                seat, seed = self.seats[competitor], number + 1
                if not seat.alive:
                    continue
                if name == "e":
                    answer = seat.ask("reach", **self._goal(), seed=seed)
                    if "seconds" in answer:
                        values[competitor].append(answer["seconds"] * 1e3)
                        epochs[competitor].append(answer["epochs"] if answer["accuracy"] >= GOAL else -1)
                else:
                    each = found[competitor]["epochs"]
                    answer = seat.ask("turn", epochs=each, seed=seed)
                    if "seconds" in answer:
                        values[competitor].append(answer["seconds"] / each / case.steps * 1e6)
                found[competitor] |= seat.process.fate
        for competitor, times in values.items():
            if times and self.seats[competitor].alive:
                found[competitor] |= summary(times, "ms to the goal" if name == "e" else "us a step")
                if name == "e":
                    found[competitor]["epochs_to_goal"] = epochs[competitor]  # -1: not reached
                    found[competitor]["reached"] = min(epochs[competitor]) > 0

    def rank(self, result: dict[str, Any]) -> None:
        """Ratios to the best peer and to the floor."""
        found, floor = result["competitors"], result["floor"].get("us")
        peers = {n: one["median"] for n, one in found.items() if n in PEERS and "median" in one}
        best = min(peers, key=peers.__getitem__, default=None)
        result["best_peer"] = best
        ours, again = (found.get(n, {}).get("median") for n in ("chainrule", "chainrule-again"))
        result["noise"] = abs(again / ours - 1) if ours and again else None
        for one in found.values():
            if "median" in one:
                one["to_best_peer"] = one["median"] / peers[best] if best else None
                one["to_floor"] = one["median"] / floor if floor and one["unit"] == "us a step" else None

    def compare_bits(self, found: dict[str, Any]) -> dict[str, Any]:
        """Is a fit with the same seed the same to the last bit: again, in another process, and without graphs?"""
        digests: dict[str, str] = {}
        for name in ("chainrule", "chainrule", "chainrule-again", "chainrule-eager"):
            if "check" in found.get(name, {}) and self.seats[name].alive:
                answer = self.seats[name].ask("extra", what="bits", arguments={"epochs": 2})
                if "sha256" in answer:
                    digests[name if name not in digests else "chainrule, second fit"] = answer["sha256"]
        first = digests.get("chainrule")
        same = {name: digest == first for name, digest in digests.items() if name != "chainrule"} if first else {}
        return {"digests": digests, "same": same}

    def faults(self) -> list[str]:
        """What makes this run a failure of chainrule."""
        found = []
        for key, result in self.found["cases"].items():
            competitors = result["competitors"]
            ours = competitors.get("chainrule", {})
            if reason := ours.get("failed") or ours.get("absent"):
                found.append(f"{key}: chainrule: {reason}")
            peers = [one["agrees"] for name, one in competitors.items() if name in PEERS and "agrees" in one]
            if peers and not any(peers):
                found.append(f"{key}: chainrule's losses agree with no peer's")
            for what in ("chainrule, second fit", "chainrule-again"):
                if result.get("bits", {}).get("same", {}).get(what) is False:
                    found.append(f"{key}: not the same bits twice ({what})")
        grown = self.found.get("memory", {}).get("grown", {})
        found += [f"memory: {k} grew by {v} bytes" for k, v in grown.items() if k.startswith("pool") and v > 0]
        return found


def _difference(losses: list[float], reference: list[float]) -> float | None:
    """The largest relative difference; None if a loss is not finite."""
    difference = float(np.abs(np.array(losses) / np.array(reference) - 1).max())
    return difference if np.isfinite(difference) else None


def summary(times: list[float], unit: str) -> dict[str, Any]:
    """Median, least, most, and how far these are apart by the median."""
    median = statistics.median(times)
    spread = (max(times) - min(times)) / median
    return {"unit": unit, "median": median, "least": min(times), "most": max(times), "spread": spread, "rounds": times}


def floor_of(case: Case, precision: str, rates: dict[str, Any]) -> dict[str, Any]:
    """The three terms in microseconds, and their largest as "us"; see the top of this file."""
    products = [a * b for a, b in zip(case.widths, case.widths[1:], strict=False)]
    flops = 2 * case.batch * (3 * sum(products) - products[0])
    parameters = sum(products) + sum(case.widths[1:])
    moved = 28 * parameters + 4 * case.batch * case.widths[0]
    launches = 3 * len(products) + 2
    found: dict[str, Any] = {"flops": flops, "bytes": moved, "launches": launches}
    if "copy_tb_s" in rates:
        terms = {"flops_us": flops / rates[f"{precision}_tflops"] / 1e6, "bytes_us": moved / rates["copy_tb_s"] / 1e6}
        if rates["node_us"] is not None:
            terms["launches_us"] = launches * rates["node_us"]
        found |= {**terms, "us": max(terms.values())}
    return found


def card_state() -> dict[str, str] | None:
    """What nvidia-smi says of clocks, heat and power at this moment; None if it says nothing."""
    fields = (
        "name,driver_version,pstate,clocks.sm,clocks.mem,clocks.max.sm,clocks.max.mem,temperature.gpu,power.draw,"
        "power.limit,memory.used,utilization.gpu"
    )
    command = ["nvidia-smi", f"--query-gpu={fields}", "--format=csv,noheader"]
    if shutil.which(command[0]) is None:
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.splitlines()
        values = [value.strip() for value in said[0].split(",")] if said else []
        return dict(zip(fields.split(","), values, strict=False)) or None
    return None


def _brief(rates: dict[str, Any]) -> str:
    if "failed" in rates:
        return rates["failed"]
    return ", ".join(f"{key} {value:.3g}" for key, value in rates.items() if value is not None)


if __name__ == "__main__":
    sys.exit(main())
