"""Threads that start cold, and at once, on one CUDA backend: the bits of the same work done in series.

The device is simulated (see :mod:`emulation`). Nothing has been planned, tuned, compiled, allocated or captured when
the threads start, and each of them needs all of that: for batches of sizes that no other thread has, of one net that
all predict with; for nets that are trained side by side; and for one that is trained while others predict.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import hashlib
import os
import random
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import chainrule as cr
from campaigns.tally import Tally
from chainrule.backends.cupy.gemm import autotune, timing
from emulation.simulated_cupy import simulated
from emulation.streams import DEVICE

TITLE = "cold threads on one simulated CUDA device (rounds)"
CASES = 200

KINDS = ["predict", "train", "train and predict"]
THREADS = 8  # that predict at once
FEATURES = 5
Work = Callable[[], str]


def sha256(*arrays: np.ndarray) -> str:
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


def predictions(net: cr.Network, rows: Sequence[int]) -> str:
    """Of batches of so many rows, one after the other."""
    inputs = [np.random.default_rng(n).normal(size=(n, FEATURES)).astype(np.float32) for n in rows]
    return sha256(*(net.predict_proba(x) for x in inputs))


def training(backend: cr.Backend, rng: random.Random) -> str:
    """The weights of a small net after two epochs."""
    width, batch, seed = rng.choice([8, 16, 24]), rng.randint(8, 24), rng.randrange(1000)
    hidden = rng.choice(
        [[cr.Dense(width, "relu")], [cr.Dense(width), cr.BatchNorm(), cr.Activation("relu")], [cr.Dense(width, "gelu")]]
    )
    net = cr.Network([*hidden, cr.Dense(3)], FEATURES, loss="softmax_cross_entropy", seed=seed, backend=backend)
    X = np.random.default_rng(seed).normal(size=(150, FEATURES)).astype(np.float32)
    cr.Trainer(net, cr.Adam(1e-2), batch_size=batch, epochs=2, seed=seed).fit(X, np.arange(150) % 3, validation=0.2)
    return sha256(*net.parameter_arena.download().values())


def work_of(kind: str, backend: cr.Backend, number: int) -> list[Work]:
    """What each thread of a round does."""
    rng = random.Random(f"{kind} {number}")
    net = cr.MLP([FEATURES, rng.choice([16, 24]), 3], activation="gelu", backend=backend, seed=number)
    sizes = rng.sample(range(1, 120), 2 * THREADS)
    predicts = [lambda i=i: predictions(net, sizes[2 * i : 2 * i + 2]) for i in range(THREADS)]
    trains = [lambda i=i: training(backend, random.Random(f"{number} {i}")) for i in range(2)]
    return {"predict": predicts, "train": trains, "train and predict": [trains[0], *predicts[:3]]}[kind]


def at_once(works: Sequence[Work]) -> list[str]:
    """All from a common start, with threads that take turns as often as they can."""
    start = threading.Barrier(len(works))

    def begin(work: Work) -> str:
        start.wait()
        return work()

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with concurrent.futures.ThreadPoolExecutor(len(works)) as pool:
            return list(pool.map(begin, works))
    finally:
        sys.setswitchinterval(interval)


@contextlib.contextmanager
def cold(folder: Path) -> Iterator[Any]:
    """A new device, on which nothing has been chosen. Products are timed as on any, but not as often."""
    environment = {"CHAINRULE_CACHE_DIR": str(folder), "CHAINRULE_TUNE": ""}
    with (
        mock.patch.dict(os.environ, environment),
        mock.patch.object(autotune, "ROUNDS", 3),
        mock.patch.object(timing, "RUNS", 2),
        simulated(),
    ):
        from chainrule.backends.cupy.backend import CuPyBackend

        yield CuPyBackend


def outcome(number: int, folder: Path) -> str:
    """The kind of the round, or what went wrong."""
    kind, precision = KINDS[number % len(KINDS)], ["fp32", "bf16"][number // len(KINDS) % 2]
    with cold(folder / f"{number} in series") as make:
        expected = [work() for work in work_of(kind, make(precision=precision), number)]
    with cold(folder / f"{number} at once") as make:
        found = at_once(work_of(kind, make(precision=precision), number))
        if DEVICE.destroyed_in_capture:
            return f"{kind}: destroyed during a capture: {DEVICE.destroyed_in_capture}"
    if wrong := [i for i, pair in enumerate(zip(found, expected, strict=True)) if pair[0] != pair[1]]:
        return f"{kind}: threads {wrong} have other bits"
    return kind


def run(numbers: Sequence[int], folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many rounds of each kind had the same bits, and what went wrong, by number."""
    tally = Tally(*KINDS)
    for number in numbers:
        try:
            said = outcome(number, folder)
        except Exception as error:
            said = f"{type(error).__name__}: {error!s:.300}"
        tally.add(number, said)
    return tally.result()
