"""What `chainrule train` takes of memory until it has its matrices, over the numbers of the file in float64."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from chainrule.cli.options.parser import Parser
from chainrule.cli.options.train_options import TrainingOptions, add_arguments
from chainrule.cli.training.data import read_training_data, split_data
from chainrule.cli.training.table import read_training_table
from chainrule.nn.columns import table_encoder
from chainrule.tables.arrays import split_without_copy
from chainrule.tables.splitting.splits import hold_out

ROWS, COLUMNS = 100_000, 30
MOST = 1.8  # of the numbers: one table, a fifth of it held out, and what is on its way from one form to the next
# In a process of its own: the resident memory of this one knows other tests.
MEASURE = """
import json, pathlib, resource, sys
from chainrule.cli.options.parser import Parser
from chainrule.cli.options.train_options import TrainingOptions, add_arguments
from chainrule.cli.training.data import read_training_data
from chainrule.nn.columns import table_encoder
from chainrule.tables.arrays import array_reader, split_without_copy
from chainrule.tables.frames import arrow_files
from chainrule.tables.text import csv_reader, fill_builders

# As small relative to this table as they are relative to a large one.
table_encoder.PART, fill_builders.CELLS_PER_PART, arrow_files.CELLS_AT_ONCE = 1 << 12, 1 << 12, 1
array_reader.PART = split_without_copy.PART = 1 << 16

def resident(name):
    (line,) = [line for line in open("/proc/self/status") if line.startswith(name)]
    return int(line.split()[1]) * 1024

parser = Parser()
add_arguments(parser)
peaks = {}
for small, large in zip(sys.argv[1::2], sys.argv[2::2]):
    for path in (small, large):  # the small one imports what is needed
        options = TrainingOptions.of(parser.parse_args([path, "--target", "-1", "--task", "regress"]))
        pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak begins again
        before = resident("VmRSS")
        read_training_data(options)
    peaks[large] = resident("VmHWM") - before
print(json.dumps(peaks))
"""


def options_of(*argv: object):
    parser = Parser()
    add_arguments(parser)
    return TrainingOptions.of(parser.parse_args([str(a) for a in argv]))


def write_csv(path: Path, rows: np.ndarray) -> Path:
    lines = [",".join(map(repr, row)) for row in rows[:1000].tolist()]
    text = "\n".join([",".join(f"x{j}" for j in range(rows.shape[1])), *lines * (len(rows) // len(lines))])
    path.write_text(text + "\n")
    return path


def write_npy(path: Path, rows: np.ndarray) -> Path:
    np.save(path, rows)
    return path


def write_parquet(path: Path, rows: np.ndarray) -> Path:
    import pyarrow as pa
    import pyarrow.parquet

    pyarrow.parquet.write_table(pa.table({f"x{j}": column for j, column in enumerate(rows.T.copy())}), path)
    return path


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="only Linux says how much memory there was")
def test_a_table_and_its_matrices_are_never_both_whole(tmp_path, rng):
    writers = {"csv": write_csv, "npy": write_npy}
    if find_spec("pyarrow") is not None:
        writers["parquet"] = write_parquet
    block = rng.integers(-999, 999, (1000, COLUMNS)) / 8
    rows = np.tile(block, (ROWS // 1000, 1))
    paths = [
        write(tmp_path / f"{size}.{ending}", rows[:n])
        for ending, write in writers.items()
        for size, n in {"small": 1000, "large": ROWS}.items()
    ]
    # glibc keeps blocks below its threshold, which else grows: columns are meant to be as those of larger tables.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(1 << 18)}
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *map(str, paths)], capture_output=True, text=True, check=True, env=environment
    )
    peaks = {Path(path).suffix: peak / rows.nbytes for path, peak in json.loads(done.stdout).items()}
    assert len(peaks) == len(writers)
    assert max(peaks.values()) < MOST, peaks


@pytest.mark.parametrize("write", [write_csv, write_npy])
@pytest.mark.parametrize("fraction", [0, 0.2, 0.9])
def test_what_is_made_in_the_memory_of_the_table_is_what_is_made_beside_it(tmp_path, monkeypatch, rng, write, fraction):
    for module in (table_encoder, split_without_copy):
        monkeypatch.setattr(module, "PART", 64)
    rows = rng.integers(-999, 999, (2000, 5)) / 8
    options = options_of(write(tmp_path / f"t.{write.__name__[6:]}", rows), "--target", 2, "--task", "regress")
    split = hold_out(len(rows), fraction, seed=1) if fraction else None
    expected = split_data(options, read_training_table(options), split)
    found = split_data(options, read_training_table(options), split, release=True)
    np.testing.assert_array_equal(found.X, expected.X)
    np.testing.assert_array_equal(found.y, expected.y)
    assert (found.valid is None) == (expected.valid is None) == (not fraction)
    for one, other in zip(found.valid or (), expected.valid or (), strict=True):
        np.testing.assert_array_equal(one, other)
    assert found[3:] == (found.plan, *expected[4:])


def test_valid_as_a_file_of_rows(tmp_path, rng):
    rows = rng.integers(-999, 999, (2000, 5)) / 8
    one, other = write_csv(tmp_path / "one.csv", rows[:1000]), write_csv(tmp_path / "other.csv", rows[1000:])
    data = read_training_data(options_of(one, "--target", "x4", "--task", "regress", "--valid", other))
    np.testing.assert_array_equal(np.column_stack([data.X, data.y]), rows[:1000])
    np.testing.assert_array_equal(np.column_stack(data.valid), rows[1000:])
