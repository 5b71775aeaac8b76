"""The inferred type of text columns: numbers, booleans, missing values, decimal commas, categories, drop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from chainrule.errors import DataError, OptionError
from chainrule.nn.columns.column_data import Categorical
from chainrule.tables.readers import read_table
from chainrule.tables.text import fill_builders

NAN = np.nan


@pytest.fixture
def column(tmp_path):
    """``column("1", "2")``: the column of a table with these cells, beside a plain one; options of the reader."""

    def column(*cells: str, delimiter: str = ";", beside: str = "1", **options):
        path = Path(tmp_path / "t.csv")
        lines = [delimiter.join(["b", "other"]), *(delimiter.join([cell, beside]) for cell in cells)]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return read_table(path, need_target=False, **options).columns["b"]

    return column


def texts(data: Categorical) -> list[str | None]:
    return [None if code < 0 else data.names[code] for code in data.codes.tolist()]


NUMBERS = {
    "holes": (["", "NA", "N/A", "n/a", "#N/A", "nan", "NaN", "null", "NULL", "?", " ", "2"], [NAN] * 11 + [2]),
    "only holes": (["", "?"], [NAN, NAN]),
    "booleans": (["True", "false", "", "TRUE"], [1, 0, NAN, 1]),
    "decimal comma": (["1,5", "-2", "", ",25", "3,0e2"], [1.5, -2, NAN, 0.25, 300]),
    "comma and points": (["1.234,5", "-12.345.678", "7"], [1234.5, -12345678, 7]),
    "point and commas": (["1,234.5", "-12,345,678", "7"], [1234.5, -12345678, 7]),
    "commas twice": (["1,234,567", "1,234"], [1234567, 1234]),
    "spaces": (["1 234 567.5", "1\xa0234", "1\u202f234"], [1234567.5, 1234, 1234]),
    "spaces and a comma": (["1 234,5", "2"], [1234.5, 2]),
    "apostrophes": (["1'234", "1\u2019234\u2019567"], [1234, 1234567]),
    "1e39 and integers above 2^24": (["1e39", "16777217", "-9007199254740992"], [1e39, 16777217, -(2**53)]),
}


@pytest.mark.parametrize(("cells", "values"), NUMBERS.values(), ids=NUMBERS.keys())
def test_columns_of_numbers_booleans_and_missing_values(column, cells, values):
    np.testing.assert_array_equal(column(*cells), np.array(values, float))


def test_a_cell_that_changes_the_type_of_a_column_late_in_the_file(column, monkeypatch):
    """The first part of a file decides how it is read; a later surprise must give what a small file gives."""
    monkeypatch.setattr(fill_builders, "CELLS_PER_PART", 8)
    monkeypatch.setattr(fill_builders, "MIN_ROWS", 1)
    many = ["2"] * 20
    np.testing.assert_array_equal(column(*many, "", "3,5")[-3:], [2, NAN, 3.5])
    np.testing.assert_array_equal(column(*many, "")[-2:], [2, NAN])
    assert set(column(*["True"] * 20, "maybe").names) == {"True", "maybe"}
    assert column(*["1,234"] * 20, "1,5")[0] == 1.234
    assert column(*many, "1 234")[-1] == 1234
    for cell, words in (
        ("inf", "a finite number"),
        ("1e999", "a finite number"),
        ("1_000", "a number"),
        ("x", "as in"),
    ):
        with pytest.raises(DataError, match=f"line 22, column 'b': expected .*{words}.*, got '{cell}'"):
            column(*many, cell)


@pytest.mark.parametrize(("beside", "value"), [("1,5", 1.234), ("1.5", 1234), ("1.234,5", 1.234)])
def test_another_column_decides_the_decimal_comma(column, beside, value):
    assert column("1,234", "7", beside=beside).tolist() == [value, 7]


def test_an_ambiguous_decimal_comma_is_refused(column):
    with pytest.raises(DataError, match=r"got '1,234'(?s:.*)1,234 may be 1234 or 1.234"):
        column("1,234", "7", beside="2")
    assert column("1.234", "7", beside="2").tolist() == [1.234, 7]  # nothing speaks for another reading
    assert column("1.234", "7", beside="1,5").tolist() == [1234, 7]
    assert column("1.234", "7", "1.5", beside="1,5").tolist() == [1.234, 7, 1.5]
    assert column("1.2345", "7", beside="1,5").tolist() == [1.2345, 7]


def test_text_columns_are_categories(column):
    data = column("red", " blue ", "?", '"light; blue"', "red", "12", "7.0")
    assert texts(data) == ["red", "blue", None, "light; blue", "red", "12", "7"]
    assert data.codes.dtype == np.int32


def test_categorical_option(column):
    assert texts(column("01", "1.0", "", "1", categorical=["b"])) == ["01", "1", None, "1"]
    assert texts(column("1", kinds={"b": "category"})) == ["1"]
    assert texts(column("2026-11-22", categorical=["b"])) == ["2026-11-22"]
    with pytest.raises(DataError, match=r"line 3, column 'b': expected a number as in training.*, got 'x'"):
        column("1", "x", "y", "z", kinds={"b": "number"})
    with pytest.raises(OptionError, match=r"no column 'bb' for categorical(?s:.*)did you mean 'b'"):
        column("1", categorical=["bb"])


def test_drop_option(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("id,when,a,y\nx7,2026-11-22,1,0\nx8,2026-11-23,2,1\n")
    assert list(read_table(path, target="y", drop=["id", "when"]).columns) == ["a"]
    with pytest.raises(OptionError, match="no column 'ids' for drop"):
        read_table(path, target="y", drop=["ids"])
    with pytest.raises(OptionError, match="the target 'y' is one of the columns to drop"):
        read_table(path, target="y", drop=["y"])
    with pytest.raises(DataError, match="a feature besides the target"):
        read_table(path, target="y", drop=["id", "when", "a"])
    np.savez(tmp_path / "t.npz", X=np.ones((2, 2)), y=[0, 1])
    with pytest.raises(OptionError, match="an array does not have"):
        read_table(tmp_path / "t.npz", drop=["id"])


TARGETS = {
    "booleans": (["true", "FALSE"], ["True", "False"]),
    "decimal comma": (["1,5", "2,25"], [1.5, 2.25]),
    "whole thousands": (["1 234", "2"], [1234, 2]),
    "beyond 2^53": (["9007199254740993", "9007199254740992"], [2**53 + 1, 2**53]),
}


@pytest.mark.parametrize(("cells", "values"), TARGETS.values(), ids=TARGETS.keys())
def test_targets_are_numbers_or_classes_of_the_right_dtype(tmp_path, cells, values):
    path = tmp_path / "t.csv"
    path.write_text("a;y\n" + "".join(f"1;{cell}\n" for cell in cells))
    assert read_table(path, target="y").target.tolist() == values
