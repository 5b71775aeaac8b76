"""Text files as blocks of whole lines, whatever ends a line and wherever a block ends."""

from __future__ import annotations

import io
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chainrule.tables.text import blocks
from chainrule.tables.text.blocks import Blocks, lines_of


def all_blocks(path, encoding, size):
    with mock.patch.object(blocks, "SIZE", size), Blocks(path, encoding) as found:
        return list(iter(found.next, b""))


@given(
    text=st.text("ab\n\r\x0b\x0c\x1c\x85\u2028é日", max_size=30),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]),
    size=st.sampled_from([1, 2, 3, 8, 100]),
)
def test_blocks_are_the_lines_of_a_text_file(tmp_path_factory, text, encoding, size):
    path = tmp_path_factory.getbasetemp() / "lines.txt"
    path.write_bytes(text.encode(encoding))
    found = all_blocks(path, encoding, size)
    assert all(found)
    assert b"".join(found).decode() == text
    assert [line for block in found for line in lines_of(block)] == list(io.StringIO(text, newline=""))


def test_blocks_of_windows_1252(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes("Größe\n7 €\n".encode("cp1252"))
    assert b"".join(all_blocks(path, "cp1252", 4)).decode() == "Größe\n7 €\n"


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_blocks_are_short_if_lines_are(tmp_path, end):
    path = tmp_path / "t.csv"
    path.write_bytes(("1,2,3" + end).encode() * 1000)
    assert max(map(len, all_blocks(path, "utf-8", 64))) < 64 + 8
