"""Memory and time of large tables: 30 columns of numbers, one of them the target, from each kind of file.

Each figure is of a fresh process: how far its resident memory rises above what its imports take, over the bytes of the
numbers: rows x columns in float64, in which columns are held; of a .npy in the file's own dtype, which it keeps.

read      ``cr.read_table``
rows      what ``chainrule train`` does until it has its matrices: read, plan, encode, hold out a fifth
command   ``chainrule train`` with one epoch of a small net, to the end

Beside them pandas, pyarrow and NumPy read the same file. Seconds are of the wall and of the processor, of which the
ratios are: pyarrow uses all cores. Pages that the system holds of a file do not count as memory of the process. Linux
alone.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

COLUMNS, PART = 30, 200_000
TARGET = f"x{COLUMNS - 1}"
FILES = ("csv", "parquet", "npy float64", "npy float32")
PEERS = {"csv": ("pandas", "pyarrow"), "parquet": ("pandas", "pyarrow"), "npy float64": ("numpy",),
         "npy float32": ("numpy",)}  # fmt: skip


def path_of(folder: Path, kind: str) -> Path:
    ending, _, dtype = kind.partition(" ")
    return folder / f"table{dtype}.{ending}"


def write(folder: Path, rows: int) -> None:
    """The same numbers, which float32 holds, in each file."""
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    rng, names = np.random.default_rng(0), [f"x{j}" for j in range(COLUMNS)]
    schema, narrow = (pa.schema([(name, kind) for name in names]) for kind in (pa.float64(), pa.float32()))
    matrices = [
        np.lib.format.open_memmap(path_of(folder, f"npy {dtype}"), "w+", dtype, (rows, COLUMNS))
        for dtype in ("float64", "float32")
    ]
    with (
        pyarrow.csv.CSVWriter(path_of(folder, "csv"), narrow) as text,
        pyarrow.parquet.ParquetWriter(path_of(folder, "parquet"), schema) as parquet,
    ):
        for start in range(0, rows, PART):
            x = rng.standard_normal((min(PART, rows - start), COLUMNS), np.float32)
            x[:, -1] = x[:, :5].sum(axis=1) + 0.1 * x[:, -1]
            for matrix in matrices:
                matrix[start : start + len(x)] = x
            part = pa.table([pa.array(x[:, j].copy()) for j in range(COLUMNS)], narrow)
            text.write_table(part)  # the fewest digits that tell them apart: about 9
            parquet.write_table(part.cast(schema))


# ---- in a process of its own ------------------------------------------------------------------------


def job_of(job: str, path: Path) -> Callable[[], Any]:
    """What is measured, with its imports done."""
    target = "-1" if path.suffix == ".npy" else TARGET
    options = ["--target", target, "--task", "regress", "--device", "cpu", "--quiet"]
    if job == "read":
        import chainrule as cr
        from chainrule.tables.text import csv_reader  # noqa: F401

        if path.suffix == ".parquet":
            import pyarrow.parquet
        return lambda: cr.read_table(path, target=target)
    if job == "rows":
        from chainrule.cli.commands import train
        from chainrule.cli.options.parser import Parser
        from chainrule.cli.options.train_options import TrainingOptions
        from chainrule.cli.training.data import read_training_data

        if path.suffix == ".parquet":
            import pyarrow.parquet
        parser = Parser()
        train.add_arguments(parser)
        typed = TrainingOptions.of(parser.parse_args([str(path), *options]))
        return lambda: read_training_data(typed)
    if job == "command":
        from chainrule.cli.main import main

        run = path.with_name("run")
        options += ["--hidden", "32", "--epochs", "1", "--batch-size", "4096", "--run-dir", str(run), "--overwrite"]
        return lambda: main(["train", str(path), *options])
    if job == "numpy":
        return lambda: np.load(path)
    if job == "pandas":
        import pandas as pd
        import pyarrow.parquet

        return lambda: (pd.read_csv if path.suffix == ".csv" else pd.read_parquet)(path)
    import pyarrow.csv
    import pyarrow.parquet

    return lambda: (pyarrow.csv.read_csv if path.suffix == ".csv" else pyarrow.parquet.read_table)(path)


def measure(job: str, path: Path) -> dict[str, float]:
    """Seconds, and bytes above what was in use before."""
    run = job_of(job, path)
    before, cpu, start = _resident(), time.process_time(), time.perf_counter()
    kept = run()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    del kept
    return {"seconds": seconds, "processor_seconds": cpu, "bytes": peak - before}


def _resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# ---- all of them ------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=lambda text: int(float(text)), default=1_000_000)
    parser.add_argument("--folder", type=Path, help="where the files are written, and kept; else they are removed")
    parser.add_argument("--files", nargs="+", choices=FILES, default=FILES)
    parser.add_argument("--jobs", nargs="+", default=["read", "rows", "command", "peers"])
    parser.add_argument("--json", type=Path, help="results are added to what it holds")
    parser.add_argument("--measure", nargs=2, metavar=("JOB", "PATH"), help=argparse.SUPPRESS)
    parser.add_argument("--write", type=Path, metavar="FOLDER", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.write:
        write(args.write, args.rows)
        return
    if args.measure:
        print(json.dumps(measure(args.measure[0], Path(args.measure[1]))))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if not path_of(folder, "csv").exists():
            # In a process of its own: what it leaves in memory is none of ours.
            command = [sys.executable, __file__, "--rows", str(args.rows), "--write", str(folder)]
            subprocess.run(command, check=True)
        for kind in args.files:
            for job in args.jobs:
                for one in PEERS[kind] if job == "peers" else (job,):
                    found = of_job(one, kind, folder, args.rows)
                    if args.json is not None:
                        keep(args.json, args.rows, kind, one, found)


def of_job(job: str, kind: str, folder: Path, rows: int) -> dict[str, float]:
    """The figures of one job with one file, printed."""
    path, matrix = path_of(folder, kind), matrix_bytes(kind, rows)
    command = [sys.executable, __file__, "--measure", job, str(path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    found["times_the_matrix"] = found["bytes"] / matrix
    line = f"{kind:<12} {job:<8} {found['times_the_matrix']:6.2f} x the matrix"
    print(f"{line} {found['seconds']:8.2f} s, processor {found['processor_seconds']:8.2f} s", flush=True)
    return found


def matrix_bytes(kind: str, rows: int) -> int:
    return rows * COLUMNS * (4 if kind.endswith("32") else 8)


def keep(path: Path, rows: int, kind: str, job: str, found: dict[str, float]) -> None:
    """Into the file of results, beside what is there already: large files take a while."""
    from environment import facts

    import chainrule as cr

    results = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"files": {}}
    files = results.pop("files")
    of_kind = files.setdefault(kind, {"matrix_bytes": matrix_bytes(kind, rows)})
    of_kind[job] = found
    for peer in PEERS[kind]:
        if {"read", peer} <= of_kind.keys():
            seconds = [of_kind[name]["processor_seconds"] for name in ("read", peer)]
            of_kind[f"processor_time_of_reading_over_{peer}"] = seconds[0] / seconds[1]
    head = {"benchmark": "table_memory", **facts([cr.backend("cpu")]), "rows": rows, "columns": COLUMNS}
    path.write_text(json.dumps({**head, "files": files}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
