"""Encodings of text files: UTF-8, UTF-16 and Windows-1252 are read, others are refused by line."""

from __future__ import annotations

import re

import pytest

from chainrule.errors import DataError
from chainrule.nn.columns.column_data import Categorical
from chainrule.tables.readers import read_table
from chainrule.tables.text import csv_text


def texts(data: Categorical) -> list[str | None]:
    return [None if code < 0 else data.names[code] for code in data.codes.tolist()]


@pytest.mark.parametrize(("text", "code"), [("größe", "cp1252"), ("10 €", "cp1252"), ("größe", "latin-1")])
def test_encoding_windows_1252_is_read_with_a_note(tmp_path, text, code):
    path = tmp_path / "t.csv"
    path.write_bytes(f"a,b,y\r\n1,2,0\r\n3,{text},1\r\n".encode(code))
    table = read_table(path, target="y", categorical=["b"])
    assert texts(table.columns["b"]) == ["2", text]
    (note,) = table.notes
    assert "is not UTF-8 (byte 0x" in note
    assert "on line 3" in note
    path.write_bytes(f"a,b,y\r\n1,2,0\r\n3,{text},1\r\n".encode())
    assert read_table(path, target="y", categorical=["b"]).notes == ()


def test_encoding_is_checked_in_blocks(tmp_path, monkeypatch):
    """Whatever the blocks cut, characters and CRLF too: the same byte on the same line."""
    path, found = tmp_path / "t.csv", set()
    for bad in (b"\xc3\x28\x81", b"\xe2\x82\x28\x81", b"\x81", b"\0", b"\xc3"):
        path.write_bytes("größe,y\r\n€,1\r\nü,2\rü".encode() + bad)
        for size in range(1, 20):
            monkeypatch.setattr(csv_text, "BLOCK", size)
            with pytest.raises(DataError) as caught:
                read_table(path, target="y")
            found.add(caught.value.message.replace(str(path), ""))
    # In the last no byte fits nowhere: it is read, and has one cell only.
    assert sorted(re.sub(r": expected .*, got |, as in .*", ": ", message) for message in found) == [
        ", line 4: 1: ",
        ", line 4: a NUL byte",
        ", line 4: the byte 0x81",
        ", line 4: the byte 0xc3",
        ", line 4: the byte 0xe2",
    ]


def test_encoding_errors_far_into_a_file_name_the_line(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b"a,y\r\n" + b"1.25,0\r\n" * 200_000 + b"2,\x81\r\n")
    with pytest.raises(DataError, match=r"line 200002: expected .*, got the byte 0x81"):
        read_table(path, target="y")


@pytest.mark.parametrize("encoding", ["utf-32-le", "utf-32-be"])
def test_encoding_utf_32_is_refused_by_name(tmp_path, encoding):
    (tmp_path / "t.csv").write_bytes("\ufeffa,y\n1,2\n".encode(encoding))
    with pytest.raises(DataError, match="expected text in UTF-8, got UTF-32"):
        read_table(tmp_path / "t.csv", target="y")
