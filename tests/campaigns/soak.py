"""A long life: ten thousand steps of one fit, then two hundred fits in the same process.

Resident memory, open files and threads are the same in the end as after the first tenth. Three nets take turns, with
checkpoints, validation, callbacks and a tracing of predictions; every tenth fit is refused, or diverges.
"""

from __future__ import annotations

import contextlib
import gc
import shutil
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import chainrule as cr

TITLE = "10,000 steps, then 200 fits"
CASES = 1

STEPS, FITS = 10_000, 200
WARM = 0.2  # of the steps, and of the fits: what is loaded once and grown to its size
GROWTH = 0.02  # of resident memory, at most
PAGES = Path("/proc/self/statm")


def resident() -> int:
    """Bytes of this process in memory, what nobody holds given back first; the most it ever had, where only that is."""
    import resource  # not on Windows, where these tests are skipped

    gc.collect()
    if not PAGES.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return int(PAGES.read_text().split()[1]) * resource.getpagesize()


def held() -> dict[str, int]:
    """Besides memory: open files and threads."""
    files = Path("/proc/self/fd")
    return {"open files": len(list(files.iterdir())) if files.exists() else 0, "threads": threading.active_count()}


class MemoryProbe(cr.Callback):
    """Looks at memory while one fit trains: after the first, and then every hundredth of the way."""

    def __init__(self, steps: int, warm: float) -> None:
        self.first, self.taken = int(warm * steps), list[int]()
        self.every = max(1, steps // 20)

    def on_step_end(self, record: cr.StepRecord) -> None:
        if record.step >= self.first:
            self.taken.append(resident())


def rows(n: int = 640) -> tuple[np.ndarray, np.ndarray]:
    """Rows of digits."""
    table = cr.read_table("digits")
    return table.features[:n].astype(np.float32), table.target[:n].astype(int)


def one_long_fit(steps: int, folder: Path, warm: float = WARM) -> list[int]:
    """Resident memory while it trains."""
    X, y = rows()
    net = cr.MLP([64, 64, 32, 10], seed=1)
    watch, checkpoints = MemoryProbe(steps, warm), cr.Checkpoints(folder / "long", steps=500)
    trainer = cr.Trainer(net, batch_size=32, epochs=steps // 16, callbacks=[watch], checkpoints=checkpoints)
    trainer.fit(X, y, validation=0.2)
    return watch.taken


def one_short_fit(number: int, folder: Path) -> None:
    """Of three kinds in turn; every tenth does not come to its end."""
    X, y = rows()
    layers: list[list[cr.Layer]] = [
        [cr.Dense(64, "relu"), cr.Dense(10)],
        [cr.Dense(96), cr.BatchNorm(), cr.Activation("gelu"), cr.Dropout(0.2), cr.Dense(10)],
        [cr.Dense(48, "tanh"), cr.Residual([cr.Dense(48, "relu"), cr.Dense(48)]), cr.Dense(10)],
    ]
    options: dict[str, Any] = {
        "dtype": "float64" if number % 5 == 0 else "float32",
        "members": 1 + 2 * (number % 6 == 5),
    }
    net = cr.Network(layers[number % 3], 64, seed=number, **options)
    checkpoints = cr.Checkpoints(folder / "short", steps=40) if number % 4 == 1 else None
    lr = 1e20 if number % 10 == 9 else 1e-3
    trainer = cr.Trainer(
        net,
        cr.Adam(lr=lr),
        batch_size=32,
        epochs=3,
        checkpoints=checkpoints,
        ema=0.9 if number % 3 == 1 else None,
        stream=number % 4 == 3,
    )
    with contextlib.suppress(cr.DivergenceError, cr.DataError):
        trainer.fit(X, y if number % 10 != 4 else y + 100, validation=0.2, diagnose=number % 7 == 0)
    net.predict_proba(X)
    with contextlib.suppress(cr.DataError):
        net.save(folder / "model.safetensors")
        cr.load(folder / "model.safetensors", device="cpu").predict(X)


def growth(taken: Sequence[int]) -> float:
    """Of the last fifth over the first, each at its least: what has yet to be given back is no leak."""
    part = max(1, len(taken) // 5)
    return min(taken[-part:]) / min(taken[:part]) - 1


def soak(steps: int, fits: int, folder: Path, *, warm: float = WARM) -> tuple[str, str]:
    """The growth of memory in words, and what went wrong: empty if nothing did."""
    long = one_long_fit(steps, folder, warm)
    before = int(warm * fits)
    for number in range(before):
        one_short_fit(number, folder)
    first, short = held(), [resident()]
    for number in range(before, fits):
        one_short_fit(number, folder)
        short.append(resident())
    shutil.rmtree(folder / "long")
    grown = {"one fit": growth(long), "fits": growth(short)}
    words = ", ".join(f"{name} {100 * share:+.2f} %" for name, share in grown.items())
    wrong = [f"{name}: memory grew by {share:.1%}" for name, share in grown.items() if share > GROWTH]
    wrong += [f"{what} {first[what]} -> {now}" for what, now in held().items() if now > first[what]]
    return f"flat ({words})", "; ".join(wrong)


def run(numbers: Sequence[int], folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How flat memory was, and what grew, by number."""
    counts: dict[str, int] = {}
    findings: dict[int, str] = {}
    for number in numbers:
        words, wrong = soak(STEPS, FITS, folder)
        if wrong:
            findings[number] = wrong
        else:
            counts[words] = counts.get(words, 0) + 1
    return counts, findings
