"""Names from files and users: control characters are spelt out, and no cell of a CSV file is a formula."""

from __future__ import annotations

import csv
import io

import pytest

import chainrule as cr
from chainrule.plain_text import csv_cell, printable, show


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rose", "rose"),
        ("été ok", "été ok"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x9b2J", r"\x9b2J"),
        ("\u202egnp", r"\u202egnp"),
        ("\ud800", r"\ud800"),
        ("\U000e0041", r"\U000e0041"),
    ],
)
def test_control_characters_are_escaped(text, shown):
    assert printable(text) == shown
    assert printable(shown) == shown


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-x", "'-x"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", r"\t=1"),
        ("\r=1", r"\r=1"),
        ("  =1", "'  =1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("-1,5", "'-1,5"),
        ("a;=1", "a;'=1"),
        ('a,"=1', "a,\"'=1"),
        ("a|@b", "a|'@b"),
        ("--1", "'--1"),
        ("-1-1", "'-1-1"),
    ],
)
def test_a_csv_cell_is_no_formula_in_a_spreadsheet(text, cell):
    assert csv_cell(text) == cell


@pytest.mark.parametrize(
    "text", ["-", "+", "-1", "+2", "-1.5", "-.5", "-1e-05", "3", "rose", "a-b", "e=mc", "", "a, b", "x@y.org"]
)
def test_numbers_and_ordinary_names_are_unchanged_csv_cells(text):
    assert csv_cell(text) == text


def test_values_in_messages_are_short():
    assert show("a\n") == r"'a\n'"
    assert show("x" * 99) == f"'{'x' * 47}... (101 characters)"
    assert show(1 << 20_000) == "<int of too many digits>", "Python writes no more than 4,300"


def test_error_messages_are_printable():
    error = cr.DataError("column 'a\x1b[31m\nerror: no' came", hint="\x9b2J")
    assert str(error) == "column 'a\\x1b[31m\\nerror: no' came\nhint: \\x9b2J"
    assert error.message.isprintable()
    assert error.hint.isprintable()


def test_the_csv_header_of_a_history_is_no_formula():
    history = cr.History()
    history.append({"loss": -1.5, '=HYPERLINK("x")': float("-inf"), "a\nb": 2.0})
    header, values = csv.reader(io.StringIO(history.to_csv()))
    assert header == ["epoch", "loss", "'=HYPERLINK(\"'x\")".replace("\"'", '"'), r"a\nb"]
    assert values == ["1", "-1.5", "-inf", "2.0"]
