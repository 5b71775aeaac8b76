"""Tables of few bytes that stand for much: refused or read, in memory that docs/reliability.md promises."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import host_memory
from peaks import peak_of, saved_rows

OF_TEXT, MARGIN = 48, 4 << 20  # bytes a byte of a text file, and what Python makes on the way


@pytest.fixture(scope="module", autouse=True)
def _imported(tmp_path_factory) -> None:
    """What is imported and made once is no file's fault."""
    folder = tmp_path_factory.mktemp("imported")
    (folder / "t.csv").write_text("a,y\nu,v\nw,x\n")
    cr.read_table(folder / "t.csv", target="y")
    np.savez(folder / "t.npz", X=np.ones((2, 2)), y=np.array(["a", "b"]))
    cr.read_table(folder / "t.npz")


# ---- arrays -----------------------------------------------------------------------------------------


def packed(path: Path, **arrays: np.ndarray) -> Path:
    np.savez_compressed(path, **arrays)
    return path


LIES: dict[str, tuple[dict[str, Callable[[], np.ndarray]], str]] = {
    "a target of other rows": (
        {"X": lambda: np.zeros((20_000_000, 1), np.uint8), "y": lambda: np.zeros(5)},
            "expected 20000000 rows as in the features, got 5",
    ),
    "a target of more rows": (
        {"X": lambda: np.zeros((5, 1)), "y": lambda: np.zeros(20_000_000, np.uint8)},
            "expected 5 rows as in the features, got 20000000",
    ),
    "features of one axis": (
        {"X": lambda: np.zeros(20_000_000, np.uint8), "y": lambda: np.zeros(3)},
            r"expected shape \(n, d\), got \(20000000,\)",
    ),
    "features of three axes": ({"X": lambda: np.zeros((2_000, 1_000, 10), np.uint8)}, r"expected shape \(n, d\), got"),
    "a target of text in two axes": (
        {"X": lambda: np.zeros((2, 1)), "y": lambda: np.zeros((2, 10), "<U1000000")},
            r"expected shape \(n,\), got \(2, 10\)",
    ),
    "features that are complex": ({"X": lambda: np.zeros((2_000_000, 1), complex)}, "got dtype complex128"),
}  # fmt: skip


@pytest.mark.parametrize("name", LIES)
def test_npz_is_refused_by_its_headers_before_unpacking(tmp_path, name):
    """Twenty megabytes of zeros in twenty kilobytes: nothing of them is unpacked."""
    arrays, refused = LIES[name]
    path = packed(tmp_path / "a.npz", **{key: make() for key, make in arrays.items()})
    with peak_of() as peak, pytest.raises(cr.DataError, match=refused):
        cr.read_table(path, need_target=False)
    assert peak.bytes < 1 << 20


def test_npz_arrays_besides_features_and_target_are_not_unpacked(tmp_path):
    path = packed(tmp_path / "a.npz", X=np.ones((5, 2)), y=np.zeros(5), other=np.zeros(20_000_000, np.uint8))
    with peak_of() as peak:
        assert len(cr.read_table(path)) == 5
    assert peak.bytes < 1 << 20


def test_memory_of_npz_text(tmp_path):
    """NumPy's text arrays give each row the width of the longest; what is read of one shares its texts."""
    n = 3_000
    path = packed(tmp_path / "a.npz", X=np.ones((n, 1), np.uint8), y=np.array(["a", "b" * 200, "c"] * (n // 3)))
    raw = n * 200 * 4
    with peak_of() as peak:
        target = cr.read_table(path).target
    assert sorted(set(target)) == ["a", "b" * 200, "c"]
    assert len({id(label) for label in target}) == 3
    assert peak.bytes < 2 * raw + (6 << 20)


@pytest.mark.parametrize("ending", [".npy", ".npz"])
def test_arrays_beyond_the_free_memory_are_refused_before_they_are_read(tmp_path, monkeypatch, ending):
    X = np.zeros((1_000_000, 4))
    path = saved_rows(tmp_path, X) if ending == ".npy" else packed(tmp_path / "a.npz", X=X)
    monkeypatch.setattr(host_memory, "MIN_CHECKED", 1 << 20)
    monkeypatch.setattr(host_memory, "free_host_memory", lambda: 31_000_000)
    with (
        peak_of() as peak,
        pytest.raises(cr.OutOfMemoryError, match=r"32,000,000 bytes more are needed and 31,000,000 bytes are free"),
    ):
        cr.read_table(path, need_target=False)
    assert peak.bytes < 1 << 20


@pytest.mark.parametrize(
    "shape",
    [
        "(0, 99999999999999999999)",
        "(0, 9223372036854775808)",
        "(0, 4611686018427387904, 4)",
        "(9223372036854775807, 0)",
        "(0, 4294967296, 4294967296)",
        "(0, 0)",
        "(18446744073709551616, 0, 1)",
    ],
)
def test_npy_with_an_axis_of_0_beside_a_huge_one_is_refused(tmp_path, shape):
    """NumPy itself raises another error for each, some of them only later."""
    text = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}\n"
    content = np.lib.format.magic(1, 0) + len(text).to_bytes(2, "little") + text.encode()
    (tmp_path / "a.npy").write_bytes(content)
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("X.npy", content)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(cr.DataError, match="expected rows and columns, got shape"):
            cr.read_table(tmp_path / name, need_target=False)


def test_a_wide_matrix_with_missing_values_is_refused(tmp_path):
    X = np.zeros((1, 250_001), np.float16)
    X[0, 5] = np.nan
    with pytest.raises(cr.DataError, match="at most 250,000 columns with names or holes, got 250,001"):
        cr.read_table(saved_rows(tmp_path, X), need_target=False)
    X[0, 5] = 0
    assert cr.read_table(saved_rows(tmp_path, X), need_target=False).width == 250_001


# ---- text -------------------------------------------------------------------------------------------

ROWS = 5_000
TEXTS: dict[str, tuple[Callable[[], str], str]] = {
    "a class of 200 letters": (
        lambda: "a,y\n" + "".join(f"{i % 7},{'ab'[i % 2]}\n" for i in range(ROWS)) + f"1,{'c' * 200}\n", "",
    ),
    "distinct texts": (lambda: "a,b,y\n" + "".join(f"v{i},w{i},{i % 2}\n" for i in range(ROWS)), ""),
    "distinct classes": (lambda: "a,y\n" + "".join(f"{i},w{i}\n" for i in range(ROWS)), ""),
    "long distinct texts": (lambda: "a,y\n" + "".join(f"{i}{'x' * 300},{i % 2}\n" for i in range(ROWS)), ""),
    "quotes": (lambda: "a,y\n" + '"x""",1\n' * ROWS, ""),
    "quoted line ends": (lambda: 'a,y\n"x\n",1\n' + '"y\n",2\nx,2\n' * ROWS, ""),
    "empty lines": (lambda: "a,y\n1,2\n" + "\n" * 100_000, ""),
    "a row of very many cells": (lambda: "a,y\n" + "1," * 200_000 + "1\n", "expected 2 cells, got 200001"),
    "a cell of 4 MB": (lambda: f"a,y\n{'x' * 4_000_000},1\n", r"field larger than field limit \(131072\)"),
    "a header of one name": (lambda: f"{'x' * 4_000_000},y\n1,2\n", r"field larger than field limit \(131072\)"),
    "very many columns": (
        lambda: ",".join(f"c{i}" for i in range(250_001)) + "\n", "at most 250,000 columns with names or holes",
    ),
    "many columns of text": (
        lambda: "\n".join([",".join([f"c{i}" for i in range(ROWS)]), *[",".join(["t", "u"] * (ROWS // 2))] * 3]), "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", TEXTS)
def test_memory_of_a_text_file_is_at_most_48_times_its_size(tmp_path, name):
    make, refused = TEXTS[name]
    path = tmp_path / "t.csv"
    path.write_text(make())
    with peak_of() as peak:
        if refused:
            with pytest.raises(cr.DataError, match=refused):
                cr.read_table(path, target="-1")
        else:
            cr.read_table(path, target="-1")
    assert peak.bytes < OF_TEXT * path.stat().st_size + MARGIN


def test_memory_of_a_long_class_name_is_not_per_row(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(TEXTS["a class of 200 letters"][0]())
    with peak_of() as peak:
        target = cr.read_table(path, target="y").target
    assert target.dtype == object
    assert peak.bytes < 4 << 20  # a fixed-width array would take 800 bytes per row, 16 MB


def test_a_header_line_beyond_the_limit_is_refused_early(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x" * ((1 << 24) + 10))
    with pytest.raises(cr.DataError, match="line 1: expected a header of at most 16,777,216 characters, got more"):
        cr.read_table(path, target="y")
