"""Tries the cases of a campaign on every core, and says what they came to in a row of a table."""

from __future__ import annotations

import concurrent.futures
import importlib
import multiprocessing
import os
import sys
import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import NamedTuple

HEADER = "| campaign | cases | outcomes | went wrong | time, memory of a process |\n| --- | ---: | --- | ---: | ---: |"
CHUNKS = 8  # a core: few enough that imports do not count, enough that no core waits long for another


class Part(NamedTuple):
    """What some of the cases came to."""

    counts: dict[str, int]
    findings: dict[int, str]
    peak: int  # bytes of memory of the process


def try_cases(name: str, numbers: range) -> Part:
    """What these cases of the campaign come to, in a process of their own."""
    warnings.simplefilter("error")
    os.environ["CHAINRULE_COMPILED"] = "0"  # loops that load themselves midway are no one's fault
    with tempfile.TemporaryDirectory() as folder:
        counts, findings = importlib.import_module(f"campaigns.{name}").run(numbers, Path(folder))
    return Part(counts, findings, _peak())


def _peak() -> int:
    """Bytes; 0 on Windows."""
    try:
        import resource
    except ImportError:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def play(name: str, count: int | None = None, first: int = 0) -> bool:
    """Tries the cases and prints their row. Whether all came to what they should."""
    campaign = importlib.import_module(f"campaigns.{name}")
    count = campaign.CASES if count is None else count
    cores = min(count, os.cpu_count() or 1)
    size = max(1, count // (cores * CHUNKS))
    ranges = [range(start, min(start + size, first + count)) for start in range(first, first + count, size)]
    counts, findings, peak = Counter[str](), {}, 0
    begin = time.monotonic()
    with concurrent.futures.ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
        for part in pool.map(try_cases, [name] * len(ranges), ranges):
            counts.update(part.counts)
            findings |= part.findings
            peak = max(peak, part.peak)
    for number, said in findings.items():
        print(f"{name} {number}: {said}", file=sys.stderr)
    outcomes = ", ".join(f"{n:,} {outcome}" for outcome, n in sorted(counts.items()))
    cost = f"{time.monotonic() - begin:.0f} s, {peak >> 20} MiB"
    print(f"| {campaign.TITLE} | {count:,} | {outcomes} | {len(findings)} | {cost} |", flush=True)
    return not findings
