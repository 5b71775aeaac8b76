"""Predictions beside onnxruntime: ``python benchmarks/predict.py [--rows N] [--busy 0,1] [--json FILE]``.

Interleaved rounds in one process, on the exported net, both with their default threads, the compiled loops loaded; the
answers are compared first. chainrule's time is that of `predict_proba`, its checks of the rows included; onnxruntime
runs the same products, activations and softmax in one call, and checks nothing. With ``--standardised`` both
standardise the rows first, in float64. With ``--busy 0,1`` each round is measured on the idle machine, then beside one
process that does nothing but compute.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
from busy import BusyProcesses, busy_counts
from environment import facts

import chainrule as cr
from chainrule.backends.compiled.backend import loaded

PAUSE = 0.2  # seconds: the threads of whoever ran last spin for a while, and would run against the next
NETS = {"S": (64, 100, 10), "M": (784, 512, 512, 10), "W": (32, 256, 256, 256, 2)}


def as_onnx(net: cr.Network) -> onnxruntime.InferenceSession:
    """The net as `export_onnx` writes it."""
    with tempfile.TemporaryDirectory() as folder:
        net.export_onnx(Path(folder) / "net.onnx")
        return onnxruntime.InferenceSession(Path(folder) / "net.onnx", providers=["CPUExecutionProvider"])


def seconds_of(run: Callable[[], object]) -> float:
    """Of one call; of short ones the mean of as many as take a hundredth of a second."""
    start = time.perf_counter()
    run()
    first = time.perf_counter() - start
    calls = int(0.01 / first)
    if calls < 2:
        return first
    start = time.perf_counter()
    for _ in range(calls):
        run()
    return (time.perf_counter() - start) / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--busy", type=busy_counts, default=[0], metavar="N[,N]", help="busy processes beside it (0)")
    parser.add_argument("--standardised", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results: dict[str, dict[str, dict[str, float]]] = {}
    for name, widths in NETS.items():
        net = cr.MLP(widths, backend=loaded())
        X = np.random.default_rng(0).normal(size=(args.rows, widths[0])).astype(np.float32)
        if args.standardised:
            net.preparation = cr.Preparation(features=cr.Standardization.fit(X, limit=3.0))
        session = as_onnx(net)
        runs = {
            "chainrule": lambda: net.predict_proba(X),  # noqa: B023 - used at once
            "onnxruntime": lambda: session.run(["probabilities"], {"X": X})[0],  # noqa: B023 - the same
        }
        gap = float(np.abs(runs["chainrule"]() - runs["onnxruntime"]()).max())
        assert gap < 1e-5, f"the nets differ by {gap}"
        times: dict[tuple[str, int], list[float]] = {(peer, load): [] for peer in runs for load in args.busy}
        for _ in range(args.rounds):
            for load in args.busy:
                with BusyProcesses(load):
                    for peer, run in runs.items():
                        time.sleep(PAUSE)
                        times[peer, load].append(seconds_of(run))
        results[name] = {}
        for load in args.busy:
            ours, theirs = (statistics.median(times[peer, load]) * 1e3 for peer in runs)
            found = {"chainrule_ms": ours, "onnxruntime_ms": theirs, "ratio": ours / theirs}
            results[name][str(load)] = found
            print(f"{name}  {'-'.join(map(str, widths)):<24}{load} busy  ", end="")
            print(f"chainrule {ours:9.3f} ms  onnxruntime {theirs:9.3f} ms  ratio {ours / theirs:.2f}")
    if args.json is not None:
        found = {
            "benchmark": "predict",
            "rows": args.rows,
            "standardised": args.standardised,
            **facts([cr.backend("cpu")]),
            "nets": results,
        }
        args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
