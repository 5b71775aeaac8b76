"""Columns of groups and times: from text files, Parquet and DataFrames, and what is refused in them."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

import chainrule as cr
from chainrule.tables.splitting.group_and_time_columns import read_groups, read_times

pd = pytest.importorskip("pandas", reason="pandas is not installed")


def csv(tmp_path, cells: list[str]):
    path = tmp_path / "t.csv"
    path.write_text("x;when\n" + "".join(f"{i};{cell}\n" for i, cell in enumerate(cells)))
    return path


@pytest.mark.parametrize(
    "cells",
    [
        ["2026-01-02", "2026-01-01", "2025-12-31T23:59", "2026-01-02 00:00:00"],
        ["2026-01-02T01:00+01:00", "2026-01-01T12:00Z", "2026-01-01T14:59:00+03:00", "2026-01-02T00:00Z"],
        ["10", "9", "-3", "10.0"],
        ["1.000,5", "999,5", "0,25", "1000,5"],
        ["1.000", "999", "-1.000,00", "1000,000"],
        ["2,500", "2,499", "-900", "2,5000"],
    ],
)
def test_times_from_numbers_and_iso_dates(tmp_path, cells):
    times = read_times(csv(tmp_path, cells), "when")
    assert np.argsort(times, kind="stable").tolist() == [2, 1, 0, 3]
    assert times[0] == times[3]


def test_times_with_three_decimals_have_no_thousands_separator(tmp_path):
    """What the file says of commas holds for them too: 1,500 is later than 1 and earlier than 900."""
    (tmp_path / "t.csv").write_text("when;x\n1,500;1,5\n900;1\n2,250;3\n")
    assert read_times(tmp_path / "t.csv", "when").tolist() == [1.5, 900, 2.25]


@pytest.mark.parametrize("kind", ["dates", "numbers", "dates of a DataFrame"])
def test_times_of_typed_columns_are_never_text(kind):
    """At most a hundred bytes per row; as text it would be 700, and ten times the seconds."""
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    n = 20_000
    numbers = np.arange(n)[::-1] * 1_000_000
    when = numbers if kind == "numbers" else pa.array(numbers, pa.timestamp("us"))
    table = pa.table({"x": np.ones(n), "when": when})
    source = table.to_pandas() if kind == "dates of a DataFrame" else table
    read_times(source, "when")
    tracemalloc.start()
    times = read_times(source, "when")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (np.diff(times) == -1_000_000).all()
    assert peak < 100 * n


@pytest.mark.parametrize(
    ("cells", "words"),
    [
        (
            ["2026-01-02", "02.01.2026"],
            "row 1 (from 0) of column 'when': expected a number or a date such as 2026-11-23, got '02.01.2026'",
        ),
        (["1", "", "3"], "row 1 (from 0) of column 'when': expected a value, got an empty cell"),
        (["2026-01-02T00:00Z", "2026-01-02"], "column 'when': expected times with or without a time zone, got both"),
        (["5", "2026-01-02"], "expected a number or a date such as 2026-11-23, got '5'"),
        (["2026-02-30", "2026-01-02"], "got '2026-02-30'"),
    ],
)
def test_times_in_other_notations_are_refused(tmp_path, cells, words):
    with pytest.raises(cr.DataError) as caught:
        read_times(csv(tmp_path, cells), "when")
    assert words in str(caught.value)


def test_groups_are_the_texts_of_the_cells(tmp_path):
    path = csv(tmp_path, ["7", "7.0", "b", " b ", "8"])
    assert read_groups(path, "when").tolist() == [0, 0, 1, 1, 2]
    with pytest.raises(cr.DataError, match="did you mean 'when'"):
        read_groups(path, "wen")
    np.save(tmp_path / "a.npy", np.ones((3, 2)))
    with pytest.raises(cr.DataError, match="expected a column called 'when', got an array"):
        read_groups(tmp_path / "a.npy", "when")


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_times_from_dates_of_a_data_frame(zone):
    days = pd.to_datetime(["2026-03-01 00:00:00", "2026-02-01 00:00:00", "2026-02-01 00:00:01"]).tz_localize(zone)
    frame = pd.DataFrame({"x": [1.0, 2, 3], "when": days, "who": [2, 1, 2]})
    assert np.argsort(read_times(frame, "when")).tolist() == [1, 2, 0]
    assert read_groups(frame, "who").tolist() == [0, 1, 0]
    frame.loc[1, "when"] = pd.NaT
    with pytest.raises(cr.DataError, match=r"row 1 .* got an empty cell"):
        read_times(frame, "when")


def test_times_from_dates_of_a_parquet_file(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    from pyarrow import parquet

    days = pa.array([3, 1, 2], pa.date32())
    parquet.write_table(pa.table({"x": [1.0, 2.0, 3.0], "when": days}), tmp_path / "t.parquet")
    assert np.argsort(read_times(tmp_path / "t.parquet", "when")).tolist() == [1, 2, 0]
