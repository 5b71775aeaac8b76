"""Fits side by side: in threads, under joblib and in forked processes, against the same fits one after the other.

A round is eight fits, of sizes that differ, so that one is in an optimiser while another lays out memory, and the
compiled loops are loaded while all of them run; half the rounds share one backend. The weights are the same to the
bit, and so are predictions of one net that all threads ask for at once.
"""

from __future__ import annotations

import concurrent.futures
import functools
import hashlib
import importlib.util
import os
import random
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import chainrule as cr
from campaigns.failing_memory import in_a_process
from campaigns.tally import Tally
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.compiled import loading
from chainrule.backends.compiled.state import LOOPS, Loops

TITLE = "fits side by side (rounds of 8)"
CASES = 50

FITS = 8
KINDS = ["threads", "threads", "joblib threads", "fork", "joblib processes", "a new process"]
LAYERS = ["relu", "gelu", "dropout", "batch norm", "layer norm"]


@functools.cache
def shared() -> cr.Backend:
    """One for all."""
    return cr.backend("cpu")


def specification(number: int, fit: int) -> dict[str, Any]:
    """What one fit of a round is."""
    rng = random.Random(f"{number} {fit}")
    return {
        "rows": rng.choice([40, 150, 600]),
        "width": rng.choice([8, 32, 128]),
        "layer": rng.choice(LAYERS),
        "dtype": rng.choice(["float32", "float64"]),
        "loss": rng.choice(["softmax_cross_entropy", "squared_error"]),
        "optimizer": rng.choice(["adam", "sgd", "adamw"]),
        "stream": rng.random() < 0.2,
        "seed": number * FITS + fit,
        "ema": rng.choice([None, 0.9]),
        "validation": rng.choice([None, 0.2]),
        "shared": number % 2 == 0,
    }


def train(spec: dict[str, Any]) -> str:
    """The sha256 of the weights of one fit."""
    rng, width = np.random.default_rng(spec["seed"]), spec["width"]
    X = rng.normal(size=(spec["rows"], 6))
    y = np.arange(spec["rows"]) % 3 if spec["loss"] == "softmax_cross_entropy" else X[:, :3] ** 2
    hidden: dict[str, list[cr.Layer]] = {
        "relu": [cr.Dense(width, "relu")],
        "gelu": [cr.Dense(width, "gelu"), cr.Dense(width, "tanh")],
        "dropout": [cr.Dense(width, "relu"), cr.Dropout(0.3)],
        "batch norm": [cr.Dense(width), cr.BatchNorm(), cr.Activation("relu")],
        "layer norm": [cr.Dense(width, "silu"), cr.LayerNorm()],
    }
    optimizer = {"adam": cr.Adam, "sgd": cr.SGD, "adamw": cr.AdamW}[spec["optimizer"]]()
    backend = shared() if spec["shared"] else cr.backend("cpu")
    layers = [*hidden[spec["layer"]], cr.Dense(3)]
    net = cr.Network(layers, 6, loss=spec["loss"], dtype=spec["dtype"], seed=spec["seed"], backend=backend)
    trainer = cr.Trainer(
        net, optimizer, batch_size=32, epochs=3, seed=spec["seed"], stream=spec["stream"], ema=spec["ema"]
    )
    trainer.fit(X, y, validation=spec["validation"])
    return hashlib.sha256(net.parameter_arena.flat.tobytes() + np.asarray(net.predict(X)).tobytes()).hexdigest()


def make_due() -> None:
    """The compiled loops are loaded in a moment: in the midst of what comes."""
    if not LOOPS.is_loaded:
        LOOPS.spent, LOOPS.price = loading.LOADING - 0.02, loading.LOADING


def train_in_another(spec: dict[str, Any]) -> str:
    """:func:`train`, in a process of joblib's."""
    make_due()
    return train(spec)


def in_threads(specs: Sequence[dict[str, Any]]) -> list[str]:
    """All at once, from a common start."""
    start = threading.Barrier(len(specs))

    def begin(spec: dict[str, Any]) -> str:
        start.wait()
        return train(spec)

    with concurrent.futures.ThreadPoolExecutor(len(specs)) as pool:
        return list(pool.map(begin, specs))


def in_forks(specs: Sequence[dict[str, Any]], folder: Path) -> list[str]:
    """In processes that begin with all that this one has loaded."""

    def work(spec: dict[str, Any], path: Path) -> int:
        path.write_text(train(spec))
        return 0

    path, found = folder / "weights", []
    for spec in specs:
        code = in_a_process(lambda spec=spec: work(spec, path), folder / "stderr")
        found.append(path.read_text() if not code else f"exit code {code}: {(folder / 'stderr').read_text()[-300:]}")
    return found


def under_joblib(specs: Sequence[dict[str, Any]], backend: str) -> list[str]:
    """As scikit-learn's ``n_jobs``."""
    import joblib
    from joblib.externals.loky import get_reusable_executor

    # With as many threads of BLAS as here: bits depend on their number, and joblib gives processes fewer.
    threads = int(os.environ.get("OPENBLAS_NUM_THREADS") or os.cpu_count() or 1) if backend == "loky" else None
    with joblib.parallel_config(backend, n_jobs=4, inner_max_num_threads=threads):
        found = joblib.Parallel()(joblib.delayed(train_in_another)(spec) for spec in specs)
    if backend == "loky":
        get_reusable_executor().shutdown(wait=True)
    return list(found)


def in_a_new_process(number: int) -> list[str]:
    """In threads of a process in which nothing has been loaded yet."""
    code = (
        "import campaigns.threads as t; t.make_due(); "
        f"print(*t.in_threads([t.specification({number}, i) for i in range(t.FITS)]))"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False, env=environment
    )
    return done.stdout.split() if not done.returncode else [done.stderr[-300:]]


def predictions_differ() -> bool:
    """Whether eight threads are told the same of one net as one is."""
    X = np.random.default_rng(0).normal(size=(500, 6))
    net = cr.MLP([6, 64, 64, 3], activation="gelu", backend=shared())
    expected = net.predict_proba(X).tobytes()
    with concurrent.futures.ThreadPoolExecutor(FITS) as pool:
        return any(found != expected for found in pool.map(lambda _: net.predict_proba(X).tobytes(), range(4 * FITS)))


def outcome(number: int, folder: Path) -> str:
    """The kind of the round, or what went wrong."""
    kind = KINDS[number % len(KINDS)]
    if kind.startswith("joblib") and importlib.util.find_spec("joblib") is None:
        kind = "threads"
    specs = [specification(number, i) for i in range(FITS)]
    with mock.patch.dict(vars(LOOPS), vars(Loops())):
        expected = [train(spec) for spec in specs]
    with mock.patch.dict(vars(LOOPS), vars(Loops())):
        make_due()
        match kind:
            case "threads":
                found = in_threads(specs)
            case "fork":
                found = in_forks(specs, folder)
            case "a new process":
                found = in_a_new_process(number)
            case _:
                found = under_joblib(specs, "threading" if kind == "joblib threads" else "loky")
        if predictions_differ():
            return f"{kind}: predictions of one net from several threads differ"
        if kind == "threads" and compiled.is_available() and not LOOPS.is_loaded:
            return f"the compiled loops were not loaded, after {LOOPS.spent:.2f} s: {LOOPS.problem}"
    if wrong := [i for i, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1]]:
        return f"{kind}: fits {wrong} differ, {specs[wrong[0]]}: {found[wrong[0]]:.300}"
    return kind


def run(numbers: Sequence[int], folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many rounds of each kind had the same bits, and what went wrong, by number."""
    tally = Tally(*KINDS)
    with mock.patch.dict(os.environ, {"CHAINRULE_COMPILED": "", "PYTHONWARNINGS": ""}):
        for number in numbers:
            try:
                said = outcome(number, folder)
            except Exception as error:
                said = f"{type(error).__name__}: {error!s:.300}"
            tally.add(number, said)
    return tally.result()
