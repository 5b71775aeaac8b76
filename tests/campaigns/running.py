"""Runs the cases of a campaign on every core, and prints their outcomes as a row of a table."""

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
CHUNKS_PER_CORE = 8  # few enough that imports do not count, enough that no core waits long for another


class Part(NamedTuple):
    """The outcomes of some of the cases."""

    counts: dict[str, int]
    findings: dict[int, str]
    peak: int  # bytes of memory of the process


def run_cases(name: str, numbers: range) -> Part:
    """The outcomes of these cases of the campaign; runs in a process of its own."""
    warnings.simplefilter("error")
    os.environ["CHAINRULE_COMPILED"] = "0"  # loops that load midway would change the time and memory of a case
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


def run_campaign(name: str, count: int | None = None, first: int = 0) -> bool:
    """Run the cases and print their row. Whether all had a right outcome."""
    campaign = importlib.import_module(f"campaigns.{name}")
    count = campaign.CASES if count is None else count
    cores = min(count, os.cpu_count() or 1)
    size = max(1, count // (cores * CHUNKS_PER_CORE))
    ranges = [range(start, min(start + size, first + count)) for start in range(first, first + count, size)]
    counts, findings, peak = Counter[str](), {}, 0
    begin = time.monotonic()
    with concurrent.futures.ProcessPoolExecutor(cores, multiprocessing.get_context("spawn")) as pool:
        for part in pool.map(run_cases, [name] * len(ranges), ranges):
            counts.update(part.counts)
            findings |= part.findings
            peak = max(peak, part.peak)
    for number, finding in findings.items():
        print(f"{name} {number}: {finding}", file=sys.stderr)
    outcomes = ", ".join(f"{n:,} {outcome}" for outcome, n in sorted(counts.items()))
    cost = f"{time.monotonic() - begin:.0f} s, {peak >> 20} MiB"
    print(f"| {campaign.TITLE} | {count:,} | {outcomes} | {len(findings)} | {cost} |", flush=True)
    return not findings
