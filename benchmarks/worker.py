"""The process of one peer of ``compare_cpu.py``: ``python benchmarks/worker.py NAME``, a JSON line in, a JSON line out.

A process each, so that the thread pools of two libraries never meet; blocked on the pipe when it is not its turn.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from peers import Case, Chainrule, Gemm, Peer, ScikitLearn, Thinc
from peers_torch_jax import JaxScan, JaxStep, Torch, TorchCompile

DISTRIBUTIONS = {"sklearn": "scikit-learn"}  # whose package is not called as its module
CLASSES: dict[str, type[Peer]] = {
    "chainrule": Chainrule,
    "torch": Torch,
    "torch-compile": TorchCompile,
    "jax-step": JaxStep,
    "jax-scan": JaxScan,
    "scikit-learn": ScikitLearn,
    "thinc": Thinc,
    "gemm": Gemm,
}


class Worker:
    """The commands, by name; each takes the rest of the line and returns what is sent back."""

    def __init__(self, name: str) -> None:
        self.peer = CLASSES[name]()

    def setup(self, case: list[Any], folder: str) -> dict[str, Any]:
        """Import the library and take in the arrays of ``folder``; {"absent": why} if the library is not installed."""
        widths, *rest = case
        arrays = {path.stem: np.load(path) for path in Path(folder).glob("*.npy")}
        weights = [(arrays[f"W{i}"], arrays[f"b{i}"]) for i in range(len(widths) - 1)]
        for array in (a for pair in weights for a in pair):
            array.flags.writeable = False  # every run begins with them
        self.test = (arrays.get("X_test"), arrays.get("y_test"))
        start = time.perf_counter()
        try:
            self.peer.setup(Case(tuple(widths), *rest), weights, arrays["X"], arrays["y"])
        except ModuleNotFoundError as error:
            return {"absent": f"{error.name} is not installed"}
        module = self.peer.module
        version = importlib.metadata.version(DISTRIBUTIONS.get(module, module))
        return {"version": version, "seconds": time.perf_counter() - start}

    def losses(self, count: int) -> dict[str, Any]:
        return {"losses": self.peer.losses_in_order(count)}

    def run(self, steps: int, seed: int) -> dict[str, Any]:
        return {"seconds": self.peer.run(steps, seed)}

    def reach(self, goal: float, most: int, seed: int) -> dict[str, Any]:
        return {**self.peer.reach(goal, *self.test, most, seed)}

    def fits(self, count: int, epochs: int, together: bool) -> dict[str, Any]:
        """Seconds of ``count`` whole fits, each of a net of its own: in as many threads at once, or one by one."""
        peers = [type(self.peer)() for _ in range(count)]
        for peer in peers:
            peer.setup(self.peer.case, self.peer.weights, self.peer.X, self.peer.y)
        start = time.perf_counter()
        if together:
            with ThreadPoolExecutor(count) as pool:
                list(pool.map(lambda peer: peer.train(epochs), peers))
        else:
            for peer in peers:
                peer.train(epochs)
        seconds = time.perf_counter() - start
        return {"seconds": seconds, "losses": [peer.history["loss"][-1] for peer in peers]}

    def memory(self) -> dict[str, Any]:
        return {"peak_mib": peak_bytes() / 2**20}


def peak_bytes() -> int:
    """The most memory that was resident. Not by ru_maxrss on Linux: it survives exec, so it may be the parent's."""
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def main(name: str) -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not land between the replies
    worker = Worker(name)
    for line in sys.stdin:
        command = json.loads(line)
        act: Callable[..., dict[str, Any]] = getattr(worker, command.pop("do"))
        try:
            start = time.process_time()
            reply = act(**command)
            reply["cpu_seconds"] = time.process_time() - start  # of all threads
        except Exception as error:
            reply = {"failed": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
