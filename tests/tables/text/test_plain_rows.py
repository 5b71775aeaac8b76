"""Unquoted rows all at once: which blocks are, where their cells are, and what numbers they hold."""

from __future__ import annotations

import csv
import random

import numpy as np
import pytest

import chainrule as cr
from chainrule.tables.text import blocks, csv_text, fill_builders, plain_rows
from chainrule.tables.text.plain_rows import PlainRows


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b'1,"2"\n', "quoted"),
        (b"1,2\n\n3,4\n", "an empty line"),
        (b"1,2\n3\n", "a cell too few"),
        (b"1,2\n3,4,5\n", "a cell too many"),
        (b"1\n2,3,4\n", "as many cells as two rows, divided otherwise"),
        (b"1,2\r3,4\n", "a line that ends with CR alone"),
        (b"1,2\r\n3,4\n", "two ends of lines"),
        (b"1,2\r\r\n", "doubled CR"),
    ],
)
def test_what_is_left_to_the_csv_module(text, reason):
    assert PlainRows.of(text, ",", ".", 2) is None


def test_a_line_longer_than_the_csv_module_takes_is_left_to_it(monkeypatch):
    text = b"1,2\n3,44444\n"
    assert len(PlainRows.of(text, ",", ".", 2)) == 2
    limit = csv.field_size_limit(6)
    try:
        assert PlainRows.of(text, ",", ".", 2) is None
    finally:
        csv.field_size_limit(limit)


CELLS = ["1", "-2.5", "+.5", "7.", "1e3", "-1.5E-7", "", "NA", "?", "null", " 3", "4  ", "-0", "123456789012345678"]
READ = [1, -2.5, 0.5, 7, 1000, -1.5e-7, np.nan, np.nan, np.nan, np.nan, 3, 4, -0.0, 123456789012345678]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("last", [True, False], ids=["an end of the last line", "none"])
def test_cells_of_all_forms(end, last):
    text = end.join(f"x,{cell};{cell}".encode() for cell in CELLS) + (end if last else b"")
    if end == b"\r\n" and not last:
        assert PlainRows.of(text, ";", ".", 2) is None
        return
    rows = PlainRows.of(text, ";", ".", 2)
    found = rows.numbers([1])
    assert not found.odd.any()
    np.testing.assert_array_equal(found.values.view(np.int64), np.array(READ)[:, None].view(np.int64))
    assert [cell.strip() for cell in next(rows.texts([1]))] == [cell.strip() for cell in CELLS]
    assert rows.numbers([0, 1]).odd[:, 0].all()
    assert rows.text(1, 0) == "x,-2.5"


@pytest.mark.parametrize("cell", ["-", "+", ".", "1.2.3", "--1", "1e", "1e+", "e5", "1e5.5", "1_0", "0x1", "inf", "\t1",
                                  "1,5", "1 000", "\u0661", "1" * 25, "1e999", "NAN.", "x" * 9 + "NA"])  # fmt: skip
def test_what_is_read_by_itself(cell):
    found = PlainRows.of(f"7|{cell}\n".encode(), "|", ".", 2).numbers([0, 1])
    assert found.odd.tolist() == [[False, True]]


def test_points_that_could_stand_between_thousands():
    cells = ["1.234", "-12.345", "123.456", "0.123", "1234.567", "1.23", "1.234e0", "5", ""]
    found = PlainRows.of("".join(f"a;{cell}\n" for cell in cells).encode(), ";", ".", 2).numbers([1])
    assert found.pointed[:, 0].tolist() == [True] * 7 + [False] * 2
    assert (found.pointed & found.grouped)[:, 0].tolist() == [True] * 3 + [False] * 6


def test_most_of_a_file_is_plain(write, monkeypatch):
    """Also beside a quoted row, a hole, an odd cell, text, and with decimal commas."""
    rng, read = random.Random(0), []
    monkeypatch.setattr(blocks, "SIZE", 1000)
    monkeypatch.setattr(fill_builders, "CELLS_PER_PART", 40)
    monkeypatch.setattr(
        csv_text.PlainRows, "numbers", lambda self, columns: read.append(len(self)) or plain(self, columns)
    )
    lines = [f"{rng.gauss(0, 1):.3f};{rng.randint(0, 9)};{'uvw'[i % 3]}".replace(".", ",") for i in range(1000)]
    lines[500], lines[600], lines[700] = '"7,5";2;u', ";NA;v", " 1,5e1 ;3;w"
    table = cr.read_table(write("a;b;c\n" + "\n".join(lines) + "\n"), need_target=False, drop=["b"])
    assert 700 < sum(read) < 1000
    assert table.columns["a"][[500, 700]].tolist() == [7.5, 15]
    assert np.isnan(table.columns["a"]).nonzero()[0].tolist() == [600]


plain = plain_rows.PlainRows.numbers


@pytest.mark.parametrize("bad", ["1,2,3,4", "1,2", '1,"2,3', '1,"2"x,3'])
def test_errors_behind_plain_rows_name_the_line(write, monkeypatch, bad):
    monkeypatch.setattr(blocks, "SIZE", 100)
    monkeypatch.setattr(fill_builders, "CELLS_PER_PART", 9)
    path = write("a,b,y\n" + "1,2,3\n" * 500 + '1,"\n2",3\n' + "1,2,3\n" * 500 + bad + "\n" + "1,2,3\n" * 30)
    with pytest.raises(cr.DataError, match="line 1004: "):
        cr.read_table(path, target="y")
