"""Arrays of .npy files and archives: dtypes, versions, headers, damage, memory limits."""

from __future__ import annotations

import struct
import tracemalloc
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.errors import DataError, OptionError, OutOfMemoryError
from chainrule.tables.arrays import npy_format
from chainrule.tables.readers import read_table
from tables.arrays.array_files import NAN, X, Y, check_refusal, describe, header, npy, npz, patch
from tables.messages import check_message


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
