"""Text tables: what is read exactly, and what is refused in which words."""

from __future__ import annotations

import csv
import os
import re
import stat
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.errors import DataError, OptionError, OutOfMemoryError
from chainrule.nn.columns.notation import PLAIN
from chainrule.tables import readers
from chainrule.tables.readers import read_table
from chainrule.tables.text import fill_builders
from chainrule.tables.text.parsing import cell_kind
from tables.messages import check_message

GOOD = "a,b,y\n1,2,0\n3,4,1\n"


READ = {
    "plain": GOOD,
    "no newline at the end": GOOD.rstrip("\n"),
    "byte order mark": b"\xef\xbb\xbf" + GOOD.encode(),
    "CRLF": GOOD.replace("\n", "\r\n"),
    "CR alone": GOOD.replace("\n", "\r"),
    "doubled CR, as Python writes on Windows without newline=''": GOOD.replace("\n", "\r\r\n"),
    "semicolons": GOOD.replace(",", ";"),
    "tabs": GOOD.replace(",", "\t"),
    "pipes": GOOD.replace(",", "|"),
    "UTF-16": GOOD.encode("utf-16"),
    "UTF-16, the other way round": b"\xfe\xff" + GOOD.encode("utf-16-be"),
    "quotes": '"a","b","y"\n"1","2","0"\n"3","4","1"\n',
    "spaces": " a , b,y \n 1 ,  2,0\n3\t,4 , 1  \n",
    "spaces before quotes": '"a", "b", "y"\n"1", "2", "0"\n3, "4", "1"\n',
    "no-break spaces around": "a,b,y\n1\xa0,2,0\n\xa03,4,1\n",
    "empty lines": "\n  \na,b,y\n\n1,2,0\n   \n3,4,1\n\n\n",
    "every way to write a number": "a,b,y\n1.,+2e0,-0\n.3e+1,0400E-2,+1\n",
}


@pytest.mark.parametrize("content", READ.values(), ids=READ.keys())
def test_delimiters_quotes_line_ends_and_encodings_give_the_same_table(write, content):
    table = read_table(write(content), target="y")
    assert table.features.dtype == np.float64
    np.testing.assert_array_equal(table.features, [[1, 2], [3, 4]])
    assert table.feature_names == ("a", "b")
    assert (table.target_name, len(table)) == ("y", 2)
    assert table.target.dtype == np.int64
    np.testing.assert_array_equal(table.target, [0, 1])


REFUSED = {
    "empty file": ("", ["got an empty file"]),
    "empty file with a mark": (b"\xef\xbb\xbf", ["got an empty file"]),
    "only empty lines": ("\n \n\r\n", ["got an empty file"]),
    "an empty quoted name alone": ('""\n', ["got an empty file"]),
    "header only": ("a,b,y\n", ["line 1: expected rows below the header"]),
    "header only, late": ("\n\na,b,y\n\n", ["line 3: expected rows below the header"]),
    "a cell too few": ("a,b,y\n1,2,0\n3,4\n", ["line 3: expected 3 cells, got 2", "separated by a comma"]),
    "a cell too many": ("a,b,y\n1,2,0,9\n", ["line 2: expected 3 cells, got 4"]),
    "one cell": ("a,b,y\n7\n", ["line 2: expected 3 cells, got 1"]),
    "the other delimiter below": ("a,b,y\n1;2;0\n", ["line 2: expected 3 cells, got 1"]),
    "delimiter at the line's end": ("a,b,y,\n1,2,3,\n", ["line 1: column 4 of 4 has no name"]),
    "row numbers without a name": (",a,y\n0,1,2\n", ["line 1: column 1 of 3 has no name", "hint: name every column"]),
    "duplicate names": ("a, b,b ,y,a\n1,2,3,4,5\n", ["columns of different names, got 'a', 'b' more"]),
    "no header": ("1,2,0\n3,4,1\n",
        ["line 1: expected the names of the columns, got numbers: '1', '2', '0'", "hint: let the first line name"]),
    "no header, missing value": ("1,nan,0\n3,4,1\n", ["line 1: expected", "got numbers"]),
    "as many commas as semicolons": ("a,b;y\n1,2;3\n", ["line 1: expected one delimiter, got a comma and a semicolon"]),
    "empty target": ("a,b,y\n1,2,\n", ["line 2, column 'y': expected", "got an empty cell"]),
    "nan in the target": ("a,b,y\n1,2,0\n3,4,NaN\n",
        ["line 3, column 'y': expected a value in every row", "got 'NaN'"]),
    "empty target among text": ("a,b,y\n1,2,cat\n3,4,\n",
        ["line 3, column 'y': expected a value", "got an empty cell"]),
    "a hole after an empty line": ("a,b,y\n\n\n1,2,?\n", ["line 4, column 'y': expected", "got '?'"]),
    "mixed": ("a,b,y\n1,2,0\n3,four,1\n5,6,0\n", [
        "line 3, column 'b': expected a number as in most rows", "got 'four'", "--categorical"]),
    "mixed late": ("a,b,y\n" + "1,2,0\n" * 9_000 + "3,four,1\n",
        ["line 9002, column 'b': expected a number", "got 'four'"]),
    "as much text as numbers": ("a,b,y\n1,5 kg,0\n1,5,0\n",
        ["line 2, column 'b': expected a number as in most", "got '5 kg'"]),
    "dates": ("a,b,y\n1,2026-11-22,0\n2,,0\n",
        ["line 2, column 'b': expected a number", "got '2026-11-22'", "leave the column"]),
    "times": ("a,b,y\n1,22/11/2026 10:15:00,0\n", ["column 'b': expected", "got '22/11/2026 10:15:00'"]),
    "a date among numbers": ("a,b,y\n1,1,0\n2,1,0\n3,1.2.2026,0\n", ["line 4, column 'b': expected", "got '1.2.2026'"]),
    "a boolean among numbers": ("a,b,y\n1,1,0\n2,True,0\n",
        ["line 3, column 'b': expected a number as in most", "got 'True'"]),
    "comment sign": ("a,b,y\n1,2 # two,0\n3,4,1\n", ["line 2, column 'b': expected", "got '2 # two'"]),
    "row of comment": ("a,b,y\n#1,2,0\n3,4,1\n", ["line 2, column 'a': expected", "got '#1'"]),
    "a comma that may be either": ('a,b,y\n1,"1,234",0\n',
        ["line 2, column 'b': expected", "got '1,234'", "1234 or 1.234"]),
    "two notations": ('a,b,y\n1,"1,5",0\n1,"1,234.5",0\n', ["expected a number", "got '1,5'", "write it like 1234.5"]),
    "Arabic digits, which float() takes": ("a,b,y\n1,١٢,0\n2,3,0\n",
        ["line 2, column 'b': expected a number", "got '١٢'"]),
    "no text in any encoding": (b"a,b,y\n1,2,\x81\n", ["line 2: expected text in UTF-8", "got the byte 0x81"]),
    "a cut character at the end": (b"a,b,y\n1,2,\x81\xc3", ["line 2: expected", "got the byte 0x81"]),
    "UTF-16 without a mark": (GOOD.encode("utf-16-le"),
        ["line 1: expected", "got a NUL byte", "hint: save the file as UTF-8"]),
    "UTF-16 cut off": (GOOD.encode("utf-16")[:-1], ["expected text in UTF-16"]),
    "UTF-16 with CRLF cut off": (
        "a,b\r\n1,2\r\n3,4\r\n5,6\r\n".encode("utf-16")[:-1], ["line 5: expected text in UTF-16, got the byte 0x0a"],
    ),
    "UTF-16 with a letter of the byte of LF": (
        "a,b\n1,\u0a00\n3,4\n5,6\n".encode("utf-16") + b"\x00\xdc1\0", ["line 5: expected text in UTF-16"],
    ),
    "UTF-16 mark alone": (b"\xff\xfe", ["got an empty file"]),
    "long cell": ("a,b,y\n1," + "2z" * 9_000 + ",0\n2,3,0\n",
        ["column 'b': expected", "got '2z2z", "... (18002 characters)"]),
    "text among numbers in the target": (
        "a,b,y\n1,2,0\n1,2,one\n1,2,1\n",
            ["line 3, column 'y': expected a number", "got 'one'", "begin with a letter"]),
    "a number among text in the target": (
        "a,b,y\n1,2,u\n1,2,v\n1,2,3\n", ["line 4, column 'y': expected text as in most rows, got '3'"]),
    "the line after a quoted newline": (
        'a,"b\nc",y\n"1\n",2,0\n3,"\r\n\r\nx",1\n', ["line 5, column 'b\\nc': expected a number", "got 'x'"]),
    "the line within a row": ('a,b,y\n"\n1",x,0\n2,3,0\n', ["line 3, column 'b': expected", "got 'x'"]),
    "inf": ("a,b,y\n1,2,0\n-inf,4,1\n", ["line 3, column 'a': expected a finite number", "got '-inf'"]),
    "infinity": ("a,b,y\n1,Infinity,0\n", ["expected a finite number", "got 'Infinity'"]),
    "1e999": ("a,b,y\n1,1e999,0\n", ["line 2, column 'b': expected a finite number", "got '1e999'"]),
    "a point among commas": (
        "a;y\n1,5;0\n2,5;1\n3.5;0\n", ["line 4, column 'a': expected a number written as in most rows", "got '3.5'"]),
    "a comma among points": ("a;y\n1.5;0\n2.5;1\n3,5;0\n",
        ["line 4, column 'a': expected", "got '3,5'", "like 1234.5"]),
    "a target with a point among commas": (
        "a;y\n1;1,5\n2;2,5\n3;3.5\n",
            ["line 4, column 'y': expected", "got '3.5'", "such as 1234,5", "all with a decimal comma"]),
    "underscore, which float() takes": ("a,b,y\n1,1_000,0\n", ["got '1_000'", "hint: write it like 1234.5"]),
    "NUL": (b"a,b,y\n1,2,0\n3,\0,1\n", ["line 3: expected", "got a NUL byte"]),
    "text after a quote": ('a,b,y\n1,"2"3,0\n', ["line 2", "cannot be read", "expected after"]),
    "open quote": ('a,b,y\n1,2,0\n3,"4,1\n5,6,0\n', ["line 3", "its quote is not closed", "hint: look for a double"]),
    "open quote in the header": ('a,"b,y\n1,2,0\n', ["line 1", "its quote is not closed"]),
    "huge field": ("a,b,y\n1,2,0\n1," + "2" * 140_000 + ",0\n", ["line 3", "field larger than field limit"]),
    "many digits": ("a,b,y\n1," + "2" * 9_000 + ",0\n", ["line 2, column 'b'", "expected a finite number"]),
    "long class name": ("a,b,y\n1,2,no\n1,2," + "z" * 201 + "\n", ["line 3, column 'y'", "at most 200 characters"]),
    "target alone": ("y\n1\n2\n", ["no column besides the target 'y'"]),
}  # fmt: skip


@pytest.mark.parametrize(("content", "parts"), REFUSED.values(), ids=REFUSED.keys())
def test_errors_name_file_line_and_column(write, content, parts):
    path = write(content)
    with pytest.raises(DataError) as caught:
        read_table(path, target="y")
    check_message(caught.value, str(path), *parts)
    assert len(caught.value.message) < 300 + len(str(path))


def test_empty_lines_in_a_file_of_one_column_are_refused(write):
    np.testing.assert_array_equal(read_table(write("a\n1\n2\n\n"), need_target=False).features, [[1], [2]])
    with pytest.raises(DataError, match=r"line 3: expected a value, got an empty line"):
        read_table(write("a\n1\n\n2\n"), need_target=False)


def test_one_row_constant_columns_and_one_class_can_be_read(write):
    table = read_table(write("a,b,y\n5,5,cat\n"), target="y")
    assert table.features.shape == (1, 2)
    assert table.target.tolist() == ["cat"]


def test_quoted_header_names_with_delimiters_quotes_and_newlines(write):
    table = read_table(write('"a, ""EUR"", net";"b;\nc";y\n1;2;3\n'), target="y")
    assert table.feature_names == ('a, "EUR", net', "b;\nc")
    assert read_table(write('5" pipe,b,y\n1,2,3\n'), target="y").feature_names == ('5" pipe', "b")


@pytest.mark.parametrize(
    ("cells", "dtype", "values"),
    [
        (["0", " 1", "2.0", "3e1"], np.int64, [0, 1, 2, 30]),
        (["0", "1.5"], np.float64, [0, 1.5]),
        (["9007199254740993", "-9007199254740992"], np.int64, [2**53 + 1, -(2**53)]),
        (["1e300", "2"], np.float64, [1e300, 2]),
        (["1" + "0" * 22, "2"], np.float64, [1e22, 2]),
        (["cat ", "dog", '"a, b"'], object, ["cat", "dog", "a, b"]),
        (["Größe", "日本"], object, ["Größe", "日本"]),
    ],
)
def test_the_dtype_of_the_target(write, cells, dtype, values):
    target = read_table(write("a,y\n" + "".join(f"1,{cell}\n" for cell in cells)), target="y").target
    assert target.dtype == dtype
    assert target.tolist() == values


def test_the_target_by_position(write):
    path = write("a,b,y,2\n1,2,3,4\n")
    assert read_table(path, target="-1").target_name == "2"
    assert read_table(path, target="0").feature_names == ("b", "y", "2")
    assert read_table(path, target="2").target.tolist() == [4]  # the name wins
    with pytest.raises(DataError, match="expected the names of the columns"):  # iris.data: the first row would be lost
        read_table(write("5.1,3.5,setosa\n4.9,3.0,setosa\n"), target="-1")
    assert read_table(write("400.5,401.0,y\n1,2,3\n"), target="y").feature_names == ("400.5", "401.0")


@pytest.mark.parametrize(
    ("target", "parts"),
    [
        (None, ["expected a target, got none", "'a', 'b', 'yield'", "hint: name the target"]),
        ("yeld", ["no column 'yeld'", "'a', 'b', 'yield'", "hint: did you mean 'yield'?"]),
        ("3", ["no column '3'", "'a', 'b', 'yield'"]),
        ("-4", ["no column '-4'"]),
        ("9" * 5000, ["no column '999"]),
    ],
)
def test_a_missing_target_is_an_option_error_that_lists_the_columns(write, target, parts):
    with pytest.raises(OptionError) as caught:
        read_table(write("a,b,yield\n1,2,3\n"), target=target)
    check_message(caught.value, *parts)


def test_feature_names_select_columns_in_the_order_of_the_model(write):
    path = write("note,b,y,a\nfine,2,7,1\n,4,8,3\n")
    table = read_table(path, target="y", feature_names=["a", "b"])
    np.testing.assert_array_equal(table.features, [[1, 2], [3, 4]])
    assert table.feature_names == ("a", "b")
    assert table.target.tolist() == [7, 8]
    assert read_table(path, feature_names=["b"], need_target=False).target is None
    with pytest.raises(DataError) as caught:
        read_table(path, target="y", feature_names=["a", "area", "B", "notes"])
    check_message(caught.value, "lacks 3 of the 4 columns", "'area', 'B', 'notes'")
    with pytest.raises(DataError, match="hint: did you mean 'note'"):
        read_table(path, target="y", feature_names=["notes"])
    with pytest.raises(OptionError, match="'a' is one of the features"):
        read_table(path, target="a", feature_names=["a", "b"])


def test_the_hint_for_a_missing_column_is_none_of_those_that_are_needed_too(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("height_of_tree,price\n1,2\n3,4\n")
    net = ["height_of_trees", "height_of_tree"]
    for names, hint in (
        (net, "the columns are 'height_of_tree', 'price'"),
        (["prices", "height_of_tree"], "the columns"),
    ):
        with pytest.raises(DataError) as caught:
            read_table(path, target="price", feature_names=names)
        assert caught.value.hint.startswith(hint)
    path.write_text("height_of_tre,height_of_tree,price\n1,2,3\n3,4,5\n")
    with pytest.raises(DataError, match="hint: did you mean 'height_of_tre'"):
        read_table(path, target="price", feature_names=net)


def test_an_optional_target_may_be_absent(write):
    path = write(GOOD)
    assert read_table(path, target="y", need_target=False).target.tolist() == [0, 1]
    assert read_table(path, target="-1", need_target=False).target_name == "y"
    table = read_table(path, target="price", need_target=False)
    assert (table.target, table.target_name, table.feature_names) == (None, "", ("a", "b", "y"))
    assert read_table(path, target="2", feature_names=["a", "b"], need_target=False).target is None
    with pytest.raises(OptionError, match="no column '3'"):
        read_table(path, target="3", need_target=False)


def test_header_of_numbers_if_feature_names_are_given(write):
    table = read_table(write("401.0,400.5\n1,2\n"), feature_names=["400.5", "401.0"], need_target=False)
    np.testing.assert_array_equal(table.features, [[2, 1]])


def test_a_hundred_thousand_columns(write):
    names = [f"c{i}" for i in range(100_000)]
    path = write(",".join(names) + "\n" + ",".join(["1.5"] * len(names)) + "\n")
    assert read_table(path, target="c7").features.shape == (1, 99_999)
    with pytest.raises(OptionError) as caught:
        read_table(path, target="y")
    assert len(str(caught.value)) < 600
    with pytest.raises(DataError) as caught:
        read_table(path, feature_names=[f"d{i}" for i in range(100_000)], need_target=False)
    assert len(str(caught.value)) < 800


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("absent.csv", ["absent.csv does not exist"]),
        ("digit", ["digit does not exist"]),
        ("folder.csv", ["folder.csv: expected a file, got a directory"]),
        ("", ["expected a file, got a directory"]),
        ("table.xlsx", ["got the ending '.xlsx'", ".csv, .tsv, .txt, .npy, .npz"]),
        ("table", ["got the ending ''"]),
        ("a\0.csv", ["does not exist"]),
        ("z" * 300 + ".csv", ["cannot be read"]),
    ],
)
def test_what_is_no_table(tmp_path, name, parts):
    (tmp_path / "folder.csv").mkdir()
    for empty in ("table.xlsx", "table"):
        (tmp_path / empty).touch()
    with pytest.raises(DataError) as caught:
        read_table(tmp_path / name, target="y")
    check_message(caught.value, *parts)


def test_a_misspelt_data_set_gets_a_hint():
    with pytest.raises(DataError, match="digts does not exist\nhint: did you mean 'digits'"):
        read_table("digts")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_a_named_pipe_is_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "p.csv")
    with pytest.raises(DataError, match="expected a file, got a named pipe"):
        read_table(tmp_path / "p.csv", target="y")


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (PermissionError(13, "Permission denied"), DataError, "Permission denied"),
        (MemoryError(), OutOfMemoryError, "cpu is out of memory while reading .*csv"),
    ],
)
def test_errors_of_the_system_name_the_file(write, monkeypatch, error, kind, words):
    """As root every file is readable, so that the refusal is played."""

    def refuse(*args, **kwargs):
        raise error

    path = write(GOOD)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(kind, match=words):
        read_table(path, target="y")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root, and everyone on Windows, may read every file"
)
def test_a_file_without_read_permission(write):
    path = write(GOOD)
    path.chmod(stat.S_IWUSR)
    with pytest.raises(DataError, match="cannot be read: Permission denied"):
        read_table(path, target="y")


@pytest.mark.parametrize("name", ["t.tsv", "t.txt", "T.CSV"])
def test_csv_tsv_and_txt_endings(write, name):
    assert len(read_table(str(write(GOOD, name)), target="y")) == 2


def test_file_endings_have_a_reader():
    text, arrays, arrow = {".csv", ".tsv", ".txt"}, {".npy", ".npz"}, {".parquet", ".arrow", ".feather"}
    assert set(readers.READERS) == text | arrays | arrow


FINITE = st.floats(allow_nan=False, allow_infinity=False)
WRITTEN = st.one_of(FINITE.map(repr), st.integers().map(str), st.sampled_from([" 1", "2\t", "\xa03", "+.5", "1E2"]))


@given(
    rows=st.integers(1, 4).flatmap(lambda d: st.lists(st.lists(WRITTEN, min_size=d, max_size=d), min_size=1)),
    delimiter=st.sampled_from(",;\t"),
    end=st.sampled_from(["\n", "\r\n", "\r"]),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
)
def test_fast_and_strict_number_parsing_give_the_same_bits(tmp_path_factory, rows, delimiter, end, quoting):
    """The quick reading of whole rows by float() equals to_number(), cell by cell, bit by bit."""
    path = tmp_path_factory.getbasetemp() / "random.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator=end, quoting=quoting)
        writer.writerows([[f"c{i}" for i in range(len(rows[0]))], *rows])
    with mock.patch.multiple(fill_builders, CELLS_PER_PART=4, MIN_ROWS=1):
        X = read_table(path, need_target=False).features
    strict = np.array([[PLAIN.number(cell.strip()) for cell in row] for row in rows])
    np.testing.assert_array_equal(X.view(np.int64), strict.view(np.int64))
    assert [[float(cell) for cell in row] for row in rows] == X.tolist()


@given(cell=st.text("0123456789+-.eE_ naifty,'\x1c\u0661\xa0x", max_size=8))
def test_fast_number_parsing_accepts_only_what_strict_parsing_does(tmp_path_factory, cell):
    """Whatever stands in a cell among plain numbers: either both read the same number, or the cell is refused."""
    path = tmp_path_factory.getbasetemp() / "cell.csv"
    path.write_text(f'a,b\n2,1.5\n3,2.5\n1,"{cell}"\n', encoding="utf-8", newline="")
    grammar = re.fullmatch(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", cell.strip(), re.ASCII)
    assert (cell_kind(cell.strip()) == "number") == bool(grammar and np.isfinite(float(cell.strip())))
    try:
        expected = PLAIN.number(cell.strip())
    except ValueError:
        try:
            with mock.patch.multiple(
                fill_builders, CELLS_PER_PART=2, MIN_ROWS=1
            ):  # the first rows decide, this one is read quickly
                value = read_table(path, need_target=False).columns["b"][-1]
        except DataError as error:
            assert "line 4, column 'b'" in error.message  # noqa: PT017
        else:  # 1,234.5 and 1 234: numbers with signs between thousands
            assert value == float(re.sub("[, \xa0']", "", cell.strip()))
    else:
        with mock.patch.multiple(fill_builders, CELLS_PER_PART=2, MIN_ROWS=1):
            value = read_table(path, need_target=False).columns["b"][-1]
        assert value == pytest.approx(expected, rel=0, nan_ok=True)


@given(content=st.binary(max_size=40) | st.text('ab01.,;"\n\r\t #', max_size=40).map(str.encode))
def test_random_bytes_raise_only_data_errors(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "bytes.csv"
    path.write_bytes(content)
    try:
        table = read_table(path, target="-1")
    except (DataError, OptionError) as error:
        check_message(error, "bytes.csv")
    else:
        assert len(table) > 0
        assert all(len(data) == len(table) for data in table.columns.values())
