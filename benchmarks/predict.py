"""Predictions of 100,000 rows beside onnxruntime on the exported net: ``python benchmarks/predict.py [--json FILE]``.

Interleaved rounds in one process, both with their default threads; the answers are compared first. chainrule's time is
that of `predict_proba`, its checks of the rows included; onnxruntime runs the same products, activations and softmax in
one call, and checks nothing. With ``--standardised`` both standardise the rows first, in float64.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnxruntime
from environment import facts

import chainrule as cr

ROWS = 100_000
PAUSE = 0.2  # seconds: the threads of whoever ran last spin for a while, and would run against the next
NETS = {"S": (64, 100, 10), "M": (784, 512, 512, 10), "W": (32, 256, 256, 256, 2)}


def as_onnx(net: cr.Network) -> onnxruntime.InferenceSession:
    """The net as `export_onnx` writes it."""
    with tempfile.TemporaryDirectory() as folder:
        net.export_onnx(Path(folder) / "net.onnx")
        return onnxruntime.InferenceSession(Path(folder) / "net.onnx", providers=["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--standardised", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    results = {}
    for name, widths in NETS.items():
        net = cr.MLP(widths)
        X = np.random.default_rng(0).normal(size=(ROWS, widths[0])).astype(np.float32)
        if args.standardised:
            net.preparation = cr.Preparation(features=cr.Standardization.fit(X, limit=3.0))
        session = as_onnx(net)
        runs = {
            "chainrule": lambda: net.predict_proba(X),  # noqa: B023 - used at once
            "onnxruntime": lambda: session.run(["probabilities"], {"X": X})[0],  # noqa: B023 - the same
        }
        gap = float(np.abs(runs["chainrule"]() - runs["onnxruntime"]()).max())
        assert gap < 1e-5, f"the nets differ by {gap}"
        times: dict[str, list[float]] = {peer: [] for peer in runs}
        for _ in range(args.rounds):
            for peer, run in runs.items():
                time.sleep(PAUSE)
                start = time.perf_counter()
                run()
                times[peer].append(time.perf_counter() - start)
        ms = {peer: statistics.median(found) * 1e3 for peer, found in times.items()}
        ours, theirs = ms["chainrule"], ms["onnxruntime"]
        results[name] = {"chainrule_ms": ours, "onnxruntime_ms": theirs, "ratio": ours / theirs}
        print(f"{name}  {'-'.join(map(str, widths)):<24}", end="")
        print(f"chainrule {ours:7.1f} ms  onnxruntime {theirs:7.1f} ms  ratio {ours / theirs:.2f}")
    if args.json is not None:
        found = {
            "benchmark": "predict",
            "rows": ROWS,
            "standardised": args.standardised,
            **facts([cr.backend("cpu")]),
            "nets": results,
        }
        args.json.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
