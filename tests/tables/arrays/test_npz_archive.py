"""Archives of arrays: names, targets, zip directories, compression."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile

import numpy as np
import pytest

from chainrule.errors import OptionError
from chainrule.tables.readers import read_table
from tables.arrays.array_files import NAN, X, Y, check_refusal, describe, header, npy, npz, patch


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
