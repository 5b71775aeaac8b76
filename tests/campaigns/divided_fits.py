"""Fits of random nets divided among 1 to 4 threads, on cores that other processes keep busy: the same bits every time.

Steps are divided however short they are. The parts decide the bits, and who computes them does not: so a fit by
several threads, another one, and one by a thread that does all the parts alone end with the same weights. None may
hang; BLAS has its own number of threads when it is over.
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import hashlib
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

import chainrule as cr
from campaigns.tally import Tally
from chainrule.backends.compiled import backend as compiled
from chainrule.backends.numpy import blas

TITLE = "fits in parts, on busy cores"
CASES = 500

SECONDS = 300.0  # for a fit, at most: then it hangs
BUSY = 2  # processes
ENDS = ["completed", "completed", "completed", "error", "interrupted", "diverged"]
CLASSES = {"softmax_cross_entropy", "focal"}
LOSSES = [*sorted(CLASSES), "squared_error", "absolute_error", "huber", "sigmoid_cross_entropy", "gaussian_nll"]
ACTIVATIONS = ["relu", "gelu", "tanh", "silu", "sigmoid", "leaky_relu", "elu", "softplus"]


@dataclasses.dataclass
class Ways:
    """How often a step was done together or alone; ``alone`` has every step in parts done by one thread."""

    alone: bool = False
    done: Counter[str] = dataclasses.field(default_factory=Counter)

    def choice(self, *, together: Any, alone: Any, **_: Any) -> Any:
        """In place of :class:`chainrule.backends.compiled.choice.Choice`."""

        def do(times: int) -> None:
            self.done["alone" if self.alone else "together"] += 1
            (alone if self.alone else together)(times)

        return do


@contextlib.contextmanager
def divided(ways: Ways) -> Iterator[None]:
    """Every step in parts."""
    from chainrule.backends.compiled import programs

    with mock.patch.multiple(programs, LEAST_COST=0.0, LEAST_GAIN=0.0, Choice=ways.choice):
        yield


@contextlib.contextmanager
def busy_cores() -> Iterator[None]:
    """Processes that compute beside."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(BUSY)]
    try:
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def specification(number: int) -> dict[str, Any]:
    """What a fit is."""
    rng = random.Random(f"divided {number}")
    unit = blas.rows_at_a_time()
    threads = rng.choice([1, 2, 2, 3, 4])
    return {
        "seed": number,
        "threads": threads,
        "batch": rng.choice([unit * threads * rng.randint(1, 6), rng.randint(1, 200), 2 * unit * threads + 1]),
        "rows": rng.randint(150, 700),
        "n_in": rng.choice([3, 20, 64]),
        "widths": [rng.choice([1, 8, 33, 64, 200]) for _ in range(rng.randint(1, 3))],
        "between": rng.choice(["", "", "batch norm", "layer norm", "dropout", "residual"]),
        "activation": rng.choice(ACTIVATIONS),
        "loss": rng.choice(LOSSES),
        "optimizer": rng.choice(["Adam", "AdamW", "SGD"]),
        "dtype": rng.choice(["float32", "float32", "float64"]),
        "members": rng.choice([None, None, None, 2, 3]),
        "weights": rng.random() < 0.3,
        "accumulate": rng.choice([1, 1, 1, 3]),
        "clip": rng.choice([None, 1.0]),
        "ema": rng.choice([None, 0.9]),
        "end": rng.choice(ENDS),
    }


class _End(cr.Callback):
    """Ends a fit in the midst of its second epoch."""

    every = 1

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def on_step_end(self, record: cr.StepRecord) -> None:
        if record.epoch == 2:
            raise self._error


def layers_of(spec: dict[str, Any], outputs: int) -> list[cr.Layer]:
    """Of a random net."""
    found: list[cr.Layer] = []
    for width in spec["widths"]:
        more: dict[str, list[cr.Layer]] = {
            "batch norm": [cr.BatchNorm()],
            "layer norm": [cr.LayerNorm()],
            "dropout": [cr.Dropout(0.3)],
            "residual": [cr.Residual([cr.Dense(width, "tanh"), cr.Dense(width)])],
        }
        found += [cr.Dense(width, spec["activation"]), *more.get(spec["between"], [])]
    return [*found, cr.Dense(outputs)]


def train(spec: dict[str, Any]) -> str:
    """The sha256 of the weights, and how the fit ended."""
    rng, loss = np.random.default_rng(spec["seed"]), spec["loss"]
    X = rng.normal(size=(spec["rows"], spec["n_in"]))
    y: Any = np.arange(spec["rows"]) % 3 if loss in CLASSES else np.tanh(X[:, :2])
    if loss == "sigmoid_cross_entropy":
        y = (y > 0).astype(float)
    outputs = 3 if loss in CLASSES else 2 * y.shape[1] if loss == "gaussian_nll" else y.shape[1]
    net = cr.Network(
        layers_of(spec, outputs),
        spec["n_in"],
        loss=loss,
        dtype=spec["dtype"],
        seed=spec["seed"],
        backend=compiled.loaded(),
        **({} if spec["members"] is None else {"members": spec["members"]}),
    )
    end = {"error": [_End(ZeroDivisionError())], "interrupted": [_End(KeyboardInterrupt())]}.get(spec["end"], [])
    lr = 1e20 if spec["end"] == "diverged" else 1e-2
    trainer = cr.Trainer(
        net,
        getattr(cr, spec["optimizer"])(lr=lr, clip_norm=spec["clip"]),
        batch_size=spec["batch"],
        epochs=3,
        seed=spec["seed"],
        threads=spec["threads"],
        accumulate=spec["accumulate"],
        ema=spec["ema"],
        callbacks=end,
    )
    weights = rng.uniform(0.5, 2, spec["rows"]) if spec["weights"] else None
    ended = "completed"
    try:
        ended = trainer.fit(X, y, sample_weight=weights).stopped
    except (ZeroDivisionError, cr.DivergenceError) as error:
        ended = type(error).__name__
    return f"{hashlib.sha256(net.parameter_arena.flat.tobytes()).hexdigest()} {ended}"


def outcome(number: int, undivided: Counter[str]) -> str:
    """How a fit ended, the same every time; or what went wrong."""
    spec, before = specification(number), blas.threads()
    found: dict[str, str] = {}
    ways = Ways()
    for name in ("together", "together again", "by one thread"):
        ways.alone = name == "by one thread"
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        with divided(ways):
            found[name] = train(spec)
        faulthandler.cancel_dump_traceback_later()
        if blas.threads() != before:
            return f"BLAS has {blas.threads()} threads after {name}, {before} before: {spec}"
    if len(set(found.values())) > 1:
        return f"{found}: {spec}"
    is_divided = ways.done["together"] > 0
    if is_divided:
        same = train({**spec, "threads": 1}) == found["together"]
        whole = spec["batch"] % blas.rows_at_a_time() == 0
        undivided[f"{'whole' if whole else 'other'} batches {'same' if same else 'other'} bits as undivided"] += 1
    return f"{'in parts' if is_divided else 'not divided'}, {found['together'].partition(' ')[2]}"


def run(numbers: Sequence[int], folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many fits ended in each way, with the same bits each time, and what went wrong, by number."""
    ends = ["completed", "interrupted", "ZeroDivisionError", "DivergenceError"]
    tally = Tally(*(f"{how}, {end}" for how in ("in parts", "not divided") for end in ends))
    undivided = Counter[str]()
    with busy_cores():
        for number in numbers:
            try:
                said = outcome(number, undivided)
            except Exception as error:
                said = f"{type(error).__name__}: {error!s:.300}: {specification(number)}"
            tally.add(number, said)
    counts, findings = tally.result()
    return {name: count for name, count in (counts | undivided).items() if count}, findings
