"""The same command gives the same bytes: in two processes, and in two threads of one at the same time."""

from __future__ import annotations

import concurrent.futures
import hashlib
import random
import shutil
import subprocess
import sys
from pathlib import Path

from campaigns.tally import Tally
from chainrule.cli.main import main

TITLE = "the same command, the same bytes"
CASES = 20


def options(number: int) -> list[str]:
    """What is drawn of a command."""
    rng = random.Random(number)
    if number % 4 == 3:
        preset = rng.choice(["fast", "default"])
        words = ["train", "digits", "--device", "cpu", "--quiet", "--epochs", "2", "--seed", str(number)]
        return [*words, "--preset", preset, *rng.choice([[], ["--members", str(rng.randint(2, 5))]])]
    return [
        "train",
        "digits",
        "--device",
        "cpu",
        "--quiet",
        "--epochs",
        str(rng.randint(2, 8)),
        "--seed",
        str(number),
        "--hidden",
        rng.choice(["20", "64,32", "128"]),
        "--activation",
        rng.choice(["relu", "gelu", "tanh"]),
        "--dropout",
        rng.choice(["0", "0.3"]),
        "--optimizer",
        rng.choice(["adamw", "sgd", "adam"]),
        "--dtype",
        rng.choice(["float32", "float64"]),
        "--batch-size",
        rng.choice(["32", "100"]),
        *rng.choice([[], ["--residual"], ["--normalization", "batch"], ["--ema", "0.9"], ["--accumulate", "3"]]),
        *rng.choice([[], ["--members", str(rng.randint(2, 5))]]),
    ]


def outcome(number: int, folder: Path) -> str:
    """ "the same", or which models are not."""
    chosen = options(number)
    runs = [folder / name for name in ("first", "second", "thread one", "thread two")]
    for run_dir in runs[:2]:
        subprocess.run([sys.executable, "-m", "chainrule", *chosen, "--run-dir", str(run_dir)], check=True)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(lambda run_dir: main([*chosen, "--run-dir", str(run_dir)]), runs[2:]))
    hashes = [hashlib.sha256((path / "model.safetensors").read_bytes()).hexdigest() for path in runs if path.exists()]
    for path in runs:
        shutil.rmtree(path, ignore_errors=True)
    return "the same" if codes == [0, 0] and len(hashes) == len(runs) and len(set(hashes)) == 1 else f"{codes} {hashes}"


def run(numbers: range, folder: Path) -> tuple[dict[str, int], dict[int, str]]:
    """How many were the same, and which were not, by number."""
    tally = Tally("the same")
    for number in numbers:
        tally.add(number, outcome(number, folder))
    return tally.result()
