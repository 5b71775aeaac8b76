"""``python -m fuzzing [SECONDS]``: fuzzes every target, guided by coverage; exit code 1 where something is wrong.

``python -m fuzzing --again FILE`` tries an input once more that was found, which needs no atheris.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import importlib.util
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import NamedTuple

from fuzzing.names import TARGETS

HEADER = "| target | inputs | outcomes | branches | kept | went wrong |\n| --- | ---: | --- | ---: | ---: | ---: |"
PROGRESS = re.compile(r"cov: (\d+) ft: \d+ corp: (\d+)/")
SPARE = 180  # seconds of a process beside those in which it fuzzes: to begin, and until a hang is noticed


class Result(NamedTuple):
    """The outcomes of one target's inputs, and the files of those that went wrong."""

    outcomes: dict[str, int]
    branches: int
    kept: int
    found: list[str]
    log: str


def fuzz(name: str, seconds: float, corpus: Path, found: Path, seed: int) -> Result:
    """Fuzz one target in a process of its own."""
    (corpus / name).mkdir(parents=True, exist_ok=True)
    before = set(found.glob(f"{name}-*"))
    with tempfile.TemporaryDirectory(dir=_memory()) as folder:
        log, code = _run([name, str(seconds), str(corpus / name), str(found), str(seed), folder], seconds + SPARE)
    new = sorted(path.name for path in {*found.glob(f"{name}-*")} - before if path.suffix != ".txt")
    said = re.search(r"^RESULT (.*)$", log, re.MULTILINE)
    outcomes = json.loads(said[1]) if said else {"outcomes": {}, "places": {}}
    last = [(0, 0), *((int(a), int(b)) for a, b in PROGRESS.findall(log))][-1]
    if code:
        new.append(f"exit code {code}")
    return Result({**outcomes["outcomes"], **outcomes["places"]}, *last, new, log)


def _run(arguments: list[str], seconds: float) -> tuple[str, int]:
    """What :mod:`fuzzing.guided` writes, and its exit code; -1 for one that does not end."""
    argv = [sys.executable, "-m", "fuzzing.guided", *arguments]
    try:
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=seconds, check=False)
        return done.stdout.decode(errors="replace"), done.returncode
    except subprocess.TimeoutExpired as error:
        return (error.stdout or b"").decode(errors="replace"), -1


def _memory() -> str | None:
    """A folder in memory, if there is one: files are written by the thousand."""
    return "/dev/shm" if os.access("/dev/shm", os.W_OK) else None


def again(path: Path) -> bool:
    """Try an input of a file that is called after its target. Whether its outcome is right."""
    warnings.simplefilter("error")
    with tempfile.TemporaryDirectory() as folder:
        target = TARGETS[path.name.partition("-")[0]](Path(folder))
        outcome = target.outcome(path.read_bytes())
    print(f"{outcome.place or 'right'}: {outcome.said}\n{outcome.details}")
    return target.is_good(outcome)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzzing", description=__doc__)
    parser.add_argument("seconds", nargs="?", type=float, default=60.0, help="of all targets together (60)")
    parser.add_argument("--target", action="append", choices=TARGETS, help="one of them; may come several times (all)")
    parser.add_argument(
        "--corpus", type=Path, default=Path(".fuzz/corpus"), help="inputs to begin with, and those kept"
    )
    parser.add_argument("--found", type=Path, default=Path(".fuzz/found"), help="where what went wrong is kept")
    parser.add_argument("--again", type=Path, metavar="FILE", help="try this input once more")
    parser.add_argument("--seed", type=int, default=0, help="of the changes; 0, the default, is another one each time")
    args = parser.parse_args()
    if args.again is not None:
        return 0 if again(args.again) else 1
    if importlib.util.find_spec("atheris") is None:
        print(
            f"fuzzing skipped: no atheris for {platform.python_implementation()} {platform.python_version()} on "
            f"{platform.system()} {platform.machine()} (pip install 'chainrule[fuzz]')",
            file=sys.stderr,
        )
        return 0
    names, jobs = args.target or list(TARGETS), os.cpu_count() or 1
    args.found.mkdir(parents=True, exist_ok=True)
    seconds = args.seconds * min(jobs, len(names)) / len(names)
    print(HEADER, flush=True)
    right = True
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        results = pool.map(lambda name: fuzz(name, seconds, args.corpus, args.found, args.seed), names)
        for name, result in zip(names, results, strict=True):
            right = _report(name, result, args.found) and right
    return 0 if right else 1


def _report(name: str, result: Result, found: Path) -> bool:
    """A row of the table; files of what went wrong on stderr. Whether nothing did."""
    outcomes = ", ".join(f"{n:,} {outcome}" for outcome, n in sorted(result.outcomes.items()))
    total = sum(result.outcomes.values())
    row = [name, f"{total:,}", outcomes, f"{result.branches:,}", f"{result.kept:,}", str(len(result.found))]
    print(f"| {' | '.join(row)} |", flush=True)
    for file in result.found:
        text = found / f"{file}.txt"
        print(f"{found / file}\n{text.read_text() if text.is_file() else result.log[-4000:]}", file=sys.stderr)
    return not result.found


if __name__ == "__main__":
    sys.exit(main())
