"""The process of one competitor of ``compare_cuda.py``: ``python benchmarks/worker_cuda.py NAME DEVICE``.

A JSON line in, a JSON line out. A process each, so that memory pools, contexts and settings of two libraries never
meet; blocked on the pipe when it is not its turn, and gone when the process that started it is.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from peers import Case
from peers_cuda import Arrays, Chainrule, Competitor, first_line
from peers_cuda_jax import JaxScan, JaxStep
from peers_cuda_torch import Torch, TorchCompile, TorchGraph

CLASSES: dict[str, type[Competitor]] = {
    "chainrule": Chainrule,
    "torch": Torch,
    "torch-graph": TorchGraph,
    "torch-compile": TorchCompile,
    "jax-step": JaxStep,
    "jax-scan": JaxScan,
}


class Worker:
    """The commands, by name; each takes the rest of the line and returns what is sent back."""

    def __init__(self, name: str, device: str) -> None:
        self.competitor = CLASSES[name](device)

    def load(self) -> dict[str, Any]:
        start = time.perf_counter()
        try:
            self.competitor.load()
        except ModuleNotFoundError as error:
            return {"absent": f"{error.name} is not installed"}
        versions = {name: _version(name) for name in self.competitor.distributions}
        about: dict[str, Any] = {}
        with contextlib.suppress(Exception):  # a fact that cannot be had keeps nobody from taking part
            about = self.competitor.about()
        return {
            "seconds": time.perf_counter() - start,
            "versions": {name: version for name, version in versions.items() if version},
            "about": about,
        }

    def setup(self, case: list[Any], precision: str, folder: str) -> dict[str, Any]:
        """Take in the case whose arrays lie in ``folder``."""
        widths, *rest = case
        # Mapped, so that a large case is read from the disk's cache by all and held in memory by none; "c", as torch
        # warns of arrays that may not be written.
        files = {path.stem: np.asarray(np.load(path, mmap_mode="c")) for path in Path(folder).glob("*.npy")}
        weights = [(files[f"W{i}"], files[f"b{i}"]) for i in range(len(widths) - 1)]
        arrays = Arrays(weights, files["X"], files["y"], files.get("X_test"), files.get("y_test"))
        self.competitor.setup(Case(tuple(widths), *rest), precision, arrays)
        return {"precision": self.competitor.precision}

    def prepare(self, seconds: float, patience: float) -> dict[str, Any]:
        return self.competitor.prepare(seconds, patience)

    def check(self, batches: int, steps: int) -> dict[str, Any]:
        return self.competitor.check(batches, steps)

    def turn(self, epochs: int, seed: int) -> dict[str, Any]:
        return self.competitor.turn(epochs, seed)

    def reach(self, goal: float, most: int, seed: int) -> dict[str, Any]:
        return self.competitor.reach(goal, most, seed)

    def release(self) -> dict[str, Any]:
        self.competitor.release()
        return {}

    def extra(self, what: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """What only some are asked for: the method of that name."""
        act: Callable[..., dict[str, Any]] = getattr(self.competitor, what)
        return act(**arguments)


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def leave_with(parent: int) -> None:
    """End this process when ``parent`` is no more, even from within a call that would never end."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def main(name: str, device: str) -> None:
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not land between the replies
    threading.Thread(target=leave_with, args=(os.getppid(),), daemon=True).start()
    worker = Worker(name, device)
    for line in sys.stdin:
        command = json.loads(line)
        act: Callable[..., dict[str, Any]] = getattr(worker, command.pop("do"))
        try:
            reply = act(**command)
        except Exception as error:
            reason = f"{type(error).__name__}: {first_line(error)}"
            reply = {"failed": reason, "traceback": traceback.format_exc()[-4000:]}
        print(json.dumps(reply), file=replies, flush=True)
    os._exit(0)  # at once: what libraries do at exit takes seconds and has nothing to say


if __name__ == "__main__":
    main(*sys.argv[1:])
