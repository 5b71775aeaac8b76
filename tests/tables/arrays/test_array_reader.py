"""Array tables: what is read exactly, and what is refused before it costs anything."""

from __future__ import annotations

import io
import struct
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.errors import DataError, OptionError, OutOfMemoryError
from chainrule.tables.arrays import array_reader, npy_format
from chainrule.tables.readers import read_table
from tables.messages import check_message

X = np.arange(12, dtype=np.float32).reshape(4, 3)
Y = np.array([0, 1, 1, 0])


def npy(array: np.ndarray, **kwargs) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, **kwargs)
    return file.getvalue()


def header(text: str, data: bytes = b"", version: tuple[int, int] = (1, 0)) -> bytes:
    """A .npy file with any words in its header."""
    size = struct.pack("<H" if version == (1, 0) else "<I", len(text))
    return np.lib.format.magic(*version) + size + text.encode("latin-1") + data


def describe(descr: str, shape: str, *, fortran: bool = False) -> str:
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}}}\n"


def npz(members: dict[str, bytes] | list[tuple[str, bytes]], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as archive:
        for name, content in members.items() if isinstance(members, dict) else members:
            archive.writestr(name, content)
    return file.getvalue()


def check_refusal(path: Path, parts: list[str], **kwargs) -> None:
    with pytest.raises(DataError) as caught:
        read_table(path, **{"target": None, "need_target": False} | kwargs)
    check_message(caught.value, str(path), *parts)
    assert len(caught.value.message) < 400 + len(str(path))


@pytest.mark.parametrize(
    "dtype",
    [
        "bool",
        "int8",
        "uint8",
        "int16",
        "uint32",
        "int64",
        "uint64",
        "float16",
        "float32",
        "float64",
        "longdouble",
        ">f8",
        ">i2",
        ">u4",
        ">f2",
    ],
)
@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_of_every_real_dtype(write, dtype, order):
    array = np.asarray(X % 5, dtype=dtype, order=order)
    expected = {"bool": np.dtype("u1"), "longdouble": np.dtype("f8")}.get(dtype, array.dtype.newbyteorder("="))
    for path in (write(npy(array), "a.npy"), write(npz({"X.npy": npy(array)}), "a.npz")):
        table = read_table(path, need_target=False)
        assert table.features.dtype == expected
        assert table.features.dtype.isnative
        assert table.features.flags.c_contiguous
        assert table.features.flags.writeable
        np.testing.assert_array_equal(table.features, array)
        assert (table.target, table.target_name, table.feature_names, len(table)) == (None, "", (), 4)


def test_npy_larger_than_the_first_read(write, rng):
    big = rng.normal(size=(5000, 3))
    assert big.nbytes > npy_format.HEAD
    for name, content in [("a.npy", npy(big)), ("a.npz", npz({"X.npy": npy(big)}, zipfile.ZIP_DEFLATED))]:
        np.testing.assert_array_equal(read_table(write(content, name), need_target=False).features, big)


def test_npy_format_versions(write):
    old = header("{'descr': '<f4', 'fortran_order': False, 'shape': (4L, 3L), }\n", X.tobytes())  # by Python 2
    for content in (npy(X, version=(1, 0)), npy(X, version=(2, 0)), old):
        np.testing.assert_array_equal(read_table(write(content, "a.npy"), need_target=False).features, X)


def test_npy_target_by_position(write):
    path = write(npy(X), "a.npy")
    for target, position in [("0", 0), ("-1", 2), ("1", 1)]:
        table = read_table(path, target=target)
        np.testing.assert_array_equal(table.target, X[:, position])
        np.testing.assert_array_equal(table.features, np.delete(X, position, 1))
        assert table.target_name == ""
    for target, words in [(None, "got none"), ("3", "got '3'"), ("y", "got 'y'")]:
        with pytest.raises(OptionError, match=f"expected a target from 0 to 2, {words}"):
            read_table(path, target=target)
    assert read_table(path, target="y", need_target=False).target is None
    assert read_table(path, target="-1", need_target=False).target is not None
    check_refusal(write(npy(X[:, :1]), "b.npy"), ["no column besides the target"], target="0", need_target=True)


def test_npy_and_npz_with_another_number_of_columns_are_refused(write):
    for name, content in [("a.npy", npy(X)), ("a.npz", npz({"X.npy": npy(X)}))]:
        path = write(content, name)
        assert len(read_table(path, feature_names=["a", "b", "c"], need_target=False)) == 4
        check_refusal(path, ["expected 2 feature columns, got 3"], feature_names=["a", "b"])
    check_refusal(write(npy(X), "a.npy"), ["expected 3 feature columns, got 2"], feature_names=list("abc"), target="-1")


def test_npz_names_of_features_and_target(write):
    path = write(npz({"X.npy": npy(X), "y.npy": npy(Y), "extra.npy": npy(Y[:2]), "readme.txt": b"!"}), "a.npz")
    table = read_table(path)
    np.testing.assert_array_equal(table.target, Y)
    assert (table.target_name, table.target.dtype) == ("y", Y.dtype)
    with pytest.raises(OptionError, match="no array 'Y'; its arrays are 'X', 'y', 'extra'"):
        read_table(path, target="Y")
    assert read_table(path, target="price", need_target=False).target is None
    other = write(npz({"data.npy": npy(X), "label.npy": npy(Y)}), "b.npz")
    np.testing.assert_array_equal(read_table(other, target="label").features, X)
    check_refusal(other, ["expected features called 'X', got the arrays 'data', 'label'"], target="price")
    check_refusal(write(npz({"y.npy": npy(Y)}), "c.npz"), ["expected features called 'X'", "got the arrays 'y'"])
    check_refusal(write(npz({}), "d.npz"), ["holds no arrays"])


TARGETS = {
    "classes": (np.array(["cat ", "dog", "Ä", "cat"]), np.array(["cat", "dog", "Ä", "cat"], object)),
    "big-endian classes": (np.array(["b", "c", "b", "c"], ">U3"), np.array(["b", "c", "b", "c"], object)),
    "bool": (Y.astype(bool), np.array(["False", "True", "True", "False"], object)),
    "several of yes or no": (X[:, :2] > 4, (X[:, :2] > 4).astype(np.uint8)),
    "several": (X[:, :2].astype(">f8"), X[:, :2].astype("f8")),
    "one column": (Y[:, None], Y[:, None]),
}


@pytest.mark.parametrize(("y", "expected"), TARGETS.values(), ids=TARGETS.keys())
def test_npz_targets(write, y, expected):
    target = read_table(write(npz({"X.npy": npy(X), "y.npy": npy(y)}), "a.npz")).target
    assert target.dtype.kind == expected.dtype.kind
    np.testing.assert_array_equal(target, expected)


NAN = np.where(X == 7, np.nan, X)
BAD_ARRAYS = {
    "Python objects": (npy(np.array([[1, None]]), allow_pickle=True), ["Python objects, which are never loaded"]),
    "structured": (npy(np.zeros(3, "f4,f4")), ["expected real numbers, got a structured array"]),
    "complex": (npy(X.astype(complex)), ["got dtype complex128"]),
    "dates": (npy(np.zeros((2, 2), "M8[D]")), ["got dtype datetime64[D]"]),
    "durations": (npy(np.zeros((2, 2), "m8[s]")), ["got dtype timedelta64[s]"]),
    "text": (npy(np.array([["a"]])), ["expected real numbers, got text"]),
    "bytes": (npy(np.array([[b"a"]])), ["expected real numbers, got bytes"]),
    "subarray": (header(describe("('<f4', (3,))", "(4,)"), X.tobytes()), ["got a structured array"]),
    "one axis": (npy(X[0]), ["expected shape (n, d), got (3,)", "hint: one column still needs two axes"]),
    "three axes": (npy(X[None]), ["expected shape (n, d), got (1, 4, 3)"]),
    "no axis": (npy(np.float64(3)), ["expected rows and columns, got shape ()"]),
    "no rows": (npy(X[:0]), ["expected rows and columns, got shape (0, 3)"]),
    "no columns": (npy(X[:, :0]), ["expected rows and columns, got shape (4, 0)"]),
    "inf": (npy(np.where(X == 11, -np.inf, X)), ["row 3, column 2 (from 0): expected a finite number", "got -inf"]),
    "inf after nan": (npy(np.where(X == 11, np.inf, NAN)), ["row 3, column 2 (from 0): expected", "got inf"]),
    "inf in Fortran order": (npy(np.asfortranarray(np.where(X == 7, np.inf, X))),
        ["row 2, column 1 (from 0): expected", "got inf"]),
    "long double over float64": (npy(np.full((1, 1), np.longdouble("1e4000"))),
        ["row 0, column 0 (from 0)", "got inf"]),
    "cut off": (npy(X)[:-1], ["is cut off: expected (4, 3) of float32, 48 bytes, got 47"]),
    "bytes after the end": (npy(X) + b"\0", ["has bytes after its end: expected (4, 3) of float32, 48 bytes, got 49"]),
    "8 TiB": (header(describe("'<f8'", "(1099511627776, 1)")), ["is cut off", "8,796,093,022,208 bytes, got 0"]),
    "beyond 64 bits": (header(describe("'<f8'", f"({2**40}, {2**40})")), ["is cut off"]),
    "wraps to zero": (header(describe("'<f8'", f"({2**32}, {2**32})")), ["is cut off"]),
    "negative": (header(describe("'<f4'", "(-4, -3)"), X.tobytes()), ["got shape (-4, -3)"]),
    "future version": (b"\x93NUMPY\x09\x00" + npy(X)[8:], ["expected npy version 1.0 or 2.0, got 9.0"]),
}  # fmt: skip


@pytest.mark.parametrize(("content", "parts"), BAD_ARRAYS.values(), ids=BAD_ARRAYS.keys())
def test_bad_arrays_are_refused_in_npy_and_npz(write, content, parts):
    check_refusal(write(content, "a.npy"), parts)
    check_refusal(write(npz({"X.npy": content}), "a.npz"), ["array 'X'", *parts])


DAMAGED = {
    "empty": b"",
    "text": b"a,b\n1,2\n",
    "magic alone": b"\x93NUMPY",
    "no header": b"\x93NUMPY\x01\x00",
    "half a header": npy(X)[:40],
    "a pickle": b"\x80\x04]\x94.",
    "no dictionary": header("[1, 2]\n"),
    "no Python": header("{'descr'\n"),
    "open string": header("{'descr': '''\n"),
    "nested": header("(" * 5000),
    "signs": header("-" * 9000 + "1"),
    "long header": header(" " * 60_000),
    "huge header length": np.lib.format.magic(2, 0) + struct.pack("<I", 2**32 - 1) + b"{" * 100,
    "wrong keys": header("{'descr': '<f4'}\n"),
    "unhashable key": header("{[]: 1}\n"),
    "no such dtype": header(describe("'<f77'", "(4, 3)"), X.tobytes()),
    "dtype of nothing": header(describe("None", "(4, 3)").replace("None", "{}"), X.tobytes()),
    "text shape": header(describe("'<f4'", "('4', 3)"), X.tobytes()),
    "escape": header("{'descr': '\\d', 'fortran_order': 1if 1else 0, 'shape': ()}\n"),
    "not latin": header(describe("'<f4'", "(4, 3)").replace("<", "\xff"), X.tobytes()),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_npy_files_are_refused(write, content):
    check_refusal(write(content, "a.npy"), ["a.npy"])
    check_refusal(write(npz({"X.npy": content}), "a.npz"), ["a.npz"])
    check_refusal(write(content, "b.npz"), ["is no valid .npz file"])


BAD_TARGETS = {
    "lengths": (Y[:3], ["array 'y': expected 4 rows as in the features, got 3"]),
    "nan": (np.array([0, 1, np.nan, 2]), ["array 'y', row 2 (from 0): expected", "got nan"]),
    "nan of several": (NAN, ["array 'y', row 2, column 1 (from 0): expected", "got nan"]),
    "empty text": (np.array(["a", " ", "b", "a"]), ["array 'y', row 1 (from 0): expected", "got empty text"]),
    "text in two axes": (np.array([["a"]] * 4), ["expected shape (n,), got (4, 1)"]),
    "three axes": (X[:, :, None], ["expected shape (n,) or (n, k), got (4, 3, 1)"]),
    "no columns": (X[:, :0], ["or (n, k), got (4, 0)"]),
    "a hole among text": (np.array(["a", "b", "NA ", "a"]), ["row 2 (from 0): expected a class, got 'NA'"]),
    "complex": (X[:, 0] * 1j, ["array 'y': expected real numbers or str, got dtype complex64"]),
    "bytes": (np.array([b"a"] * 4), ["array 'y': expected", "got bytes"]),
    "half a character": (
        np.array(["a", "\ud800", "b", "a"]),
        ["array 'y': expected text, got a surrogate or a number beyond Unicode"],
    ),
}


@pytest.mark.parametrize(("y", "parts"), BAD_TARGETS.values(), ids=BAD_TARGETS.keys())
def test_bad_npz_targets_are_refused(write, y, parts):
    check_refusal(write(npz({"X.npy": npy(X), "y.npy": npy(y)}), "a.npz"), parts)


def test_npz_text_beyond_unicode_is_refused(write):
    y = np.array([0x7FFFFFFF] * 4, "<u4").tobytes()
    path = write(npz({"X.npy": npy(X), "y.npy": header(describe("'<U1'", "(4,)"), y)}), "a.npz")
    check_refusal(path, ["array 'y': expected text, got a surrogate or a number beyond Unicode"])


def patch(content: bytes, signature: bytes, offset: int, value: bytes) -> bytes:
    """``content`` with the bytes at ``offset`` after the last ``signature`` replaced."""
    at = content.rindex(signature) + offset
    return content[:at] + value + content[at + len(value) :]


def twice() -> bytes:
    with warnings.catch_warnings(action="ignore"):
        return npz([("X.npy", npy(X)), ("X.npy", npy(X))])


def directory_of_64_bits(content: bytes, length: int) -> bytes:
    """The same archive with the end that archives over 4 GiB have, which says how long the list of names is."""
    end, at = content[-22:], len(content) - 22
    begin = struct.unpack("<I", end[16:20])[0]
    record = b"PK\6\6" + struct.pack("<QHHIIQQQQ", 44, 45, 45, 0, 0, 1, 1, length, begin)
    locator = b"PK\6\7" + struct.pack("<IQI", 0, at, 1)
    return content[:-22] + record + locator + end


WHOLE = npz({"X.npy": npy(X)})
PACKED = npz({"X.npy": npy(np.zeros((400, 30)))}, zipfile.ZIP_DEFLATED)
SHORTER = header(describe("'<f8'", "(100, 1)"), bytes(1600))
LONGER = header(describe("'<f8'", "(200, 1)"), bytes(800))
BAD_ARCHIVES = {
    "bad CRC": (WHOLE.replace(X.tobytes(), X.tobytes()[:-1] + b"\x7f"), ["is no valid .npz file: Bad CRC-32"]),
    "bad packing": (PACKED.replace(PACKED[60:70], b"\xff" * 10), ["is no valid .npz file"]),
    "cut off": (WHOLE[:-30], ["is no valid .npz file"]),
    "bytes after the end": (WHOLE + b"junk", ["has bytes after its end"]),
    "twice": (twice(), ["several arrays called 'X'"]),
    "twice by ending": (npz([("X.npy", npy(X)), ("X", npy(X))]), ["several arrays called 'X'"]),
    "encrypted": (patch(patch(WHOLE, b"PK\1\2", 8, b"\1"), b"PK\3\4", 6, b"\1"), ["encrypted"]),
    "unknown packing": (
        patch(patch(WHOLE, b"PK\1\2", 10, b"\x63"), b"PK\3\4", 8, b"\x63"),
        ["array 'X': expected compression 0 (stored) or 8 (deflate)", "got 99"],
    ),
    "2 GiB declared": (
        patch(PACKED, b"PK\1\2", 24, struct.pack("<I", 2**31)),
        ["compressed bytes, got 2,147,483,648", "expected at most 1000 times its"],
    ),
    "2 GiB declared, packed too": (
        patch(PACKED, b"PK\1\2", 20, struct.pack("<II", 2**31, 2**31)),
        ["compressed bytes, got 2,147,483,648"],
    ),
    "less declared": (patch(PACKED, b"PK\1\2", 24, struct.pack("<I", 90_000)), ["is cut off"]),
    "more declared, in the array too": (
        patch(npz({"X.npy": LONGER}, zipfile.ZIP_DEFLATED), b"PK\1\2", 24, struct.pack("<I", len(LONGER) + 800)),
        ["array 'X': expected 1,600 bytes, got fewer"],
    ),
    "more declared than deflate can pack": (
        patch(PACKED, b"PK\1\2", 24, struct.pack("<I", 2**29)),
        ["compressed bytes, got 536,870,912", "expected at most 1032 times its"],
    ),
    "less declared, and so in the array": (
        patch(npz({"X.npy": SHORTER}, zipfile.ZIP_DEFLATED), b"PK\1\2", 24, struct.pack("<I", len(SHORTER) - 800)),
        ["a.npz"],
    ),
    "bz2": (npz({"X.npy": npy(X)}, zipfile.ZIP_BZIP2), ["got 12", "hint: save it with np.savez"]),
    "lzma": (npz({"X.npy": npy(X)}, zipfile.ZIP_LZMA), ["got 14"]),
    "an archive in an archive": (
        npz({"X.npy": WHOLE}),
        ["array 'X' is no valid .npy array: expected it to begin with"],
    ),
    "a pickle in an archive": (npz({"X.npy": b"\x80\x04]\x94."}), ["array 'X' is no valid .npy array"]),
    "names without end": (
        npz([(f"{i:060}.npy", b"") for i in range(11_000)]),
        ["expected a directory of at most", "bytes, got"],
    ),
    "names without end, in 64 bits": (directory_of_64_bits(WHOLE, 2**40), ["bytes, got 1,099,511,627,776"]),
    "an end that lies": (WHOLE[:-22] + WHOLE[-22:-6] + b"\xff\xff\xff\x7f\0\0", ["is no valid .npz file"]),
    "the end alone": (b"PK\5\6" + bytes(18), ["holds no arrays"]),
    "half an end": (b"PK\5\6" + bytes(17), ["is no valid .npz file"]),
    "names differ": (patch(WHOLE, b"PK\1\2", 46, b"Z"), ["is no valid .npz file"]),
}


@pytest.mark.parametrize(("content", "parts"), BAD_ARCHIVES.values(), ids=BAD_ARCHIVES.keys())
def test_bad_npz_archives_are_refused(write, content, parts):
    check_refusal(write(content, "a.npz"), parts)


def test_npz_member_names_with_paths_write_nothing(write, tmp_path):
    """A member may be called what it likes: nothing is written under its name."""
    for name in ("../../X", "/tmp/X", "a\\b", "C:X", "\x1b[31m"):
        content = npz({f"{name}.npy": npy(X), "y.npy": npy(Y)})
        before = sorted(tmp_path.parent.rglob("*"))
        np.testing.assert_array_equal(read_table(write(content, "n.npz")).features, X)
        assert len(sorted(tmp_path.parent.rglob("*"))) <= len(before) + 1


def test_npz_with_a_comment_or_zip64_is_read(write):
    file = io.BytesIO(WHOLE)
    with zipfile.ZipFile(file, "a") as archive:
        archive.comment = b"made by hand, PK\5\6"
    length = struct.unpack("<I", WHOLE[-10:-6])[0]
    for content in (file.getvalue()[:-4] + b"else", directory_of_64_bits(WHOLE, length)):
        np.testing.assert_array_equal(read_table(write(content, "c.npz"), need_target=False).features, X)


HEADERS = {  # what other writers make of the same header
    "no spaces": "{'descr':'<f4','fortran_order':False,'shape':(4,3)}",
    "double quotes": '{"descr": "<f4", "fortran_order": False, "shape": (4, 3)}',
    "another order": "{'shape': (4, 3,), 'fortran_order': False, 'descr': '<f4'}   \n",
    "Python 2": "{'descr': '<f4', 'fortran_order': False, 'shape': (4L, 3L), }\n",
    "lines": "{'descr': '<f4',\n 'fortran_order': False,\n 'shape': (4,\n3), }\n",
}
NO_HEADERS = {
    "an expression": "{'descr': '<f4', 'fortran_order': 1 == 2, 'shape': (4, 3)}",
    "a call": "{'descr': '<f4', 'fortran_order': print('x'), 'shape': (4, 3)}",
    "twice": "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3), 'shape': (4, 3)}",
    "something after": "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3)} + 1",
    "something more": "{'descr': '<f4', 'fortran_order': False, 'shape': (4, 3), 'x': 1}",
    "no commas": "{'descr': '<f4' 'fortran_order': False 'shape': (4, 3)}",
    "no tuple": "{'descr': '<f4', 'fortran_order': False, 'shape': (12)}",
    "long numbers": f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'9' * 5000}, 1)}}",
    "many axes": f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({'1,' * 65})}}",
    "no size": "{'descr': '<U0', 'fortran_order': False, 'shape': (4, 3)}",
    "endless size": "{'descr': '<f99999999999999', 'fortran_order': False, 'shape': (4, 3)}",
    "signs between": "{'descr': '<f4', 'fortran_order': False, 'shape': (4, -)}",
    "commas": "{'descr': '<f4', 'fortran_order': False, 'shape': (4,, 3)}",
    "comma alone": "{'descr': '<f4', 'fortran_order': False, 'shape': (,)}",
}


@pytest.mark.parametrize("text", HEADERS.values(), ids=HEADERS.keys())
def test_npy_headers_of_other_programs(write, text):
    path = write(header(text, X.tobytes()), "a.npy")
    with warnings.catch_warnings(action="ignore"):  # of NumPy, about Python 2
        np.testing.assert_array_equal(np.load(path), X)
    np.testing.assert_array_equal(read_table(path, need_target=False).features, X)


@pytest.mark.parametrize("text", NO_HEADERS.values(), ids=NO_HEADERS.keys())
def test_invalid_npy_headers_are_refused(write, text):
    check_refusal(write(header(text, X.tobytes()), "a.npy"), ["a.npy"])


def test_npy_missing_values_make_named_columns(write):
    """nan is a hole, as an empty cell of a text file is; without names the columns are called by their position."""
    for content, name in ((npy(NAN), "a.npy"), (npz({"X.npy": npy(NAN)}), "a.npz"), (npy(NAN.astype(">f2")), "b.npy")):
        table = read_table(write(content, name), need_target=False)
        assert (table.matrix, table.feature_names, len(table), table.width) == (None, ("x0", "x1", "x2"), 4, 3)
        np.testing.assert_array_equal(np.column_stack(list(table.columns.values())), NAN)
        assert {column.dtype for column in table.columns.values()} == {np.dtype(np.float64)}
    table = read_table(write(npy(NAN), "a.npy"), target="0")
    np.testing.assert_array_equal(table.columns["x0"], NAN[:, 1])
    assert read_table(write(npy(NAN), "a.npy"), feature_names=list("abc"), need_target=False).feature_names == (
        "a",
        "b",
        "c",
    )
    with pytest.raises(DataError, match=r"row 2, column 1 \(from 0\): expected a finite number, got nan"):
        read_table(write(npy(NAN), "a.npy"), target="1")
    with pytest.raises(DataError, match="expected a table with the text column 'b', got an array without names"):
        read_table(write(npy(NAN), "a.npy"), feature_names=list("abc"), kinds={"b": "category"}, need_target=False)


def test_npy_missing_values_far_into_the_array(write, monkeypatch, rng):
    monkeypatch.setattr(array_reader, "PART", 7)
    big = rng.normal(size=(50, 3))
    big[40, 2] = np.nan
    assert read_table(write(npy(big), "a.npy"), need_target=False).matrix is None
    big[41, 1] = np.inf
    check_refusal(write(npy(big), "a.npy"), ["row 41, column 1 (from 0): expected", "got inf"])


def test_npy_headers_that_claim_too_much_cost_no_memory(write):
    """Neither 8 TiB in an array's header nor 1 GiB that an archive's directory claims for a few bytes is touched."""
    paths = [
        write(header(describe("'<f8'", "(1099511627776, 1)")), "a.npy"),
        write(npz({"X.npy": header(describe("'<f8'", "(1099511627776, 1)"))}), "a.npz"),
        write(patch(npz({"X.npy": npy(X)}), b"PK\1\2", 24, struct.pack("<I", 2**30)), "b.npz"),
    ]
    tracemalloc.start()
    try:
        for path in paths:
            check_refusal(path, [])
        assert tracemalloc.get_traced_memory()[1] < 1 << 20
    finally:
        tracemalloc.stop()


@given(data=st.data())
def test_any_changed_byte_of_npy_and_npz_raises_only_data_errors(tmp_path_factory, data):
    content = data.draw(st.sampled_from([npy(X), npz({"X.npy": npy(X), "y.npy": npy(Y)}, zipfile.ZIP_DEFLATED)]))
    at, value = data.draw(st.integers(0, len(content) - 1)), data.draw(st.binary(min_size=0, max_size=2))
    path = tmp_path_factory.getbasetemp() / f"byte.np{'z' if content[:2] == b'PK' else 'y'}"
    path.write_bytes(content[:at] + value + content[at + 1 :])
    try:
        table = read_table(path, need_target=False)
    except (DataError, OptionError) as error:
        check_message(error, path.name)
    else:
        assert not any(
            np.isinf(column).any() for column in [*table.columns.values(), table.matrix] if column is not None
        )


def test_npy_beyond_the_free_memory(write, monkeypatch):
    def refuse(*args, **kwargs):
        raise MemoryError

    path = write(npy(X), "a.npy")
    monkeypatch.setattr(npy_format.np, "empty", refuse)
    with pytest.raises(OutOfMemoryError, match=r"out of memory while reading .*a\.npy") as caught:
        read_table(path, need_target=False)
    assert caught.value.hint.startswith("a .npy file of float32")


def test_built_in_digits():
    table = read_table("digits")
    assert (table.features.shape, table.features.dtype, table.source) == ((1797, 64), np.uint8, "digits")
    assert (table.feature_names[0], table.feature_names[-1], table.target_name) == ("pixel0", "pixel63", "digit")
    assert np.bincount(table.target).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    assert table.features.max() == 16
    np.testing.assert_array_equal(
        read_table("digits", target="digit", feature_names=["pixel9", "pixel2"]).features, table.features[:, [9, 2]]
    )
    assert read_table(Path("digits"), target="price", need_target=False).target is not None
    with pytest.raises(OptionError, match="digits has no target 'y'\nhint: its target is digit"):
        read_table("digits", target="y")
    with pytest.raises(DataError, match="digits lacks 1 of the 2 columns that are needed: 'area'"):
        read_table("digits", feature_names=["pixel1", "area"])
