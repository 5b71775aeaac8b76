"""Parquet, Arrow and Feather files of few bytes that stand for much: text stays codes, claims are read before data."""

from __future__ import annotations

import itertools
import struct
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import host_memory
from chainrule.tables.frames import arrow_files
from chainrule.tables.frames.arrow_claims import Claims, read_claims
from peaks import peak_of

pa = pytest.importorskip("pyarrow")
ipc, feather = pytest.importorskip("pyarrow.ipc"), pytest.importorskip("pyarrow.feather")
parquet = pytest.importorskip("pyarrow.parquet")

N = 60_000
FORMS = [".parquet", ".plain.parquet", ".feather", ".arrow", ".stream.arrow"]


def write(folder: Path, form: str, table: pa.Table) -> Path:
    """A file of the table, packed where the form can be."""
    path = folder / f"t{form}"
    if form == ".parquet":
        parquet.write_table(table, path)
    elif form == ".plain.parquet":
        parquet.write_table(table, path, use_dictionary=False, compression="zstd", row_group_size=20_000)
    elif form == ".feather":
        feather.write_feather(table, path, compression="zstd", chunksize=10_000)
    else:
        make = ipc.new_stream if "stream" in form else ipc.new_file
        with make(path, table.schema, options=ipc.IpcWriteOptions(compression="lz4")) as writer:
            writer.write_table(table, max_chunksize=10_000)
    return path


@pytest.fixture(scope="module", autouse=True)
def _imported(tmp_path_factory) -> None:
    """What is imported and made once is no file's fault."""
    for form in FORMS:
        table = pa.table({"a": ["u", None, "v"], "b": [1.0, None, 2.0], "y": ["u", "v", "u"]})
        cr.read_table(write(tmp_path_factory.mktemp("imported"), form, table), target="y")


@pytest.mark.parametrize(
    ("form", "kind"),
    [(".arrow", "string_view"), *itertools.product(FORMS, ["string", "large_string", "dictionary"])],
)
def test_long_text_in_many_rows_stays_dictionary_encoded(tmp_path, form, kind):
    """A thousand letters per row: 60 MB of text in a file of a few kilobytes, a quarter of a megabyte of codes."""
    texts = pa.array([["x" * 1000, "y", None][i % 3] for i in range(N)])
    texts = texts.dictionary_encode() if kind == "dictionary" else texts.cast(getattr(pa, kind)())
    labels = pa.array(["c" * 200 if i % 2 else "d" for i in range(N)])
    path = write(tmp_path, form, pa.table({"a": texts, "b": np.arange(N) % 7, "y": labels}))
    assert path.stat().st_size < 1_200_000
    with peak_of() as peak:
        table = cr.read_table(path, target="y")
    column = table.columns["a"]
    assert [None if code < 0 else column.names[code] for code in column.codes[:3]] == ["x" * 1000, "y", None]
    assert (set(table.target), table.target.dtype) == ({"d", "c" * 200}, object)
    batch = 10_000 * 1000 // 3  # of text, as large as it is written; pages of Parquet are smaller
    if kind != "string_view":  # of which Arrow writes all of the text with each part of it
        assert peak.bytes < 8 * batch + 12 * (4 + 8 + 8) * N  # as many as threads have at once


@pytest.mark.parametrize("form", FORMS)
def test_memory_of_parquet_numbers_is_the_table_and_a_few_columns(tmp_path, form):
    n, width = 1_000_000, 6
    zeros = pa.array(np.zeros(n))
    path = write(tmp_path, form, pa.table({**{f"c{j}": zeros for j in range(width)}, "y": np.arange(n) % 2}))
    with peak_of() as peak:
        table = cr.read_table(path, target="y")
    assert table.width == width
    assert peak.bytes < (width + 1 + arrow_files.CELLS_AT_ONCE // n + 4) * 8 * n


@pytest.mark.parametrize("form", FORMS)
def test_parquet_and_arrow_files_beyond_the_free_memory_are_refused(tmp_path, monkeypatch, form):
    n = 1_000_000
    path = write(tmp_path, form, pa.table({"a": np.zeros(n), "y": np.arange(n) % 2}))
    monkeypatch.setattr(host_memory, "MIN_CHECKED", 1 << 20)
    monkeypatch.setattr(host_memory, "free_host_memory", lambda: 15_000_000)
    with peak_of() as peak, pytest.raises(cr.OutOfMemoryError, match="bytes more are needed and 15,000,000 bytes"):
        cr.read_table(path, target="y")
    assert peak.bytes < 4 << 20  # of 16 MB: what is imported for the first time counts too


@pytest.mark.parametrize("form", [".arrow", ".stream.arrow", ".feather"])
def test_rows_without_bytes_are_refused(tmp_path, form):
    """A column of nulls has no buffer, one of runs a single number: both claim what they like."""
    many = 100_000_000
    runs = pa.RunEndEncodedArray.from_arrays(pa.array([many], pa.int32()), pa.array([1.0]))
    for column in (pa.nulls(many), runs):
        path = tmp_path / f"t{form}"
        with (ipc.new_stream if "stream" in form else ipc.new_file)(path, pa.schema([("a", column.type)])) as writer:
            writer.write_table(pa.table({"a": column}))
        with peak_of() as peak, pytest.raises(cr.DataError, match=r"it claims 100,000,000 rows in [\d,]+ bytes"):
            cr.read_table(path, need_target=False)
        assert peak.bytes < 4 << 20


@pytest.mark.parametrize("form", [".feather", ".arrow", ".stream.arrow"])
def test_claims_of_arrow_files(tmp_path, form):
    path = write(tmp_path, form, pa.table({"a": np.zeros(25_000), "b": np.zeros(25_000, np.int8)}))
    with path.open("rb") as file:
        assert read_claims(file, str(path)) == Claims(25_000, 80_000)


def test_a_buffer_that_claims_more_than_compression_can_do(tmp_path):
    path = write(tmp_path, ".feather", pa.table({"a": np.zeros(10_000), "y": np.arange(10_000) % 2}))
    content, size = path.read_bytes(), struct.pack("<q", 80_000)
    assert content.count(size) >= 2
    path.write_bytes(content.replace(size, struct.pack("<q", 1 << 45)))
    with peak_of() as peak, pytest.raises(cr.DataError, match=r"is no valid \.feather file: its messages are damaged"):
        cr.read_table(path, target="y")
    assert peak.bytes < 4 << 20  # of 16 MB: what is imported for the first time counts too


@pytest.mark.parametrize(
    "content", [b"", b"ARROW1", b"ARROW1\0\0" * 4, b"\xff\xff\xff\xff" * 8, b"\0" * 64, b"FEA1" * 9]
)
def test_damaged_arrow_messages_are_refused(tmp_path, content):
    (tmp_path / "t.arrow").write_bytes(content)
    with pytest.raises(cr.DataError, match=r"is no valid \.arrow file"):
        cr.read_table(tmp_path / "t.arrow", target="y")
